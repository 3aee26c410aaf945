// The engine; see backend.h.
#include "backend.h"

#include <errno.h>
#include <inttypes.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "message.h"

// clang-format off
static const char BODY[] =
    "{\"id\":\"chatcmpl-0123456789\",\"object\":\"chat.completion\",\"created\":1700000000,\"model\":\"bench\",\"choices\":"
    "[{\"index\":0,\"message\":{\"role\":\"assistant\",\"content\":\"Rivers made these cities: ships, mills and trade came "
    "with them, and the people followed the work.\"},\"finish_reason\":\"stop\"}],\"usage\":{\"prompt_tokens\":311,"
    "\"completion_tokens\":21,\"total_tokens\":332}}";
static const char STREAM_HEAD[] =
    "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nCache-Control: no-cache\r\nTransfer-Encoding: chunked\r\n\r\n";
static const char ROLE[] =
    "data: {\"id\":\"chatcmpl-0123456789\",\"object\":\"chat.completion.chunk\",\"created\":1700000000,\"model\":\"bench\","
    "\"choices\":[{\"index\":0,\"delta\":{\"role\":\"assistant\",\"content\":\"\"},\"finish_reason\":null}]}\n\n";
#define DELTA \
    "data: {\"id\":\"chatcmpl-0123456789\",\"object\":\"chat.completion.chunk\",\"created\":1700000000,\"model\":\"bench\"," \
    "\"choices\":[{\"index\":0,\"delta\":{\"content\":\" river\"},\"finish_reason\":null}],\"t\":\"%020" PRIu64 "\"}\n\n"
static const char END[] =
    "data: {\"id\":\"chatcmpl-0123456789\",\"object\":\"chat.completion.chunk\",\"created\":1700000000,\"model\":\"bench\","
    "\"choices\":[],\"usage\":{\"prompt_tokens\":311,\"completion_tokens\":100,\"total_tokens\":411}}\n\n"
    "data: [DONE]\n\n";
// clang-format on

typedef struct peer {
  rig_source source;  // first
  rig_backend *backend;
  rig_message in;
  unsigned deltas;  // of the present stream, sent
  bool waiting;     // in the queue
  bool gone;        // closed meanwhile: freed when the queue comes to it
} peer;

struct rig_backend {
  rig_source listener;  // first
  rig_loop *loop;
  rig_backend_options options;
  rig_fifo due;
  char *answer;
  size_t answer_len;
  uint64_t errors;
  uint64_t accepted;
};

size_t rig_backend_body_len(void) {
  return sizeof BODY - 1;
}

uint64_t rig_backend_errors(const rig_backend *b) {
  return b->errors;
}

uint64_t rig_backend_connections(const rig_backend *b) {
  return b->accepted;
}

static void peer_free(peer *p) {
  rig_message_free(&p->in);
  free(p);
}

static void peer_close(peer *p) {
  close(p->source.fd);
  p->gone = true;
  if (!p->waiting) {
    peer_free(p);
  }
}

static bool peer_send(peer *p, const char *bytes, size_t n) {
  ssize_t sent = send(p->source.fd, bytes, n, MSG_NOSIGNAL);
  if (sent == (ssize_t)n) {
    return true;
  }
  // Answers are far smaller than a socket's buffer: a proxy that leaves so much unread has failed the measurement.
  p->backend->errors += sent >= 0 || errno == EAGAIN;
  return false;
}

static bool send_chunk(peer *p, const char *head, const char *event, size_t n, const char *tail) {
  char out[1024];
  int len = snprintf(out, sizeof out, "%s%zx\r\n%.*s\r\n%s", head, n, (int)n, event, tail);
  return peer_send(p, out, (size_t)len);
}

static void wait_for(peer *p, uint64_t at_ns) {
  p->waiting = true;
  rig_fifo_push(&p->backend->due, at_ns, p);
}

static bool answer(peer *p) {
  rig_backend *b = p->backend;
  if (b->options.answer == RIG_ANSWER_STREAM) {
    p->deltas = 0;
    wait_for(p, b->loop->now_ns + b->options.interval_ns);
    return send_chunk(p, STREAM_HEAD, ROLE, sizeof ROLE - 1, "");
  }
  return peer_send(p, b->answer, b->answer_len);
}

// False: the answer could not be sent.
static bool request_done(peer *p) {
  rig_backend *b = p->backend;
  rig_message_reset(&p->in);
  if (b->options.answer == RIG_ANSWER_DELAYED) {
    wait_for(p, b->loop->now_ns + b->options.delay_ns);
    return true;
  }
  return answer(p);
}

// What was read; false: the connection is of no use any more.
static bool peer_read(peer *p, const char *bytes, size_t n) {
  bool early = p->waiting;  // a request before the last one's answer: nobody may do that here
  size_t used = rig_message_feed(&p->in, bytes, n, NULL, NULL);
  if (early || p->in.state == RIG_BAD || used < n) {
    p->backend->errors++;
    return false;
  }
  return p->in.state != RIG_DONE || request_done(p);
}

static void peer_ready(rig_source *s, uint32_t events) {
  peer *p = (peer *)(void *)s;
  rig_backend *b = p->backend;
  if (!(events & (EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR))) {
    return;
  }
  bool closing = (events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR)) != 0;
  for (;;) {
    ssize_t n = recv(s->fd, b->loop->buffer, RIG_READ_BUFFER, 0);
    if (n < 0 && errno == EAGAIN) {
      return;
    }
    if (n <= 0 || !peer_read(p, b->loop->buffer, (size_t)n)) {
      peer_close(p);
      return;
    }
    if (n < RIG_READ_BUFFER && !closing) {
      return;  // whatever comes now comes with an event of its own
    }
  }
}

static void listener_ready(rig_source *s, uint32_t events) {
  rig_backend *b = (rig_backend *)(void *)s;
  (void)events;
  for (;;) {
    int on = 1;
    int fd = accept4(s->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd < 0) {
      if (errno != EAGAIN && errno != ECONNABORTED) {
        rig_die("rig: accept: %m");
      }
      return;
    }
    peer *p = calloc(1, sizeof *p);
    if (!p || setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on) != 0) {
      rig_die("rig: a connection cannot be set up: %m");
    }
    p->source = (rig_source){fd, peer_ready};
    p->backend = b;
    b->accepted++;
    rig_loop_add(b->loop, &p->source);
  }
}

static bool next_delta(peer *p, uint64_t at_ns) {
  rig_backend *b = p->backend;
  char event[512];
  int n = snprintf(event, sizeof event, DELTA, rig_now());
  if (++p->deltas < b->options.deltas) {
    wait_for(p, at_ns + b->options.interval_ns);
    return send_chunk(p, "", event, (size_t)n, "");
  }
  return send_chunk(p, "", event, (size_t)n, "") && send_chunk(p, "", END, sizeof END - 1, "0\r\n\r\n");
}

uint64_t rig_backend_turn(rig_backend *b) {
  uint64_t at_ns = 0;
  peer *p = NULL;
  while ((p = rig_fifo_pop(&b->due, b->loop->now_ns, &at_ns)) != NULL) {
    p->waiting = false;
    if (p->gone) {
      peer_free(p);
    } else if (!(b->options.answer == RIG_ANSWER_STREAM ? next_delta(p, at_ns) : answer(p))) {
      peer_close(p);
    }
  }
  return rig_fifo_next(&b->due);
}

rig_backend *rig_backend_new(rig_loop *loop, const struct sockaddr_in *at, const rig_backend_options *options) {
  rig_backend *b = calloc(1, sizeof *b);
  enum { HEAD_MAX = 256 };
  const size_t room = sizeof BODY + HEAD_MAX;
  char *text = malloc(room);
  if (!b || !text) {
    abort();
  }
  b->answer_len = (size_t)snprintf(text, room,
                                   "HTTP/1.1 200 OK\r\nServer: rig\r\nContent-Type: application/json\r\n"
                                   "Content-Length: %zu\r\n\r\n%s",
                                   sizeof BODY - 1, BODY);
  b->answer = text;
  b->loop = loop;
  b->options = *options;
  b->listener = (rig_source){rig_listen(at), listener_ready};
  rig_loop_add(loop, &b->listener);
  return b;
}
