// Client connections; see client.h.
#include "client.h"

#include <arpa/inet.h>
#include <string.h>

#include "config.h"

static gw_client *of(gw_io *io) {
  return (gw_client *)(void *)io;
}

static void move_to(gw_client *c, gw_list *list) {
  if (c->list != list) {
    gw_list_remove(c->list, c);
    gw_list_add(list, c);
  }
  c->since_ms = gw_loop_now(c->io.loop);
}

// ---- parser callbacks: they only record; nothing is freed or answered inside the parser ----

static gw_req *req_of(llhttp_t *p) {
  return ((gw_client *)p->data)->req;
}

static int too_large(gw_req *r) {
  gw_req_fail_close(r, eco_error(ECO_INVALID_JSON,
                                 "The request head is larger than %d bytes, its target longer than %d or its "
                                 "headers more than %d.",
                                 (int)GW_BLOCK_DATA, GW_URL_MAX, GW_HEADERS_MAX));
  return HPE_USER;
}

static int on_url(llhttp_t *p, const char *at, size_t n) {
  gw_req *r = req_of(p);
  return gw_head_add_url(&r->head, at, n) ? 0 : too_large(r);
}

static int trailer(gw_req *r, size_t n) {
  if (n > (size_t)(GW_TRAILERS_MAX - r->trailer_bytes)) {
    return too_large(r);
  }
  r->trailer_bytes = (uint16_t)(r->trailer_bytes + n);  // trailers are dropped, but count
  return 0;
}

// Extensions of a chunk are dropped; their bytes count anew for each chunk.
static int on_extension(llhttp_t *p, const char *at, size_t n) {
  (void)at;
  return trailer(req_of(p), n);
}

static int on_chunk(llhttp_t *p) {
  req_of(p)->trailer_bytes = 0;
  return 0;
}

static int on_name(llhttp_t *p, const char *at, size_t n) {
  gw_req *r = req_of(p);
  if (r->head_done) {
    return trailer(r, n);
  }
  return gw_head_add_name(&r->head, at, n) ? 0 : too_large(r);
}

static int on_value(llhttp_t *p, const char *at, size_t n) {
  gw_req *r = req_of(p);
  if (r->head_done) {
    return trailer(r, n);
  }
  return gw_head_add_value(&r->head, at, n) ? 0 : too_large(r);
}

static int on_head(llhttp_t *p) {
  gw_req *r = req_of(p);
  r->head_done = true;
  r->method = p->method;
  gw_head_finish(&r->head);
  gw_judge(r, p->http_major, p->http_minor);
  p->upgrade = 0;  // what is upgraded is decided here, and only after the engine agreed
  return r->early_close ? HPE_USER : 0;
}

static int on_body(llhttp_t *p, const char *at, size_t n) {
  gw_req_body(req_of(p), at, n);
  return 0;
}

static int on_complete(llhttp_t *p) {
  req_of(p)->body_done = true;
  return HPE_PAUSED;
}

static const llhttp_settings_t SETTINGS = {
    .on_url = on_url,
    .on_header_field = on_name,
    .on_header_value = on_value,
    .on_headers_complete = on_head,
    .on_body = on_body,
    .on_chunk_extension_name = on_extension,
    .on_chunk_extension_value = on_extension,
    .on_chunk_header = on_chunk,
    .on_message_complete = on_complete,
};

// ---- input ----

// Keeps bytes of a later request; a full block stops reading.
static void keep_ahead(gw_client *c, const char *p, size_t n) {
  if (n == 0) {
    return;
  }
  if (!c->ahead) {
    c->ahead = gw_block_get(&c->io.loop->pool);
  }
  size_t room = GW_BLOCK_DATA - c->ahead->len;
  if (n > room) {
    // More than a block came in one read: what does not fit cannot be kept, so this is the connection's last request.
    c->req->keep_alive = false;
    n = room;
  }
  memcpy(c->ahead->data + c->ahead->len, p, n);
  c->ahead->len += (uint32_t)n;
  if (c->ahead->len == GW_BLOCK_DATA) {
    gw_io_read(&c->io, false);
  }
}

static void malformed(gw_req *r, const char *why) {
  gw_req_fail_close(r, eco_error(ECO_INVALID_JSON, "The HTTP request is malformed: %s.", why));
}

static void feed(gw_client *c, const char *p, size_t n) {
  if (!c->req) {
    c->req = gw_req_new(c);
    llhttp_init(&c->parser, HTTP_REQUEST, &SETTINGS);
    c->parser.data = c;
    move_to(c, &c->io.loop->active);
  }
  gw_req *r = c->req;
  if (r->body_done || r->answered) {
    keep_ahead(c, p, n);
    return;
  }
  if (r->early_close) {
    c->lingered += n;
    return;
  }
  if (!r->line.done && !gw_request_line_feed(&r->line, p, n)) {
    malformed(r, "expected `METHOD SP target SP HTTP/1.1`");
    gw_client_progress(c);
    return;
  }
  if (r->head_done) {
    c->since_ms = gw_loop_now(c->io.loop);
  }
  enum llhttp_errno e = llhttp_execute(&c->parser, p, n);
  if (e == HPE_PAUSED && r->body_done) {
    const char *rest = llhttp_get_error_pos(&c->parser);
    keep_ahead(c, rest, (size_t)(p + n - rest));
  } else if (e != HPE_OK && !r->early_close) {
    const char *why = llhttp_get_error_reason(&c->parser);
    malformed(r, why && why[0] ? why : "cannot be parsed");
  }
  gw_client_progress(c);
}

static void on_data(gw_io *io, const char *p, size_t n) {
  gw_client *c = of(io);
  if (c->mode == GW_CLIENT_LINGER) {
    c->lingered += n;
    if (c->lingered > GW_LINGER_BYTES) {
      gw_client_drop(c);
    }
    return;
  }
  if (c->mode == GW_CLIENT_TUNNEL) {
    c->req->bytes_in += n;
    gw_io_write((gw_io *)c->req->up, p, n);
    gw_tunnel_check(c->req);
    return;
  }
  feed(c, p, n);
}

static void on_eof(gw_io *io) {
  gw_client *c = of(io);
  c->eof = true;
  gw_req *r = c->req;
  if (c->mode == GW_CLIENT_TUNNEL) {
    gw_io_shut((gw_io *)r->up);
    return;
  }
  if (r && r->body_done && r->kind == GW_KIND_PROXY && !r->answered) {
    r->keep_alive = false;  // a half-close: the answer still goes out
    return;
  }
  if (r) {
    gw_client_drop(c);
  } else {
    gw_client_finish(c);
  }
}

static void on_fail(gw_io *io, int error) {
  (void)error;
  gw_client_drop(of(io));
}

// Waits for the next request, or goes on with what was sent ahead. One that does not read its answers gets no more of
// them: their bytes are ours to keep.
static void await_request(gw_client *c) {
  if (c->io.congested) {
    gw_io_read(&c->io, false);
  } else if (c->ahead) {
    gw_io_later(&c->io);
  } else {
    gw_io_read(&c->io, true);
  }
}

static void on_drained(gw_io *io) {
  gw_client *c = of(io);
  if (c->req && c->req->up) {
    gw_io_read((gw_io *)c->req->up, true);
  } else if (!c->req && c->mode == GW_CLIENT_OPEN) {
    await_request(c);
  }
}

static void on_resumed(gw_io *io) {
  gw_client *c = of(io);
  gw_block *b = c->ahead;
  if (c->mode != GW_CLIENT_OPEN || c->req || !b) {
    return;
  }
  c->ahead = NULL;
  gw_io_read(io, true);
  feed(c, (const char *)b->data, b->len);
  gw_block_put(&io->loop->pool, b);
}

static void on_closed(gw_io *io) {
  gw_client *c = of(io);
  gw_loop *loop = io->loop;
  gw_block_put(&loop->pool, c->ahead);
  gw_slab_put(&loop->clients, c);
}

// A large body of known length is read into the blocks that keep it. What comes with its head is copied there: so that
// this is little, a head is read into the front of the loop's buffer alone.
static uv_buf_t body_room(gw_io *io) {
  gw_client *c = of(io);
  gw_req *r = c->req;
  if (!r || !r->head_done) {
    return uv_buf_init(io->loop->read_buffer, GW_HEAD_READ);
  }
  bool large = r && r->head_done && r->framing.content_length >= GW_LARGE_BLOCK;
  if (!large || r->body_done || r->early || r->answered || c->mode != GW_CLIENT_OPEN) {
    return uv_buf_init(NULL, 0);
  }
  return gw_chain_room(&io->loop->pool, &r->body);
}

static const gw_io_fns FNS = {
    .data = on_data,
    .eof = on_eof,
    .fail = on_fail,
    .drained = on_drained,
    .resumed = on_resumed,
    .closed = on_closed,
    .room = body_room,
};

// ---- life ----

static void set_peer(gw_client *c, const struct sockaddr *peer) {
  if (peer->sa_family == AF_INET6) {
    inet_ntop(AF_INET6, &((const struct sockaddr_in6 *)(const void *)peer)->sin6_addr, c->peer, sizeof c->peer);
  } else {
    inet_ntop(AF_INET, &((const struct sockaddr_in *)(const void *)peer)->sin_addr, c->peer, sizeof c->peer);
  }
  c->trusted = gw_config_trusts(peer);
  c->address = gw_address_of(peer);
}

void gw_client_accept(gw_loop *loop, int fd, const struct sockaddr *peer) {
  gw_client *c = gw_slab_get(&loop->clients);
  memset(c, 0, sizeof *c);
  gw_io_init(&c->io, loop, &FNS);
  loop->n_clients++;
  gw_metrics_add(&loop->metrics->clients, 1);
  gw_list_add(&loop->quiet, c);
  c->since_ms = gw_loop_now(loop);
  if (gw_io_open(&c->io, fd) != 0 || loop->n_clients > (size_t)gw_cfg.clients_max || loop->draining) {
    gw_client_drop(c);
    return;
  }
  set_peer(c, peer);
  gw_io_read(&c->io, true);
}

void gw_client_drop(gw_client *c) {
  if (c->io.closing) {
    return;
  }
  gw_loop *loop = c->io.loop;
  if (c->req) {
    gw_req *r = c->req;
    gw_forward_cancel(r);
    gw_bridge_release(r);
    if (!r->answered && r->status == 0 && r->counted) {
      r->status = 499;  // the client left: told apart in logs and metrics
    }
    c->req = NULL;
    gw_req_free(r);
  }
  gw_list_remove(c->list, c);
  loop->n_clients--;
  gw_metrics_add(&loop->metrics->clients, -1);
  gw_io_close(&c->io);
}

void gw_client_finish(gw_client *c) {
  if (c->io.out_bytes == 0) {
    gw_client_drop(c);
    return;
  }
  if (c->mode != GW_CLIENT_LINGER) {  // the janitor closes it once everything is out, or stalls
    c->mode = GW_CLIENT_LINGER;
    move_to(c, &c->io.loop->active);
    gw_io_shut(&c->io);
  }
}

void gw_client_request_done(gw_client *c) {
  gw_req *r = c->req;
  const gw_loop *loop = c->io.loop;
  bool again = r->keep_alive && r->body_done && !c->eof && (!loop->draining || loop->patient);
  c->req = NULL;
  gw_req_free(r);
  if (again) {
    move_to(c, &c->io.loop->quiet);
    await_request(c);
    return;
  }
  c->mode = GW_CLIENT_LINGER;
  c->since_ms = gw_loop_now(c->io.loop);
  gw_io_shut(&c->io);
  if (c->eof) {
    return;  // closed by the janitor once everything is out
  }
  gw_io_read(&c->io, true);
}

void gw_client_truncate(gw_client *c) {
  gw_req *r = c->req;
  c->req = NULL;
  gw_req_free(r);
  c->mode = GW_CLIENT_LINGER;
  c->since_ms = gw_loop_now(c->io.loop);
  c->lingered = 0;
  gw_io_shut(&c->io);  // the missing end (no last chunk, too few bytes) tells the client
}

void gw_client_progress(gw_client *c) {
  gw_req *r = c->req;
  if (!r || r->answered) {
    return;
  }
  if (r->early) {
    gw_forward_cancel(r);
    if (r->released) {
      gw_client_truncate(c);
      return;
    }
    if (!r->body_done) {
      r->keep_alive = false;
    }
    gw_req_answer_error(r, r->error);
    return;
  }
  if (!r->head_done) {
    return;
  }
  if (!r->body_done && !r->continue_sent && gw_slice_is(gw_head_get(&r->head, GW_H_EXPECT), "100-continue") &&
      !r->http10) {
    static const char CONTINUE[] = "HTTP/1.1 100 Continue\r\n\r\n";
    r->continue_sent = true;
    if (r->body.end == 0) {  // a client that did not wait needs no permission
      gw_io_write(&c->io, CONTINUE, sizeof CONTINUE - 1);
    }
  }
  gw_forward_progress(r);
}

// ---- janitor ----

static bool write_stalled(const gw_client *c, uint64_t now_ms) {
  return c->io.out_bytes > 0 && now_ms - c->io.progress_ms > (uint64_t)gw_cfg.client_write_timeout_ms;
}

void gw_client_tick(gw_client *c, uint64_t now_ms) {
  gw_req *r = c->req;
  uint64_t waited = now_ms > c->since_ms ? now_ms - c->since_ms : 0;
  if (write_stalled(c, now_ms)) {
    gw_client_drop(c);
    return;
  }
  if (c->mode == GW_CLIENT_LINGER) {
    bool flushed = c->io.out_bytes == 0;
    if (flushed && (c->eof || waited > GW_LINGER_MS)) {
      gw_client_drop(c);
    }
    return;
  }
  if (c->mode == GW_CLIENT_TUNNEL) {
    gw_tunnel_check(r);
    return;
  }
  if (!r) {
    if (waited > (uint64_t)gw_cfg.client_idle_timeout_ms || c->io.loop->draining) {
      gw_client_finish(c);
    }
    return;
  }
  if (!r->head_done && waited > (uint64_t)gw_cfg.client_head_timeout_ms) {
    gw_client_drop(c);
    return;
  }
  if (r->head_done && !r->body_done && c->io.want_read && waited > (uint64_t)gw_cfg.client_body_timeout_ms) {
    gw_client_drop(c);
    return;
  }
  if (r->hold_until_ms && !r->released && now_ms >= r->hold_until_ms) {
    gw_answer_release(r);
  }
  if (r->bridge) {
    gw_bridge_due(r, now_ms);
  }
}
