// What the gateway answers from its own snapshot: the list of callable models, and one of them.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "client.h"
#include "ecolink/clock.h"

static bool callable(const gw_req *r, const gw_route *route) {
  return route->openai_compatible && strcmp(route->account_id, r->cell->account_id) == 0 &&
         (route->status == ECOLINK__V1__INSTANCE_STATUS__INSTANCE_STATUS_RUNNING || route->n_replicas > 0);
}

static bool put_model(eco_buf *out, const gw_route *route) {
  char id[GW_NAME_LEN + 24];
  int n = snprintf(id, sizeof id, "%s:%lld", route->served_name, (long long)route->instance_id);
  return eco_buf_puts(out, "{\"id\":") && eco_buf_json_string(out, id, (size_t)n) &&
         eco_buf_printf(out, ",\"object\":\"model\",\"created\":%lld,\"owned_by\":\"%s\"}",
                        (long long)(route->created_at_us / ECO_US_PER_S), route->account_id);
}

void gw_local_models(gw_req *r) {
  const gw_snapshot *s = gw_loop_snapshot(r->loop);
  eco_buf *out = &r->loop->text;
  eco_buf_reset(out);
  bool fits = eco_buf_puts(out, "{\"object\":\"list\",\"data\":[");
  bool first = true;
  for (size_t i = 0; i < GW_SHARDS; i++) {
    for (uint32_t k = 0; s->routes[i] && k <= s->routes[i]->mask; k++) {
      const gw_route *route = s->routes[i]->slots[k].route;
      if (route && callable(r, route)) {
        fits = fits && (first || eco_buf_putc(out, ',')) && put_model(out, route);
        first = false;
      }
    }
  }
  if (!fits || !eco_buf_puts(out, "]}")) {
    gw_req_answer_error(r, eco_error(ECO_INTERNAL, "The list of models is longer than the gateway can send."));
    return;
  }
  gw_req_answer(r, 200, "application/json", out->data, out->len);
}

// The id may be percent-encoded: SDKs encode the colon and slashes.
static size_t percent_decode(gw_slice in, char *out, size_t cap) {
  size_t n = 0;
  for (size_t i = 0; i < in.n && n < cap; i++) {
    char hex[3] = {0};
    if (in.p[i] == '%' && in.n - i > 2) {
      hex[0] = in.p[i + 1];
      hex[1] = in.p[i + 2];
    }
    if (hex[0] && strspn(hex, "0123456789abcdefABCDEF") == 2) {
      out[n++] = (char)strtoul(hex, NULL, 16);
      i += 2;
    } else {
      out[n++] = in.p[i];
    }
  }
  return n;
}

void gw_local_model(gw_req *r) {
  static const char PREFIX[] = "/v1/models/";
  char id[GW_MODEL_MAX];
  gw_slice path = {r->target.path.p + sizeof PREFIX - 1, r->target.path.n - (sizeof PREFIX - 1)};
  size_t n = percent_decode(path, id, sizeof id);
  if (!gw_judge_route(r, id, n)) {
    if (r->error.code != ECO_INSTANCE_STARTING) {
      gw_req_answer_error(r, r->error);
      return;
    }
    r->early = false;  // it exists, though it cannot be called yet
    r->retry_after_s = 0;
  }
  const gw_route *route = gw_snapshot_route(gw_loop_snapshot(r->loop), r->instance_id);
  eco_buf *out = &r->loop->text;
  eco_buf_reset(out);
  (void)put_model(out, route);
  gw_req_answer(r, 200, "application/json", out->data, out->len);
}
