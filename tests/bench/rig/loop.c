// The loop and its small tools; see loop.h.
#include "loop.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <time.h>

enum { EVENTS = 512, BACKLOG = 4096 };

uint64_t rig_now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (uint64_t)t.tv_sec * 1000000000U + (uint64_t)t.tv_nsec;
}

void rig_die(const char *format, ...) {
  va_list args;
  va_start(args, format);
  vfprintf(stderr, format, args);
  va_end(args);
  fputc('\n', stderr);
  exit(1);
}

void rig_loop_init(rig_loop *l) {
  l->epoll = epoll_create1(EPOLL_CLOEXEC);
  l->buffer = malloc(RIG_READ_BUFFER);
  l->now_ns = rig_now();
  if (l->epoll < 0 || !l->buffer) {
    rig_die("rig: epoll: %m");
  }
}

void rig_loop_add(rig_loop *l, rig_source *s) {
  struct epoll_event e = {.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET, .data.ptr = s};
  if (epoll_ctl(l->epoll, EPOLL_CTL_ADD, s->fd, &e) != 0) {
    rig_die("rig: epoll_ctl: %m");
  }
}

void rig_loop_wait(rig_loop *l, uint64_t until_ns) {
  struct epoll_event events[EVENTS];
  uint64_t now = rig_now();
  uint64_t wait = until_ns > now ? until_ns - now : 0;
  struct timespec t = {.tv_sec = (time_t)(wait / 1000000000U), .tv_nsec = (long)(wait % 1000000000U)};
  int n = epoll_pwait2(l->epoll, events, EVENTS, &t, NULL);
  if (n < 0 && errno != EINTR) {
    rig_die("rig: epoll_pwait2: %m");
  }
  l->now_ns = rig_now();
  for (int i = 0; i < n; i++) {
    rig_source *s = events[i].data.ptr;
    s->ready(s, events[i].events);
  }
}

void rig_fifo_push(rig_fifo *f, uint64_t at_ns, void *what) {
  if (f->n == f->cap) {
    size_t cap = f->cap ? f->cap * 2 : 1024;
    rig_due *entries = malloc(cap * sizeof *entries);
    if (!entries) {
      abort();
    }
    for (size_t i = 0; i < f->n; i++) {
      entries[i] = f->entries[(f->head + i) & (f->cap - 1)];
    }
    free(f->entries);
    f->entries = entries;
    f->head = 0;
    f->cap = cap;
  }
  f->entries[(f->head + f->n++) & (f->cap - 1)] = (rig_due){at_ns, what};
}

void *rig_fifo_pop(rig_fifo *f, uint64_t now_ns, uint64_t *at_ns) {
  if (f->n == 0 || f->entries[f->head].at_ns > now_ns) {
    return NULL;
  }
  void *what = f->entries[f->head].what;
  *at_ns = f->entries[f->head].at_ns;
  f->head = (f->head + 1) & (f->cap - 1);
  f->n--;
  return what;
}

uint64_t rig_fifo_next(const rig_fifo *f) {
  return f->n ? f->entries[f->head].at_ns : UINT64_MAX;
}

static int tcp_socket(void) {
  int on = 1;
  int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (fd < 0 || setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on) != 0 ||
      setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) != 0) {
    rig_die("rig: socket: %m");
  }
  return fd;
}

int rig_listen(const struct sockaddr_in *at) {
  int fd = tcp_socket();
  if (bind(fd, (const struct sockaddr *)at, sizeof *at) != 0 || listen(fd, BACKLOG) != 0) {
    rig_die("rig: cannot listen on port %d: %m", ntohs(at->sin_port));
  }
  return fd;
}

int rig_connect(const struct sockaddr_in *to) {
  int fd = tcp_socket();
  if (connect(fd, (const struct sockaddr *)to, sizeof *to) != 0 && errno != EINPROGRESS) {
    rig_die("rig: cannot connect to port %d: %m", ntohs(to->sin_port));
  }
  return fd;
}

struct sockaddr_in rig_address(const char *text) {
  struct sockaddr_in out = {.sin_family = AF_INET};
  char host[64];
  const char *colon = strrchr(text, ':');
  if (!colon || (size_t)(colon - text) >= sizeof host) {
    rig_die("rig: \"%s\" is not <address>:<port>", text);
  }
  memcpy(host, text, (size_t)(colon - text));
  host[colon - text] = 0;
  out.sin_port = htons((uint16_t)strtoul(colon + 1, NULL, 10));
  if (inet_pton(AF_INET, host, &out.sin_addr) != 1 || out.sin_port == 0) {
    rig_die("rig: \"%s\" is not <address>:<port>", text);
  }
  return out;
}
