// A request's life and the answers that need no replica; see request.h.
#include "request.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

#include "client.h"
#include "config.h"
#include "ecolink/clock.h"
#include "ecolink/error_json.h"
#include "ecolink/log.h"
#include "snapshot_shard.h"
#include "upstream.h"

// "req_" and 26 characters: unique by (seed, count), not secret.
static void new_id(gw_loop *loop, char out[GW_REQUEST_ID_LEN]) {
  static const char ALPHABET[] = "0123456789abcdefghjkmnpqrstvwxyz";
  uint64_t count = ++loop->id_count;
  uint64_t words[2] = {gw_mix64(loop->id_seed + count), gw_mix64(~loop->id_seed ^ (count << 20))};
  memcpy(out, "req_", 4);
  for (size_t i = 0; i < 26; i++) {
    out[4 + i] = ALPHABET[(words[i / 13] >> (5 * (i % 13))) & 31];
  }
  out[30] = 0;
}

gw_req *gw_req_new(gw_client *c) {
  gw_loop *loop = c->io.loop;
  gw_req *r = gw_slab_get(&loop->requests);
  memset(r, 0, offsetof(gw_req, head));
  r->prefix[0] = 0;
  r->client = c;
  r->loop = loop;
  r->head_block = gw_block_get(&loop->pool);
  gw_head_init(&r->head, (char *)r->head_block->data, GW_BLOCK_DATA);
  r->started_ns = loop->now_ns;
  new_id(loop, r->id);
  return r;
}

void gw_req_count(gw_req *r) {
  assert(!r->counted);
  r->counted = true;
  gw_metrics_add(&r->loop->metrics->in_flight, 1);
  if (r->cell) {
    atomic_fetch_add_explicit(&r->cell->in_flight, 1, memory_order_relaxed);
  }
}

static void account(gw_req *r) {
  gw_metrics *m = r->loop->metrics;
  gw_metrics_add(&m->in_flight, -1);
  if (r->cell) {
    atomic_fetch_sub_explicit(&r->cell->in_flight, 1, memory_order_relaxed);
  }
  gw_metrics_answer(m, r->status, r->loop->now_ns - r->started_ns);
  if (!r->cell || !r->instance_id || r->kind == GW_KIND_MGMT || r->attempts == 0) {
    return;
  }
  int64_t prompt = r->sse.walk.prompt_tokens > 0 ? r->sse.walk.prompt_tokens : 0;
  int64_t completion = r->sse.walk.completion_tokens > 0 ? r->sse.walk.completion_tokens : 0;
  int64_t now_us = eco_now_us();
  gw_usage_record record = {
      .cell = r->cell,
      .instance_id = r->instance_id,
      .minute_us = now_us - now_us % (60 * ECO_US_PER_S),
      .bytes_in = (int64_t)r->bytes_in,
      .bytes_out = (int64_t)r->bytes_out,
      .prompt_tokens = prompt > UINT32_MAX ? UINT32_MAX : (uint32_t)prompt,
      .completion_tokens = completion > UINT32_MAX ? UINT32_MAX : (uint32_t)completion,
      .first_byte_us = r->first_byte_us > UINT32_MAX ? UINT32_MAX : (uint32_t)r->first_byte_us,
      .error = r->early || r->status == 0 || r->status >= 400,  // early: broken off after its head, too
  };
  gw_usage_push(r->loop->usage, &record);
  gw_metrics_add(&m->prompt_tokens, prompt);
  gw_metrics_add(&m->completion_tokens, completion);
}

void gw_req_body_release(gw_req *r, uint64_t offset) {
  uint64_t before = gw_chain_held(&r->body);
  gw_chain_release(&r->loop->pool, &r->body, offset);
  r->loop->held -= before - gw_chain_held(&r->body);
}

static void body_clear(gw_req *r) {
  r->loop->held -= gw_chain_held(&r->body);
  gw_chain_clear(&r->loop->pool, &r->body);
}

void gw_req_shrink(gw_req *r) {
  uint64_t end = r->body.end;
  body_clear(r);
  r->body.start = end;
  r->body.end = end;
  gw_block_put(&r->loop->pool, r->head_block);
  r->head_block = NULL;
}

void gw_req_free(gw_req *r) {
  gw_loop *loop = r->loop;
  assert(!r->up && !r->bridge);
  if (r->answer_sse) {
    gw_metrics_add(&loop->metrics->streams, -1);
  }
  if (r->counted) {
    account(r);
  }
  body_clear(r);
  gw_chain_clear(&loop->pool, &r->held);
  gw_block_put(&loop->pool, r->head_block);
  gw_slab_put(&loop->requests, r);
}

void gw_req_fail(gw_req *r, eco_status error) {
  if (!r->early) {
    r->early = true;
    r->error = error;
  }
}

void gw_req_fail_close(gw_req *r, eco_status error) {
  gw_req_fail(r, error);
  r->early_close = true;
  r->keep_alive = false;
}

static void find(gw_req *r, const char *p, size_t n) {
  bool ok = true;
  gw_find_error error = GW_FIND_OK;
  if (r->kind == GW_KIND_JSON) {
    ok = gw_model_finder_feed(&r->find.json, p, n);
    error = r->find.json.error;
  } else if (r->kind == GW_KIND_FORM) {
    ok = gw_multipart_finder_feed(&r->find.form, p, n);
    error = r->find.form.error;
  }
  // Once the body flows, only what could change the routing is ours to refuse; other JSON errors are the engine's.
  if (!ok && (r->attempts == 0 || error == GW_FIND_DUPLICATE || error == GW_FIND_FILENAME)) {
    gw_req_fail(r, gw_find_status(error));
  }
}

void gw_req_body(gw_req *r, const char *p, size_t n) {
  r->bytes_in += n;
  if (r->early || r->answered) {
    return;
  }
  if (r->up && r->up->head_done && r->kind != GW_KIND_PROXY) {
    r->body_cut = true;  // an early answer ended the upload: what still comes is nobody's
    return;
  }
  if (r->body.end + n > r->body_max) {
    gw_req_fail(
        r, eco_error(ECO_TOO_LARGE, "The request body is larger than %llu bytes.", (unsigned long long)r->body_max));
    return;
  }
  if (r->loop->held + n > (uint64_t)gw_cfg.held_max) {
    r->retry_after_s = 1;
    gw_req_fail(
        r, eco_error(ECO_OVERLOADED, "The gateway holds too many request bodies right now. Try again in a moment."));
    return;
  }
  gw_chain_add(&r->loop->pool, &r->body, p, n);
  r->loop->held += n;
  find(r, p, n);
}

gw_own_headers gw_req_own_headers(const gw_req *r, const char *content_type) {
  return (gw_own_headers){
      .request_id = r->id,
      .content_type = content_type,
      .region = r->region[0] ? r->region : NULL,
      .limit = r->limited ? &r->limit : NULL,
      .retry_after_s = r->retry_after_s,
      .allow = r->allow,
      .wants_bearer = r->early && r->error.code == ECO_UNAUTHORIZED,
  };
}

static bool bodiless(const gw_req *r) {
  return r->head_done && r->method == HTTP_HEAD;
}

static void write_head(gw_req *r, int status, const char *content_type, bool chunked, int64_t length) {
  r->keep_alive = r->keep_alive && !r->loop->draining;
  gw_response_out out = {
      .status = status,
      .v1 = true,
      .close = !r->keep_alive,
      .keep_alive_10 = r->http10 && r->keep_alive,
      .chunked = chunked,
      .content_length = length,
      .own = gw_req_own_headers(r, content_type),
  };
  size_t n = gw_head_write_response(NULL, &out, r->loop->scratch, GW_SCRATCH);
  gw_io_write(&r->client->io, r->loop->scratch, n);
  r->released = true;
  r->status = status;
}

void gw_req_answer(gw_req *r, int status, const char *content_type, const void *body, size_t n) {
  assert(!r->released && !r->up);
  if (!r->body_done) {
    r->keep_alive = false;
  }
  write_head(r, status, content_type, false, (int64_t)n);
  if (!bodiless(r)) {
    gw_io_write(&r->client->io, body, n);
    r->bytes_out += n;
  }
  r->answered = true;
  gw_client_request_done(r->client);
}

void gw_req_answer_begin(gw_req *r, int status, const char *content_type) {
  r->answer_chunked = !r->http10;
  r->keep_alive = r->keep_alive && r->answer_chunked;
  write_head(r, status, content_type, r->answer_chunked, -1);
}

static void log_error(const gw_req *r) {
  if (!gw_refusals_say(&r->loop->refusals, r->error.code, (uint32_t)gw_cfg.refusal_lines)) {
    return;  // the loop tells how many
  }
  eco_log_set_context(r->id, NULL);
  int status = eco_code_http(r->error.code);
  if (status >= 500 && r->error.code != ECO_INSTANCE_STARTING) {
    eco_log(ECO_LOG_WARN, "request failed", ECO_F_I64("status", status), ECO_F_I64("instance", r->instance_id),
            ECO_F_STR("key", r->cell ? r->cell->key_id : ""), ECO_F_I64("attempts", r->attempts),
            ECO_F_STATUS(r->error));
  } else {
    eco_log(ECO_LOG_INFO, "request refused", ECO_F_I64("status", status), ECO_F_I64("instance", r->instance_id),
            ECO_F_STR("key", r->cell ? r->cell->key_id : ""), ECO_F_STATUS(r->error));
  }
  eco_log_set_context(NULL, NULL);
}

void gw_req_answer_error(gw_req *r, eco_status error) {
  r->early = true;
  r->error = error;
  gw_metrics_add(&r->loop->metrics->errors[error.code], 1);
  log_error(r);
  eco_buf *text = &r->loop->text;
  eco_buf_reset(text);
  (void)eco_error_json(text, error, r->id);
  gw_req_answer(r, eco_code_http(error.code), "application/json", text->data, text->len);
}

void gw_req_send_body(gw_req *r, const uv_buf_t *iov, unsigned n) {
  uv_buf_t out[GW_IOV_MAX + 2];
  char size[24];
  size_t total = 0;
  unsigned k = 0;
  for (unsigned i = 0; i < n; i++) {
    total += iov[i].len;
  }
  if (total == 0 || bodiless(r)) {
    return;
  }
  r->bytes_out += total;
  if (r->answer_chunked) {
    int len = snprintf(size, sizeof size, "%zx\r\n", total);
    out[k++] = uv_buf_init(size, (unsigned)len);
  }
  for (unsigned i = 0; i < n; i++) {
    out[k++] = iov[i];
  }
  if (r->answer_chunked) {
    out[k++] = uv_buf_init((char *)"\r\n", 2);
  }
  gw_io_writev(&r->client->io, out, k);
}

void gw_req_send_end(gw_req *r) {
  if (r->answer_chunked && !bodiless(r)) {
    gw_io_write(&r->client->io, "0\r\n\r\n", 5);
  }
  r->answered = true;
  gw_client_request_done(r->client);
}
