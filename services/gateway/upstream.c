// Connections to replicas; see upstream.h.
#include "upstream.h"

#include <errno.h>
#include <string.h>

#include "config.h"
#include "ecolink/crash.h"

static gw_upstream *of(gw_io *io) {
  return (gw_upstream *)(void *)io;
}

// ---- parser callbacks: record, and pass body bytes on (which never frees anything) ----

static int limit_passed(gw_upstream *up) {
  up->failures++;
  return HPE_USER;
}

static int on_name(llhttp_t *p, const char *at, size_t n) {
  gw_upstream *up = p->data;
  if (up->head_done) {
    return 0;  // trailers are dropped
  }
  return gw_head_add_name(&up->head, at, n) ? 0 : limit_passed(up);
}

static int on_value(llhttp_t *p, const char *at, size_t n) {
  gw_upstream *up = p->data;
  if (up->head_done) {
    return 0;
  }
  return gw_head_add_value(&up->head, at, n) ? 0 : limit_passed(up);
}

// 100, 103 and their like: a head alone. One that declares a body would have it taken for the answer.
static bool informational(const gw_upstream *up) {
  return up->parser.status_code >= 100 && up->parser.status_code < 200 && up->parser.status_code != 101;
}

static int on_head(llhttp_t *p) {
  gw_upstream *up = p->data;
  if (informational(up)) {
    bool body = (p->flags & (F_CHUNKED | F_TRANSFER_ENCODING)) != 0 || p->content_length > 0;
    return body ? limit_passed(up) : 0;
  }
  gw_head_finish(&up->head);
  up->head_done = true;
  bool hollow = p->status_code == 101 && !p->upgrade;  // switches to nothing
  if (p->http_major != 1 || p->status_code < 100 || p->status_code > 599 || hollow) {
    return limit_passed(up);
  }
  int stop = gw_answer_head(up->req, up);
  if (stop) {
    return stop;
  }
  return up->req->method == HTTP_HEAD ? 1 : 0;
}

static int on_body(llhttp_t *p, const char *at, size_t n) {
  gw_upstream *up = p->data;
  gw_answer_body(up->req, up, at, n);
  return 0;
}

static int on_complete(llhttp_t *p) {
  gw_upstream *up = p->data;
  if (!up->head_done) {  // 100, 103: the answer itself is still to come
    gw_head_init(&up->head, (char *)up->head_block->data, GW_BLOCK_DATA);
    return 0;
  }
  if (p->status_code == 101) {
    return 0;  // what follows is the tunnel's: the parser stops with HPE_PAUSED_UPGRADE
  }
  up->complete = true;
  return HPE_PAUSED;
}

static const llhttp_settings_t SETTINGS = {
    .on_header_field = on_name,
    .on_header_value = on_value,
    .on_headers_complete = on_head,
    .on_body = on_body,
    .on_message_complete = on_complete,
};

// ---- lists ----

static void busy_add(gw_upstream *up) {
  gw_loop *loop = up->io.loop;
  up->prev = NULL;
  up->next = loop->busy;
  if (loop->busy) {
    loop->busy->prev = up;
  }
  loop->busy = up;
}

static void busy_remove(gw_upstream *up) {
  if (up->prev) {
    up->prev->next = up->next;
  } else {
    up->io.loop->busy = up->next;
  }
  if (up->next) {
    up->next->prev = up->prev;
  }
}

static void idle_count(gw_upstream *up, int n) {
  up->replica->n_idle += (unsigned)n;
  gw_metrics_add(&up->io.loop->metrics->upstreams_idle, n);
}

static void idle_remove(gw_upstream *up) {
  for (gw_upstream **at = &up->replica->idle; *at; at = &(*at)->next) {
    if (*at == up) {
      *at = up->next;
      idle_count(up, -1);
      return;
    }
  }
}

static void close_idle(gw_upstream *up) {
  idle_remove(up);
  gw_io_close(&up->io);
}

// ---- events ----

static void attempt_failed(gw_upstream *up, gw_failure kind) {
  if (up->req) {
    gw_forward_failed(up->req, kind);
  } else {
    close_idle(up);
  }
}

static void parsed(gw_upstream *up, enum llhttp_errno e, const char *end) {
  if (up->complete) {
    bool extra = llhttp_get_error_pos(&up->parser) != end && e == HPE_PAUSED;
    bool reusable = !up->eof && !extra && llhttp_should_keep_alive(&up->parser);
    gw_answer_complete(up->req, up, reusable);
  } else if (up->retry) {
    attempt_failed(up, GW_FAIL_STATUS);
  } else if (e != HPE_OK) {
    attempt_failed(up, GW_FAIL_GARBAGE);
  }
}

static void on_data(gw_io *io, const char *p, size_t n) {
  gw_upstream *up = of(io);
  if (!up->req) {
    close_idle(up);  // bytes that nobody asked for
    return;
  }
  gw_req *r = up->req;
  up->last_data_ms = gw_loop_now(io->loop);
  if (up->tunnel) {
    r->bytes_out += n;
    gw_io_write((gw_io *)r->client, p, n);
    gw_tunnel_check(r);
    return;
  }
  up->deadline_ms = up->last_data_ms + (uint64_t)gw_cfg.idle_timeout_ms;
  up->deadline_kind = GW_FAIL_TIMEOUT;
  if (!up->head_block && !up->head_done) {  // not before the answer begins: most answers then take turns with one block
    up->head_block = gw_block_get(&io->loop->pool);
    gw_head_init(&up->head, (char *)up->head_block->data, GW_BLOCK_DATA);
  }
  enum llhttp_errno e = llhttp_execute(&up->parser, p, n);
  if (e == HPE_PAUSED_UPGRADE && !up->retry && up->head_done) {
    const char *rest = llhttp_get_error_pos(&up->parser);
    gw_tunnel_open(r, up, rest, (size_t)(p + n - rest));
    return;
  }
  parsed(up, e, p + n);
  if (up->req == r && !io->closing && ((gw_io *)r->client)->congested) {
    gw_io_read(io, false);
  }
}

static void on_eof(gw_io *io) {
  gw_upstream *up = of(io);
  up->eof = true;
  if (!up->req) {
    close_idle(up);
    return;
  }
  if (up->tunnel) {
    gw_io_shut((gw_io *)up->req->client);
    return;
  }
  if (up->head_done && llhttp_finish(&up->parser) == HPE_OK && up->complete) {
    gw_answer_complete(up->req, up, false);
    return;
  }
  if (up->complete) {
    gw_answer_complete(up->req, up, false);
    return;
  }
  attempt_failed(up, GW_FAIL_RESET);
}

static void on_fail(gw_io *io, int error) {
  (void)error;
  gw_upstream *up = of(io);
  attempt_failed(up, io->open ? GW_FAIL_RESET : GW_FAIL_CONNECT);
}

static void on_drained(gw_io *io) {
  gw_upstream *up = of(io);
  if (!up->req) {
    return;
  }
  if (up->tunnel) {
    gw_io_read((gw_io *)up->req->client, true);
    return;
  }
  gw_forward_push(up->req);
}

static void on_resumed(gw_io *io) {
  (void)io;
}

static void on_closed(gw_io *io) {
  gw_upstream *up = of(io);
  gw_block_put(&io->loop->pool, up->head_block);
  gw_slab_put(&io->loop->upstreams, up);
}

static void on_connected(gw_io *io) {
  gw_upstream *up = of(io);
  ECO_CRASH_POINT("gateway.upstream.connected");
  up->deadline_ms = 0;
  gw_io_read(io, true);
  gw_io_flush(io);
  if (up->req) {
    gw_forward_push(up->req);
  }
}

static const gw_io_fns FNS = {
    .connected = on_connected,
    .data = on_data,
    .eof = on_eof,
    .fail = on_fail,
    .drained = on_drained,
    .resumed = on_resumed,
    .closed = on_closed,
};

// ---- life ----

static void bind_to(gw_upstream *up, gw_req *r) {
  up->req = r;
  r->up = up;
  gw_replica_begin(up->replica);
  busy_add(up);
  up->head_done = false;
  up->complete = false;
  up->retry = false;
  up->tunnel = false;
  up->sent_base = up->io.sent;
  up->received_base = up->io.received;
  llhttp_init(&up->parser, HTTP_RESPONSE, &SETTINGS);
  up->parser.data = up;
}

static bool idle_too_long(const gw_upstream *up, uint64_t now_ms) {
  return now_ms - up->idle_since_ms >= (uint64_t)gw_cfg.upstream_keepalive_ms;
}

// The one used last, if it may be used at all: the others have waited longer.
static gw_upstream *take_idle(gw_loop *loop, gw_replica *replica) {
  gw_upstream *up = replica->idle;
  if (up && idle_too_long(up, gw_loop_now(loop))) {
    gw_upstreams_close_idle(replica);
    return NULL;
  }
  if (up) {
    replica->idle = up->next;
    idle_count(up, -1);
    up->reused = true;
    up->deadline_ms = 0;
  }
  return up;
}

gw_upstream *gw_upstream_take(gw_loop *loop, gw_replica *replica, gw_req *r, bool fresh) {
  gw_upstream *up = fresh ? NULL : take_idle(loop, replica);
  if (up) {
    gw_metrics_add(&loop->metrics->reuses, 1);
    bind_to(up, r);
    return up;
  }
  gw_metrics_add(&loop->metrics->connects, 1);
  up = gw_slab_get(&loop->upstreams);
  memset(up, 0, sizeof *up);
  gw_io_init(&up->io, loop, &FNS);
  up->replica = replica;
  bind_to(up, r);
  int error = replica->at.resolved ? gw_io_connect(&up->io, &replica->at.addr.sa) : -EADDRNOTAVAIL;
  if (error) {
    gw_io_fail_later(&up->io, error);
  }
  up->deadline_ms = gw_loop_now(loop) + (uint64_t)gw_cfg.connect_timeout_ms;
  up->deadline_kind = GW_FAIL_CONNECT;
  return up;
}

void gw_upstream_release(gw_upstream *up, bool reusable) {
  gw_req *r = up->req;
  gw_replica *replica = up->replica;
  r->up = NULL;
  up->req = NULL;
  gw_replica_end(replica);
  busy_remove(up);
  if (!reusable || up->io.closing || up->io.error || up->io.out_bytes > 0 || replica->n_idle >= GW_IDLE_UPSTREAMS_MAX ||
      gw_cfg.upstream_keepalive_ms == 0 || up->io.loop->draining) {
    gw_io_close(&up->io);
    return;
  }
  gw_block_put(&up->io.loop->pool, up->head_block);
  up->head_block = NULL;
  up->deadline_ms = 0;
  up->idle_since_ms = gw_loop_now(up->io.loop);
  up->next = replica->idle;
  replica->idle = up;
  idle_count(up, 1);
  gw_io_read(&up->io, true);
}

void gw_upstream_tick(gw_upstream *up, uint64_t now_ms) {
  if (up->tunnel) {
    return;
  }
  bool paused = ((gw_io *)up->req->client)->congested;  // the client is slow: the engine is not to blame
  bool waits = up->io.out_bytes > 0 || up->io.congested;
  bool stuck = up->io.open && waits && now_ms - up->io.progress_ms > (uint64_t)gw_cfg.idle_timeout_ms;
  if (stuck || (up->deadline_ms && now_ms >= up->deadline_ms && !paused)) {
    attempt_failed(up, stuck ? GW_FAIL_TIMEOUT : up->deadline_kind);
  }
}

void gw_upstreams_close_idle(gw_replica *r) {
  while (r->idle) {
    close_idle(r->idle);
  }
}

void gw_upstreams_expire_idle(gw_replica *r, uint64_t now_ms) {
  // Most recent first: from the first expired one on, all are.
  gw_upstream *up = r->idle;
  while (up && !idle_too_long(up, now_ms)) {
    up = up->next;
  }
  while (up) {
    gw_upstream *next = up->next;
    close_idle(up);
    up = next;
  }
}
