// The relay; see relay.h. It does not handle a peer that takes nothing: what it relays fits a socket's buffer.
#include "relay.h"

#include <errno.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "loop.h"

typedef struct leg {
  rig_source source;  // first
  struct leg *other;
  rig_loop *loop;
} leg;

typedef struct relay {
  rig_source listener;  // first
  rig_loop loop;
  struct sockaddr_in to;
} relay;

// Both ends; freed only when the other's event, if any, has been seen closed (fd < 0).
static void leg_close(leg *a) {
  leg *b = a->other;
  close(a->source.fd);
  a->source.fd = -1;
  if (b->source.fd < 0) {
    free(a);
    free(b);
  } else {
    shutdown(b->source.fd, SHUT_RDWR);  // its own event closes it
  }
}

static void leg_ready(rig_source *s, uint32_t events) {
  leg *a = (leg *)(void *)s;
  if (!(events & (EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR))) {
    return;
  }
  for (;;) {
    ssize_t n = recv(s->fd, a->loop->buffer, RIG_READ_BUFFER, 0);
    if (n < 0 && errno == EAGAIN) {
      return;
    }
    if (n <= 0 || a->other->source.fd < 0 || send(a->other->source.fd, a->loop->buffer, (size_t)n, MSG_NOSIGNAL) != n) {
      leg_close(a);
      return;
    }
    if (n < RIG_READ_BUFFER && !(events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR))) {
      return;
    }
  }
}

// The backend is local: its connection is made at once, in blocking mode.
static int connect_now(const struct sockaddr_in *to) {
  int on = 1;
  int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (fd < 0 || connect(fd, (const struct sockaddr *)to, sizeof *to) != 0 ||
      setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on) != 0) {
    if (fd >= 0) {
      close(fd);
    }
    return -1;
  }
  return fd;
}

static void accepted(rig_source *s, uint32_t events) {
  relay *r = (relay *)(void *)s;
  (void)events;
  int fd = -1;
  while ((fd = accept4(s->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) {
    int on = 1;
    int up = connect_now(&r->to);
    if (up < 0) {  // nobody is behind: the rig is between two runs
      close(fd);
      continue;
    }
    leg *a = calloc(1, sizeof *a);
    leg *b = calloc(1, sizeof *b);
    if (!a || !b || setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on) != 0) {
      rig_die("relay: a connection cannot be set up: %m");
    }
    *a = (leg){{fd, leg_ready}, b, &r->loop};
    *b = (leg){{up, leg_ready}, a, &r->loop};
    rig_loop_add(&r->loop, &a->source);
    rig_loop_add(&r->loop, &b->source);
  }
}

void rig_relay(const struct sockaddr_in *listen_at, const struct sockaddr_in *to) {
  relay r = {.to = *to};
  rig_loop_init(&r.loop);
  r.listener = (rig_source){rig_listen(listen_at), accepted};
  rig_loop_add(&r.loop, &r.listener);
  for (;;) {
    rig_loop_wait(&r.loop, rig_now() + 1000000000U);
  }
}
