// The clients; see load.h.
#include "load.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "message.h"

enum { LINE_MAX_LEN = 1024, STAMP_DIGITS = 20, ERRORS_MAX = 1000 };

typedef struct client {
  rig_source source;  // first
  rig_load *load;
  struct client *next;  // among the free ones, or those with a second half to send
  rig_message in;
  const rig_request *request;  // NULL: none under way
  size_t sent;
  size_t may_send;  // up to here for now
  uint64_t began_ns;
  unsigned serial;  // of its connection: each replacement has a new one
  bool connected;
  bool listed;  // among the free ones
  // of an event stream: the line that came in part
  char *line;
  size_t line_len;
  unsigned deltas;
  bool done_seen;
} client;

typedef struct clients {  // first in, first out
  client *head;
  client **tail;
} clients;

struct rig_load {
  rig_loop *loop;
  rig_load_options options;
  const rig_corpus *corpus;
  client *all;
  unsigned opened;
  unsigned established;
  uint64_t start_ns;
  uint64_t sent;  // requests begun: the next one is due at start + sent / rate
  size_t turn;    // through the corpus
  clients idle;
  clients halves;  // sent up to the split: the rest follows in the next turn
  rig_fifo paced;
  rig_stats stats;
  char trouble[256];
};

static void clients_add(clients *list, client *c) {
  c->next = NULL;
  *list->tail = c;
  list->tail = &c->next;
}

static client *clients_take(clients *list) {
  client *c = list->head;
  if (c) {
    list->head = c->next;
    list->tail = list->head ? list->tail : &list->head;
  }
  return c;
}

// ---- errors: counted, the first one kept in words; the connection is replaced ----

static void client_open(client *c);

__attribute__((format(printf, 2, 3))) static void client_fail(client *c, const char *format, ...) {
  rig_load *l = c->load;
  if (!l->trouble[0]) {
    va_list args;
    va_start(args, format);
    vsnprintf(l->trouble, sizeof l->trouble, format, args);
    va_end(args);
  }
  if (++l->stats.errors > ERRORS_MAX) {
    rig_die("rig: more than %d errors; the first one: %s", ERRORS_MAX, l->trouble);
  }
  close(c->source.fd);
  l->established -= c->connected;
  client_open(c);
}

// ---- sending ----

static void client_push(client *c) {
  rig_load *l = c->load;
  const rig_request *r = c->request;
  while (c->sent < c->may_send) {
    ssize_t n = send(c->source.fd, r->bytes + c->sent, c->may_send - c->sent, MSG_NOSIGNAL);
    if (n < 0 && errno == EAGAIN) {
      return;  // goes on when the socket is writable
    }
    if (n < 0) {
      client_fail(c, "sending: %s", strerror(errno));
      return;
    }
    c->sent += (size_t)n;
  }
  if (c->sent < r->len) {
    if (l->options.pace_ns) {
      rig_fifo_push(&l->paced, l->loop->now_ns + l->options.pace_ns, c);
    } else {
      clients_add(&l->halves, c);
    }
  }
}

static void client_begin(client *c, uint64_t due_ns) {
  rig_load *l = c->load;
  const rig_request *r = &l->corpus->requests[l->turn];
  l->turn = l->turn + 1 < l->corpus->n ? l->turn + 1 : 0;
  l->sent++;
  c->request = r;
  c->sent = 0;
  c->may_send = l->options.pace_ns ? l->options.pace_bytes : r->split ? r->split : r->len;
  c->may_send = c->may_send < r->len ? c->may_send : r->len;
  c->began_ns = due_ns;
  c->deltas = 0;
  c->done_seen = false;
  rig_message_reset(&c->in);
  client_push(c);
}

static uint64_t next_due(const rig_load *l) {
  return l->start_ns + (uint64_t)((double)l->sent / l->options.rate * 1e9);
}

// c is free for a request: at once, when one is due.
static void client_free(client *c) {
  rig_load *l = c->load;
  c->request = NULL;
  if (l->options.once) {
    return;
  }
  if (l->options.rate <= 0) {
    client_begin(c, rig_now());
  } else if (next_due(l) <= l->loop->now_ns) {
    client_begin(c, next_due(l));
  } else if (!c->listed) {
    c->listed = true;
    clients_add(&l->idle, c);
  }
}

// ---- event streams ----

static void stream_line(client *c) {
  rig_load *l = c->load;
  static const char DONE[] = "data: [DONE]";
  static const char STAMP[] = "\"t\":\"";
  const char *stamp = memmem(c->line, c->line_len, STAMP, sizeof STAMP - 1);
  if (stamp && stamp + sizeof STAMP - 1 + STAMP_DIGITS < c->line + c->line_len) {
    uint64_t now = rig_now();
    uint64_t at = strtoull(stamp + sizeof STAMP - 1, NULL, 10);
    uint64_t due = c->began_ns + l->options.first_ns;
    rig_hist_add(&l->stats.delay, now > at ? now - at : 0);
    if (c->deltas++ == 0) {
      rig_hist_add(&l->stats.first, now > due ? now - due : 0);
    }
    l->stats.events++;
  } else if (c->line_len == sizeof DONE - 1 && memcmp(c->line, DONE, c->line_len) == 0) {
    c->done_seen = true;
  }
}

static void stream_bytes(void *arg, const char *p, size_t n) {
  client *c = arg;
  if (!c->line && !(c->line = malloc(LINE_MAX_LEN))) {
    abort();
  }
  while (n > 0) {
    const char *end = memchr(p, '\n', n);
    size_t used = end ? (size_t)(end - p) + 1 : n;
    size_t take = end ? used - 1 : used;
    take = take < LINE_MAX_LEN - c->line_len ? take : LINE_MAX_LEN - c->line_len;
    memcpy(c->line + c->line_len, p, take);
    c->line_len += take;
    if (end) {
      stream_line(c);
      c->line_len = 0;
    }
    p += used;
    n -= used;
  }
}

// ---- answers ----

// What is wrong with a whole answer; NULL: nothing.
static const char *judge(const client *c) {
  const rig_load_options *o = &c->load->options;
  if (o->refused) {
    return c->in.status == 401 || c->in.status == 429 ? NULL : "not refused";
  }
  if (o->busy_too && c->in.status == 503) {
    return NULL;
  }
  if (c->in.status != 200) {
    return "status";
  }
  if (o->deltas > 0) {
    return c->deltas == o->deltas && c->done_seen ? NULL : "stream with missing events";
  }
  const bool right = o->body_len ? c->in.body == o->body_len : c->in.body > 0;
  return right ? NULL : "length of the body";
}

static void answer_done(client *c) {
  rig_load *l = c->load;
  const char *wrong = judge(c);
  if (wrong) {
    client_fail(c, "answer: %s (status %d, %llu bytes)", wrong, c->in.status, (unsigned long long)c->in.body);
    return;
  }
  l->stats.done++;
  l->stats.busy += c->in.status == 503;
  rig_hist_add(&l->stats.latency, rig_now() - c->began_ns);
  if (c->in.close) {  // its right; the next request takes a new connection
    close(c->source.fd);
    l->established--;
    client_open(c);
    return;
  }
  client_free(c);
}

static void client_read(client *c, const char *p, size_t n) {
  rig_load *l = c->load;
  if (!c->request) {
    client_fail(c, "bytes that nobody asked for");
    return;
  }
  size_t used = rig_message_feed(&c->in, p, n, l->options.deltas ? stream_bytes : NULL, c);
  bool early = c->sent < c->request->len && !l->options.busy_too;
  if (c->in.state == RIG_BAD || used < n || (early && c->in.state == RIG_DONE)) {
    client_fail(c, "answer: malformed, too long, or before the request's end");
  } else if (c->in.state == RIG_DONE) {
    answer_done(c);
  }
}

static void client_ready(rig_source *s, uint32_t events) {
  client *c = (client *)(void *)s;
  rig_load *l = c->load;
  unsigned serial = c->serial;
  bool closing = (events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR)) != 0;
  if (!c->connected && (events & EPOLLOUT) && !(events & EPOLLERR)) {
    c->connected = true;
    l->established++;
    l->options.once ? client_begin(c, rig_now()) : client_free(c);
  } else if ((events & EPOLLOUT) && c->request && c->sent < c->may_send) {
    client_push(c);
  }
  if (c->serial != serial || (!(events & EPOLLIN) && !closing)) {
    return;
  }
  for (;;) {
    ssize_t n = recv(s->fd, l->loop->buffer, RIG_READ_BUFFER, 0);
    if (n < 0 && errno == EAGAIN) {
      return;
    }
    if (n <= 0) {
      client_fail(c, n == 0 ? "connection closed%s" : "connection lost%s", c->connected ? "" : " before it was open");
      return;
    }
    client_read(c, l->loop->buffer, (size_t)n);
    if (c->serial != serial || (n < RIG_READ_BUFFER && !closing)) {
      return;
    }
  }
}

static void client_open(client *c) {
  c->request = NULL;
  c->connected = false;
  c->serial++;
  c->line_len = 0;
  rig_message_reset(&c->in);
  c->source = (rig_source){rig_connect(&c->load->options.target), client_ready};
  rig_loop_add(c->load->loop, &c->source);
}

// ---- turns ----

static uint64_t open_due(rig_load *l) {
  const rig_load_options *o = &l->options;
  while (l->opened < o->connections) {
    uint64_t at = l->start_ns + o->ramp_ns * l->opened / o->connections;
    if (at > l->loop->now_ns) {
      return at;
    }
    client_open(&l->all[l->opened++]);
  }
  return UINT64_MAX;
}

static void send_halves(rig_load *l) {
  clients halves = l->halves;
  l->halves = (clients){NULL, &l->halves.head};
  if (!halves.head) {
    return;
  }
  for (client *c = halves.head, *next = NULL; c; c = next) {
    next = c->next;
    if (c->request) {
      c->may_send = c->request->len;
      client_push(c);
    }
  }
}

static void send_paced(rig_load *l) {
  uint64_t at_ns = 0;
  client *c = NULL;
  while ((c = rig_fifo_pop(&l->paced, l->loop->now_ns, &at_ns)) != NULL) {
    if (c->request && c->sent == c->may_send && c->sent < c->request->len) {
      size_t left = c->request->len - c->sent;
      c->may_send += left < l->options.pace_bytes ? left : l->options.pace_bytes;
      client_push(c);
    }
  }
}

static uint64_t send_due(rig_load *l) {
  if (l->options.rate <= 0) {
    return UINT64_MAX;
  }
  for (uint64_t due = next_due(l); l->idle.head; due = next_due(l)) {
    if (due > l->loop->now_ns) {
      return due;
    }
    client *c = clients_take(&l->idle);
    c->listed = false;
    if (c->connected && !c->request) {
      client_begin(c, due);
    }
  }
  return UINT64_MAX;  // a connection that becomes free looks for itself
}

uint64_t rig_load_turn(rig_load *l) {
  uint64_t next = open_due(l);
  send_halves(l);
  send_paced(l);
  uint64_t due = send_due(l);
  uint64_t paced = rig_fifo_next(&l->paced);
  next = due < next ? due : next;
  next = paced < next ? paced : next;
  return l->halves.head ? 0 : next;
}

rig_stats *rig_load_stats(rig_load *l) {
  return &l->stats;
}

void rig_load_close(rig_load *l) {
  for (unsigned i = 0; i < l->opened; i++) {
    close(l->all[i].source.fd);
  }
}

void rig_load_clear(rig_load *l) {
  uint64_t errors = l->stats.errors;
  memset(&l->stats, 0, sizeof l->stats);
  l->stats.errors = errors;  // one while warming up is one, too
}

unsigned rig_load_open(const rig_load *l) {
  return l->established;
}

uint64_t rig_load_late(const rig_load *l) {
  double due = l->options.rate > 0 ? (double)(l->loop->now_ns - l->start_ns) / 1e9 * l->options.rate : 0;
  return due > (double)l->sent ? (uint64_t)(due - (double)l->sent) : 0;
}

const char *rig_load_trouble(const rig_load *l) {
  return l->trouble[0] ? l->trouble : NULL;
}

rig_load *rig_load_new(rig_loop *loop, const rig_corpus *corpus, const rig_load_options *options) {
  rig_load *l = calloc(1, sizeof *l);
  client *all = calloc(options->connections, sizeof *all);
  if (!l || !all) {
    abort();
  }
  l->loop = loop;
  l->corpus = corpus;
  l->options = *options;
  l->all = all;
  l->start_ns = loop->now_ns;
  l->idle.tail = &l->idle.head;
  l->halves.tail = &l->halves.head;
  for (unsigned i = 0; i < options->connections; i++) {
    all[i].load = l;
  }
  return l;
}
