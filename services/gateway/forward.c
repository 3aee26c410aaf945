// A request on its way to a replica: when it may start, which replica, sending, failing over. See request.h.
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "client.h"
#include "config.h"
#include "ecolink/clock.h"
#include "upstream.h"

// ---- choosing ----

static bool was_tried(const gw_req *r, int32_t id) {
  for (unsigned i = 0; i < r->n_tried; i++) {
    if (r->tried[i] == id) {
      return true;
    }
  }
  return false;
}

// The replica to ask next, or NULL.
static gw_replica *choose(gw_req *r, const gw_route *route) {
  gw_candidate candidates[GW_REPLICAS_MAX];
  gw_replica *replicas[GW_REPLICAS_MAX];
  int64_t now_ms = eco_boottime_ms();
  for (unsigned i = 0; i < route->n_replicas; i++) {
    const gw_route_replica *at = &route->replicas[i];
    bool condemned = gw_snapshot_condemned(gw_loop_snapshot(r->loop), at->region, route->instance_id, at->id, now_ms);
    replicas[i] = gw_replica_get(r->loop, route, i);
    candidates[i] = gw_replica_candidate(r->loop, replicas[i], r->endpoint_class, condemned);
    candidates[i].tried = was_tried(r, at->id);
  }
  int chosen = gw_route_choose(candidates, route->n_replicas, gw_loop_random(r->loop));
  return chosen < 0 ? NULL : replicas[chosen];
}

static void begin_attempt(gw_req *r, gw_replica *replica, bool fresh) {
  r->attempts++;
  if (!was_tried(r, replica->id) && r->n_tried < GW_ATTEMPTS_MAX + 1) {
    r->tried[r->n_tried++] = replica->id;
  }
  if (r->attempts > 1) {
    gw_metrics_add(&r->loop->metrics->retries, 1);
  }
  memcpy(r->region, replica->at.region, sizeof r->region);
  r->head_sent = false;
  r->request_sent = false;
  r->sent = 0;
  r->chunk_left = 0;
  gw_upstream_take(r->loop, replica, r, fresh);
  gw_forward_push(r);
}

// Begins an attempt. False: there is nobody left to ask.
static bool attempt(gw_req *r) {
  const gw_route *route = gw_snapshot_route(gw_loop_snapshot(r->loop), r->instance_id);
  gw_replica *replica = route ? choose(r, route) : NULL;
  if (!replica) {
    return false;
  }
  begin_attempt(r, replica, false);
  return true;
}

bool gw_forward_may_retry(gw_req *r) {
  const gw_route *route = gw_snapshot_route(gw_loop_snapshot(r->loop), r->instance_id);
  return r->kind != GW_KIND_PROXY && r->body.start == 0 && !r->body_cut && r->attempts < GW_ATTEMPTS_MAX && route &&
         choose(r, route);
}

static void start(gw_req *r) {
  if (!attempt(r)) {
    r->retry_after_s = 2;
    gw_req_answer_error(
        r, eco_error(ECO_NO_HEALTHY_REPLICA, "No replica of instance %lld is healthy right now. Try again in a moment.",
                     (long long)r->instance_id));
  }
}

// ---- sending ----

static uint64_t edited_length(const gw_req *r, uint64_t length) {
  return r->edit ? length - (r->edit_end - r->edit_start) + r->replacement_len : length;
}

static void send_head(gw_req *r) {
  gw_upstream *up = r->up;
  bool declared = r->framing.chunked || r->framing.content_length >= 0;
  bool known = r->body_done || r->framing.content_length >= 0;
  gw_request_out out = {
      .method = llhttp_method_name((llhttp_method_t)r->method),
      .prefix = {r->prefix, strlen(r->prefix)},
      .path = r->up_path,
      .query = r->target.query,
      .has_query = r->target.has_query,
      .host = up->replica->at.host,
      .token = up->replica->at.token,
      .v1 = r->kind != GW_KIND_PROXY,
      .websocket = r->websocket,
      .trusted = r->client->trusted,
      .peer = r->client->peer,
      .client_host = gw_head_get(&r->head, GW_H_HOST),
      .request_id = r->id,
      .body = declared,
      .chunked = declared && !known,
      .content_length =
          edited_length(r, r->body_done ? r->body.end : (uint64_t)(known ? r->framing.content_length : 0)),
  };
  r->chunked_up = out.chunked;
  r->head_sent = true;
  size_t n = gw_head_write_request(&r->head, &out, r->loop->scratch, GW_SCRATCH);
  gw_io_write(&up->io, r->loop->scratch, n);
}

// ---- the body as the engine shall see it: offsets of the edited body, and what they mean in the one that came ----
//
//   came:   [0 .. edit_start) [edit_start .. edit_end)            [edit_end .. end)
//   edited: [0 .. edit_start) [replacement, replacement_len bytes) [ .. edited_length(end))

// Everything before it in the body that came has been sent.
static uint64_t source_of(const gw_req *r, uint64_t sent) {
  if (!r->edit || sent <= r->edit_start) {
    return sent;
  }
  uint64_t after = sent - r->edit_start;
  return after < r->replacement_len ? r->edit_start : r->edit_end + (after - r->replacement_len);
}

// Gathers the next bytes, as many as the buffers hold. Returns how many buffers.
static unsigned gather(const gw_req *r, uv_buf_t *iov, size_t *bytes) {
  uint64_t at = r->sent;
  unsigned n = 0;
  *bytes = 0;
  if (r->edit && at < r->edit_start) {
    n = gw_chain_iov(&r->body, at, r->edit_start, iov, GW_IOV_MAX - 1, bytes);
    at += *bytes;
  }
  if (r->edit && at >= r->edit_start && at < r->edit_start + r->replacement_len) {
    size_t begin = (size_t)(at - r->edit_start);
    iov[n++] = uv_buf_init((char *)r->replacement + begin, (unsigned)(r->replacement_len - begin));
    *bytes += iov[n - 1].len;
    at += iov[n - 1].len;
  }
  if (!r->edit || at >= r->edit_start + r->replacement_len) {
    size_t more = 0;
    n += gw_chain_iov(&r->body, source_of(r, at), r->body.end, iov + n, GW_IOV_MAX - n, &more);
    *bytes += more;
  }
  return n;
}

// Cuts the buffers to at most `limit` bytes.
static unsigned cut(uv_buf_t *iov, unsigned n, size_t limit) {
  unsigned k = 0;
  for (; k < n && limit > 0; k++) {
    iov[k].len = iov[k].len < limit ? iov[k].len : limit;
    limit -= iov[k].len;
  }
  return k;
}

static void begin_chunk(gw_req *r, size_t bytes) {
  char line[24];
  int len = snprintf(line, sizeof line, "%zx\r\n", bytes);
  gw_io_write(&r->up->io, line, (size_t)len);
  r->chunk_left = bytes;
}

// Offers the next bytes. False: there are none, or not all were taken.
static bool send_some(gw_req *r) {
  uv_buf_t iov[GW_IOV_MAX];
  size_t bytes = 0;
  unsigned n = gather(r, iov, &bytes);
  if (n == 0) {
    return false;
  }
  if (r->chunked_up) {
    if (r->chunk_left == 0) {
      begin_chunk(r, bytes);
    }
    n = cut(iov, n, r->chunk_left);
    bytes = bytes < r->chunk_left ? bytes : r->chunk_left;
  }
  size_t taken = gw_io_offer(&r->up->io, iov, n);
  r->sent += taken;
  if (r->chunked_up) {
    r->chunk_left -= taken;
    if (r->chunk_left == 0) {
      gw_io_write(&r->up->io, "\r\n", 2);
    }
  }
  return taken == bytes;
}

// Bodies that will not be sent again are given back as they go.
static void give_back(gw_req *r) {
  bool replayable = r->kind == GW_KIND_PROXY ? !r->up->io.open : r->body.end <= GW_REPLAY_MAX;
  uint64_t source = source_of(r, r->sent);
  if (!replayable) {
    gw_req_body_release(r, source);
  }
  gw_io *client = &r->client->io;
  if (!r->body_done && r->client->mode == GW_CLIENT_OPEN) {
    bool more = r->body.end - source < GW_UPLOAD_AHEAD;
    if (more && !client->want_read) {
      r->client->since_ms = gw_loop_now(r->loop);  // the wait was the engine's, not the client's
    }
    gw_io_read(client, more);
  }
}

// The engine's time to answer begins when it has the whole request.
static void await_answer(gw_req *r) {
  if (r->request_sent && r->up->io.open && !r->up->head_done) {
    r->up->deadline_ms = gw_loop_now(r->loop) + (uint64_t)gw_cfg.first_byte_timeout_ms;
    r->up->deadline_kind = GW_FAIL_TIMEOUT;
  }
}

void gw_forward_push(gw_req *r) {
  gw_upstream *up = r->up;
  await_answer(r);
  if (r->request_sent || r->early || (up->head_done && r->kind != GW_KIND_PROXY)) {
    return;  // an early answer ends the upload; a custom container may talk both ways at once
  }
  if (!r->head_sent) {
    send_head(r);
  }
  while (!up->io.congested && !up->io.error && send_some(r)) {
  }
  bool all = r->body_done && r->sent == edited_length(r, r->body.end);
  give_back(r);
  if (all) {
    if (r->chunked_up) {
      gw_io_write(&up->io, "0\r\n\r\n", 5);
    }
    r->request_sent = true;
    r->sent_ns = r->loop->now_ns;
  }
  await_answer(r);
}

// ---- progress ----

// Reads what the finder found. False: not known yet, or refused.
static bool resolve_model(gw_req *r) {
  bool json = r->kind == GW_KIND_JSON;
  bool found = json ? r->find.json.found : r->find.form.found;
  if (r->resolved || r->early) {
    return r->resolved && !r->early;
  }
  if (!found) {
    return false;
  }
  const char *name = json ? r->find.json.name : r->find.form.name;
  size_t len = json ? r->find.json.name_len : r->find.form.name_len;
  if (!gw_judge_route(r, name, len)) {
    return false;
  }
  r->edit = true;
  r->edit_start = json ? r->find.json.value_start : r->find.form.value_start;
  r->edit_end = json ? r->find.json.value_end : r->find.form.value_end;
  return true;
}

static void progress_model(gw_req *r) {
  if (!r->up && r->body_done) {
    gw_find_error error =
        r->kind == GW_KIND_JSON ? gw_model_finder_finish(&r->find.json) : gw_multipart_finder_finish(&r->find.form);
    if (error != GW_FIND_OK) {
      gw_req_fail(r, gw_find_status(error));
    }
  }
  bool known = resolve_model(r);
  if (r->early) {
    gw_client_progress(r->client);  // answers it
    return;
  }
  if (r->up) {
    gw_forward_push(r);
  } else if (known && r->attempts == 0 && (r->body_done || gw_chain_held(&r->body) > GW_FORWARD_AFTER)) {
    start(r);
  }
}

void gw_forward_progress(gw_req *r) {
  switch (r->kind) {
    case GW_KIND_JSON:
    case GW_KIND_FORM:
      progress_model(r);
      return;
    case GW_KIND_PROXY:
    case GW_KIND_VIDEO:
      if (r->up) {
        gw_forward_push(r);
      } else if (r->attempts == 0) {
        start(r);
      }
      return;
    case GW_KIND_MODELS:
    case GW_KIND_MODEL:
    case GW_KIND_MGMT:
      if (r->body_done && r->kind == GW_KIND_MODELS) {
        gw_local_models(r);
      } else if (r->body_done && r->kind == GW_KIND_MODEL) {
        gw_local_model(r);
      } else if (r->body_done && !r->bridge) {
        gw_bridge_start(r);
      }
      return;
    default:
      return;
  }
}

// ---- failing ----

static void reset_answer(gw_req *r) {
  gw_chain_clear(&r->loop->pool, &r->held);
  r->held_events = 0;
  r->hold_until_ms = 0;
  r->event_ns = 0;
  r->status = 0;
  if (r->answer_sse) {
    gw_metrics_add(&r->loop->metrics->streams, -1);
  }
  r->answer_sse = false;
  r->answer_json = false;
}

static bool idempotent(const gw_req *r) {
  return r->method == HTTP_GET || r->method == HTTP_HEAD || r->method == HTTP_OPTIONS || r->method == HTTP_PUT ||
         r->method == HTTP_DELETE;
}

static const char *failure_text(gw_failure kind) {
  switch (kind) {
    case GW_FAIL_TIMEOUT:
      return "did not answer in time";
    case GW_FAIL_CONNECT:
      return "could not be reached";
    case GW_FAIL_GARBAGE:
      return "answered something that is not valid HTTP";
    case GW_FAIL_STATUS:
      return "answered with a server error";
    default:
      return "was lost before it answered";
  }
}

static eco_status failure_status(const gw_req *r, gw_failure kind) {
  return eco_error(kind == GW_FAIL_TIMEOUT ? ECO_UPSTREAM_TIMEOUT : ECO_UPSTREAM_ERROR,
                   "The replica in region %s %s. Try again; if it goes on, GET /inference-instances/%" PRId64
                   "/logs shows what the engine says.",
                   r->region, failure_text(kind), r->instance_id);
}

void gw_forward_failed(gw_req *r, gw_failure kind) {
  gw_upstream *up = r->up;
  gw_replica *replica = up->replica;
  bool sent = up->io.sent > up->sent_base;
  bool silent = up->io.received == up->received_base;
  bool stale = up->reused && kind == GW_FAIL_RESET && silent;
  if (!stale && kind != GW_FAIL_STATUS) {  // statuses were counted when the head came
    double timeout_us =
        1e3 * (double)(kind == GW_FAIL_CONNECT ? gw_cfg.connect_timeout_ms : gw_cfg.first_byte_timeout_ms);
    gw_replica_failed(r->loop, replica, r->endpoint_class, kind, timeout_us);
  }
  gw_upstream_release(up, false);
  if (r->released) {
    gw_answer_broken(r, kind);
    return;
  }
  reset_answer(r);
  bool whole = r->body.start == 0 && !r->body_cut;
  bool v1_kind = r->kind != GW_KIND_PROXY;
  if (stale && whole && !r->stale_retried && (v1_kind || idempotent(r))) {
    // The engine closed an idle connection just as we used it: nothing is wrong with it.
    r->stale_retried = true;
    begin_attempt(r, replica, true);
    return;
  }
  if (whole && (v1_kind || !sent) && r->attempts < GW_ATTEMPTS_MAX && attempt(r)) {
    return;
  }
  gw_req_answer_error(r, failure_status(r, kind));
}

void gw_forward_cancel(gw_req *r) {
  if (r->up) {
    gw_upstream_release(r->up, false);
  }
}
