// A WebSocket on /proxy after the engine's 101: bytes both ways, with back-pressure, until either side or the instance
// ends.
#include "client.h"
#include "config.h"
#include "upstream.h"

void gw_tunnel_open(gw_req *r, gw_upstream *up, const char *p, size_t n) {
  gw_client *c = r->client;
  gw_response_out out = {
      .status = 101, .v1 = false, .websocket = true, .content_length = -1, .own = gw_req_own_headers(r, NULL)};
  size_t len = gw_head_write_response(&up->head, &out, r->loop->scratch, GW_SCRATCH);
  gw_io_write(&c->io, r->loop->scratch, len);
  r->released = true;
  r->status = 101;
  up->tunnel = true;
  up->deadline_ms = 0;
  c->mode = GW_CLIENT_TUNNEL;
  gw_req_shrink(r);
  if (n > 0) {
    r->bytes_out += n;
    gw_io_write(&c->io, p, n);
  }
  if (c->ahead) {
    r->bytes_in += c->ahead->len;
    gw_io_write(&up->io, c->ahead->data, c->ahead->len);
    gw_block_put(&r->loop->pool, c->ahead);
    c->ahead = NULL;
  }
  gw_io_read(&c->io, true);
  gw_io_read(&up->io, true);
}

void gw_tunnel_check(gw_req *r) {
  gw_client *c = r->client;
  gw_upstream *up = r->up;
  uint64_t now = gw_loop_now(r->loop);
  uint64_t moved = c->io.progress_ms > up->io.progress_ms ? c->io.progress_ms : up->io.progress_ms;
  bool over = c->eof && up->eof && c->io.out_bytes == 0 && up->io.out_bytes == 0;
  bool silent = now > moved && now - moved > (uint64_t)gw_cfg.tunnel_idle_timeout_ms;
  if (over || silent || !gw_snapshot_route(gw_loop_snapshot(r->loop), r->instance_id)) {
    r->answered = true;
    gw_client_drop(c);
    return;
  }
  gw_io_read(&c->io, !up->io.congested && !c->eof);
  gw_io_read(&up->io, !c->io.congested && !up->eof);
}
