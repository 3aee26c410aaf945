// Early judgement: everything that can be refused before the body is refused at the end of the head.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "client.h"
#include "config.h"
#include "ecolink/clock.h"
#include "ecolink/id.h"
#include "endpoints.h"
#include "key_hash.h"
#include "upstream.h"

static bool starts_with(gw_slice s, const char *prefix) {
  size_t n = strlen(prefix);
  return s.n >= n && memcmp(s.p, prefix, n) == 0;
}

static bool is(gw_slice s, const char *text) {
  return s.n == strlen(text) && memcmp(s.p, text, s.n) == 0;
}

// ---- who ----

// The key of "Authorization: Bearer <key>"; on /v1 also of "X-Api-Key: <key>".
static gw_slice presented_key(gw_req *r, bool v1) {
  unsigned count = 0;
  const gw_header *h = gw_head_find(&r->head, GW_H_AUTHORIZATION, &count);
  if (h) {
    gw_slice v = gw_head_value(&r->head, h);
    if (count != 1 || v.n < 7 || strncasecmp(v.p, "bearer ", 7) != 0) {
      return (gw_slice){"?", 1};  // present, not a key
    }
    v.p += 7;
    v.n -= 7;
    return v;
  }
  return v1 ? gw_head_get(&r->head, GW_H_API_KEY) : (gw_slice){"", 0};
}

// Strangers share a limit by address. Behind a proxy that we trust it is the address that this one wrote down.
static bool stranger_within_limit(gw_req *r) {
  gw_address address = r->client->address;
  gw_slice chain = r->client->trusted ? gw_head_last(&r->head, GW_H_FORWARDED_FOR) : (gw_slice){"", 0};
  if (gw_cfg.public_rate_limit == 0) {
    return true;
  }
  (void)gw_address_forwarded(chain.p, chain.n, &address);
  const int64_t share = gw_cfg.public_rate_limit / gw_cfg.rate_limit_share;
  r->limit = gw_address_limit(&address, (int64_t)(r->loop->now_ns / 1000), share > 0 ? (int32_t)share : 1);
  if (r->limit.allowed) {
    return true;
  }
  r->limited = true;
  r->retry_after_s = r->limit.retry_after_s > 0 ? r->limit.retry_after_s : 1;
  gw_req_fail(r, eco_error(ECO_RATE_LIMIT_EXCEEDED,
                           "Without a valid API key this address may make %d requests a minute. Try again in %d s.",
                           r->limit.limit, r->retry_after_s));
  return false;
}

static bool refuse_key(gw_req *r, const char *message) {
  if (stranger_within_limit(r)) {
    gw_req_fail(r, eco_error(ECO_UNAUTHORIZED, "%s", message));
  }
  return false;
}

// Just started: what is not known yet may exist. No final answer is given on the word of an old file, or of nothing.
static bool refuse_yet(gw_req *r, const char *what) {
  r->retry_after_s = 1;
  gw_req_fail(r, eco_error(ECO_CONTROL_PLANE_UNAVAILABLE,
                           "This gateway has just started and has not read all %s yet: try again in a second.", what));
  return false;
}

static bool authenticate(gw_req *r, gw_slice text) {
  if (text.n == 0) {
    return refuse_key(r, "No API key was sent. Send the header `Authorization: Bearer eco_...`.");
  }
  if (!eco_api_key_is(text.p, text.n)) {
    return refuse_key(
        r,
        "The API key is malformed. It begins with `eco_` and holds nothing else than the key itself: no quotes, "
        "blanks or line end.");
  }
  uint8_t hash[32];
  gw_key_hash(text.p, text.n, hash);
  const gw_key *key = gw_snapshot_key(gw_loop_snapshot(r->loop), hash);
  if (!key && gw_store_is_behind(r->loop->store)) {
    return stranger_within_limit(r) && refuse_yet(r, "keys");
  }
  if (!key) {
    return refuse_key(r, "The API key is not known. Check that it was copied whole.");
  }
  if (key->revoked) {
    return refuse_key(r, "The API key has been revoked.");
  }
  if (key->expires_at_us && key->expires_at_us <= eco_now_us()) {
    return refuse_key(r, "The API key has expired.");
  }
  r->cell = key->cell;
  r->role = key->role;
  memcpy(r->key_hash, hash, sizeof hash);
  int64_t limit = (key->rate_limit ? key->rate_limit : gw_cfg.rate_limit_default) / gw_cfg.rate_limit_share;
  r->limit.limit = limit > 0 ? (int32_t)limit : 1;
  return true;
}

bool gw_req_key_holds(const gw_req *r) {
  if (!r->cell) {
    return true;
  }
  const gw_key *key = gw_snapshot_key(gw_loop_snapshot(r->loop), r->key_hash);
  return key && !key->revoked && !(key->expires_at_us && key->expires_at_us <= eco_now_us());
}

static bool within_limit(gw_req *r) {
  r->limit = gw_limit_take(&r->cell->tat_us, (int64_t)(r->loop->now_ns / 1000), r->limit.limit);
  r->limited = true;
  if (r->limit.allowed) {
    return true;
  }
  r->retry_after_s = r->limit.retry_after_s > 0 ? r->limit.retry_after_s : 1;
  gw_req_fail(r, eco_error(ECO_RATE_LIMIT_EXCEEDED, "This key may make %d requests a minute. Try again in %d s.",
                           r->limit.limit, r->retry_after_s));
  return false;
}

static bool admit(gw_req *r, bool v1) {
  return authenticate(r, presented_key(r, v1)) && within_limit(r);
}

// ---- where to ----

static void starting(gw_req *r, const gw_route *route) {
  bool pending = route->status == ECOLINK__V1__INSTANCE_STATUS__INSTANCE_STATUS_PENDING;
  r->retry_after_s = route->retry_after_s > 0 ? route->retry_after_s : 5;
  gw_req_fail(r, eco_error(ECO_INSTANCE_STARTING, "Instance %lld is not ready yet: %s%s%s. Try again in %d s.",
                           (long long)route->instance_id, pending ? "pending" : "provisioning",
                           route->status_detail[0] ? ", " : "", route->status_detail, r->retry_after_s));
}

static bool take_route(gw_req *r, const gw_route *route) {
  if (strcmp(route->account_id, r->cell->account_id) != 0) {
    gw_req_fail(r,
                eco_error(ECO_FORBIDDEN, "Instance %lld belongs to another account.", (long long)route->instance_id));
    return false;
  }
  r->instance_id = route->instance_id;
  r->openai_compatible = route->openai_compatible;
  if (route->status == ECOLINK__V1__INSTANCE_STATUS__INSTANCE_STATUS_STOPPING ||
      route->status == ECOLINK__V1__INSTANCE_STATUS__INSTANCE_STATUS_STOPPED ||
      route->status == ECOLINK__V1__INSTANCE_STATUS__INSTANCE_STATUS_FAILED) {
    gw_req_fail(r, eco_error_param(ECO_MODEL_NOT_FOUND, "model", "Instance %lld has been stopped.",
                                   (long long)route->instance_id));
    return false;
  }
  if (route->n_replicas == 0 && route->status != ECOLINK__V1__INSTANCE_STATUS__INSTANCE_STATUS_RUNNING) {
    starting(r, route);
    return false;
  }
  return true;
}

static void set_replacement(gw_req *r, const char *name, bool json) {
  size_t n = 0;
  if (json) {
    r->replacement[n++] = '"';
  }
  for (; *name && n + 3 < GW_SERVED_MAX; name++) {
    if (json && (*name == '"' || *name == '\\')) {
      r->replacement[n++] = '\\';
    }
    r->replacement[n++] = *name;
  }
  if (json) {
    r->replacement[n++] = '"';
  }
  r->replacement_len = (uint16_t)n;
}

bool gw_judge_route(gw_req *r, const char *model, size_t n) {
  size_t name_len = 0;
  int64_t instance = 0;
  int shown = (int)(n < GW_MODEL_SHOWN ? n : GW_MODEL_SHOWN);
  if (!eco_model_string_parse(model, n, &name_len, &instance)) {
    gw_req_fail(r,
                eco_error_param(
                    ECO_MODEL_NOT_FOUND, "model",
                    "The model `%.*s` does not exist. Use the instance's model string: its name, a colon and its id, "
                    "for example \"my-llama:142\".",
                    shown, model));
    return false;
  }
  const gw_route *route = gw_snapshot_route(gw_loop_snapshot(r->loop), instance);
  if (route && strcmp(route->account_id, r->cell->account_id) == 0 &&
      (strlen(route->served_name) != name_len || memcmp(route->served_name, model, name_len) != 0)) {
    route = NULL;
  }
  if (!route && gw_store_is_behind(r->loop->store)) {
    return refuse_yet(r, "routes");
  }
  if (!route) {
    gw_req_fail(r, eco_error_param(ECO_MODEL_NOT_FOUND, "model", "The model `%.*s` does not exist or has been stopped.",
                                   shown, model));
    return false;
  }
  if (!take_route(r, route)) {
    return false;
  }
  if (!route->openai_compatible) {
    gw_req_fail(r,
                eco_error_param(ECO_NOT_OPENAI_COMPATIBLE, "model",
                                "Instance %lld runs a custom container. Call it at /inference-instances/%lld/proxy/.",
                                (long long)instance, (long long)instance));
    return false;
  }
  set_replacement(r, route->served_name, r->kind == GW_KIND_JSON);
  r->resolved = true;
  return true;
}

// The path below custom_api_path; one that begins with it already is taken as it is.
static void custom_path(gw_req *r, const gw_route *route, gw_slice rest) {
  size_t n = strlen(route->custom_api_path);
  bool whole =
      n > 0 && rest.n >= n && memcmp(rest.p, route->custom_api_path, n) == 0 && (rest.n == n || rest.p[n] == '/');
  r->prefix[0] = 0;
  if (!route->openai_compatible && !whole) {
    bool slash = route->custom_api_path[0] == '/' || n == 0;
    int written = snprintf(r->prefix, sizeof r->prefix, "%s%s", slash ? "" : "/", route->custom_api_path);
    n = written < 0 || (size_t)written >= sizeof r->prefix ? sizeof r->prefix - 1 : (size_t)written;
    if (n > 0 && r->prefix[n - 1] == '/' && rest.n > 0) {
      r->prefix[n - 1] = 0;
    }
    if (rest.n == 1 && r->prefix[0]) {
      rest.n = 0;  // ".../proxy/" is the registered path itself
    }
  }
  r->up_path = rest;
}

bool gw_judge_instance(gw_req *r, int64_t instance_id) {
  const gw_route *route = gw_snapshot_route(gw_loop_snapshot(r->loop), instance_id);
  if (!route && gw_store_is_behind(r->loop->store)) {
    return refuse_yet(r, "routes");
  }
  if (!route) {
    gw_req_fail(
        r, eco_error(ECO_MODEL_NOT_FOUND, "Instance %lld does not exist or has been stopped.", (long long)instance_id));
    return false;
  }
  if (!take_route(r, route)) {
    return false;
  }
  custom_path(r, route, r->up_path);
  r->resolved = true;
  return true;
}

// ---- kinds ----

static bool allow_only(gw_req *r, int method, const char *name) {
  if (r->method == method) {
    return true;
  }
  r->allow = name;
  gw_req_fail(r, eco_error(ECO_METHOD_NOT_ALLOWED, "This path takes %s.", name));
  return false;
}

static bool declared_length_ok(gw_req *r) {
  if (r->framing.content_length > 0 && (uint64_t)r->framing.content_length > r->body_max) {
    gw_req_fail(
        r, eco_error(ECO_TOO_LARGE, "The request body is larger than %llu bytes.", (unsigned long long)r->body_max));
    return false;
  }
  return true;
}

static bool content_judge(gw_req *r, uint8_t takes) {
  gw_slice encoding = gw_head_get(&r->head, GW_H_CONTENT_ENCODING);
  if (encoding.n > 0 && !gw_slice_is(encoding, "identity")) {
    gw_req_fail(r,
                eco_error(ECO_UNSUPPORTED_MEDIA_TYPE, "Compressed request bodies are not understood. Send it plain."));
    return false;
  }
  gw_slice type = gw_head_get(&r->head, GW_H_CONTENT_TYPE);
  const char *semicolon = type.n ? memchr(type.p, ';', type.n) : NULL;
  gw_slice base = {type.p, semicolon ? (size_t)(semicolon - type.p) : type.n};
  while (base.n > 0 && base.p[base.n - 1] == ' ') {
    base.n--;
  }
  bool json = base.n == 0 || gw_slice_is(base, "application/json") ||
              (base.n > 5 && strncasecmp(base.p + base.n - 5, "+json", 5) == 0);
  if (json && (takes & GW_TAKES_JSON)) {
    r->kind = GW_KIND_JSON;
    r->body_max = (uint64_t)gw_cfg.json_body_max;
    gw_model_finder_init(&r->find.json);
    return declared_length_ok(r);
  }
  if (gw_slice_is(base, "multipart/form-data") && (takes & GW_TAKES_FORM)) {
    r->kind = GW_KIND_FORM;
    r->body_max = (uint64_t)gw_cfg.multipart_body_max;
    if (!gw_multipart_finder_init(&r->find.form, type.p, type.n)) {
      gw_req_fail(r, gw_find_status(GW_FIND_MULTIPART));
      return false;
    }
    return declared_length_ok(r);
  }
  gw_req_fail(r, eco_error(ECO_UNSUPPORTED_MEDIA_TYPE, "This path takes %s.",
                           takes == GW_TAKES_FORM   ? "multipart/form-data"
                           : takes == GW_TAKES_JSON ? "application/json"
                                                    : "multipart/form-data or application/json"));
  return false;
}

static void v1_post(gw_req *r) {
  for (const gw_endpoint *e = gw_endpoints; e->method != NULL; e++) {
    if (strcmp(e->method, "POST") == 0 && is(r->target.path, e->path)) {
      r->endpoint_class = e->endpoint_class;
      r->up_path = r->target.path;
      if (allow_only(r, HTTP_POST, "POST")) {
        content_judge(r, e->takes);
      }
      return;
    }
  }
  gw_req_fail(r, eco_error(ECO_NOT_FOUND, "There is nothing at this path."));
}

// GET /v1/video/generations/{id}: the engine's id followed by ":<instance>", since nothing else tells whom to ask.
static void video(gw_req *r, gw_slice id) {
  size_t name_len = 0;
  int64_t instance = 0;
  if (!allow_only(r, HTTP_GET, "GET")) {
    return;
  }
  if (memchr(id.p, '/', id.n) || !eco_model_string_parse(id.p, id.n, &name_len, &instance)) {
    gw_req_fail(
        r, eco_error(ECO_NOT_FOUND, "No such video. Ask by the engine's id followed by a colon and the instance id."));
    return;
  }
  r->kind = GW_KIND_VIDEO;
  r->endpoint_class = GW_CLASS_OTHER;
  r->up_path = (gw_slice){"", 0};
  if (gw_judge_instance(r, instance)) {
    if (!r->openai_compatible) {
      gw_req_fail(r,
                  eco_error(ECO_NOT_OPENAI_COMPATIBLE, "Instance %lld runs a custom container.", (long long)instance));
    }
    r->up_path = (gw_slice){r->target.path.p, r->target.path.n - (id.n - name_len)};
  }
}

static void v1(gw_req *r) {
  static const char MODEL[] = "/v1/models/";
  static const char VIDEO[] = "/v1/video/generations/";
  if (!admit(r, true)) {
    return;
  }
  if (r->role == ECOLINK__V1__ROLE__ROLE_OPERATOR) {
    gw_req_fail(r, eco_error(ECO_FORBIDDEN, "An operator's key calls no models. Use a key of an account."));
    return;
  }
  gw_slice path = r->target.path;
  if (is(path, "/v1/models")) {
    r->kind = allow_only(r, HTTP_GET, "GET") ? GW_KIND_MODELS : GW_KIND_NONE;
  } else if (starts_with(path, MODEL) && path.n > sizeof MODEL - 1) {
    r->kind = allow_only(r, HTTP_GET, "GET") ? GW_KIND_MODEL : GW_KIND_NONE;
  } else if (starts_with(path, VIDEO) && path.n > sizeof VIDEO - 1) {
    video(r, (gw_slice){path.p + sizeof VIDEO - 1, path.n - (sizeof VIDEO - 1)});
  } else {
    v1_post(r);
  }
}

// "/inference-instances/<id>/proxy" and what follows it.
static bool proxy_path(gw_slice path, int64_t *instance, gw_slice *rest) {
  static const char PREFIX[] = "/inference-instances/";
  static const char PROXY[] = "/proxy";
  if (!starts_with(path, PREFIX)) {
    return false;
  }
  size_t i = sizeof PREFIX - 1;
  size_t first = i;
  *instance = 0;
  while (i < path.n && i - first < 18 && path.p[i] >= '0' && path.p[i] <= '9') {
    *instance = *instance * 10 + (path.p[i++] - '0');
  }
  if (i == first || path.p[first] == '0' || path.n - i < sizeof PROXY - 1 ||
      memcmp(path.p + i, PROXY, sizeof PROXY - 1) != 0) {
    return false;
  }
  i += sizeof PROXY - 1;
  *rest = (gw_slice){path.p + i, path.n - i};
  return rest->n == 0 || rest->p[0] == '/';
}

static void proxy(gw_req *r, int64_t instance, gw_slice rest) {
  if (!admit(r, false)) {
    return;
  }
  if (r->role == ECOLINK__V1__ROLE__ROLE_OPERATOR) {
    gw_req_fail(r, eco_error(ECO_FORBIDDEN, "An operator's key calls no instances. Use a key of the account."));
    return;
  }
  r->kind = GW_KIND_PROXY;
  r->endpoint_class = GW_CLASS_OTHER;
  r->body_max = UINT64_MAX;  // it streams: what bounds it is back-pressure
  r->up_path = rest;
  bool body =
      r->framing.chunked || r->framing.content_length > 0;  // its end and the tunnel's start would be anybody's guess
  r->websocket = r->method == HTTP_GET && r->head.conn_upgrade && !r->http10 && !body &&
                 gw_slice_is(gw_head_get(&r->head, GW_H_UPGRADE), "websocket");
  gw_judge_instance(r, instance);
}

static void management(gw_req *r) {
  const char *method = llhttp_method_name((llhttp_method_t)r->method);
  bool public_route = gw_mgmt_public(r->loop->mgmt, method, r->target.path.p, r->target.path.n);
  const bool stranger = public_route && presented_key(r, false).n == 0;
  if (stranger ? !stranger_within_limit(r) : !admit(r, false)) {
    return;
  }
  r->kind = GW_KIND_MGMT;
  r->body_max = MGMT_BODY_MAX;
  declared_length_ok(r);
}

void gw_judge(gw_req *r, int major, int minor) {
  int64_t instance = 0;
  gw_slice rest = {"", 0};
  r->http10 = minor == 0;
  r->keep_alive = minor == 0 ? r->head.conn_keep_alive && !r->head.conn_close : !r->head.conn_close;
  r->keep_alive = r->keep_alive && !r->loop->draining;  // the answer's head says so
  r->bytes_in = 0;
  eco_status st = gw_head_judge(&r->head, major, minor, &r->framing);
  if (eco_ok(st) && r->method == HTTP_CONNECT) {  // llhttp takes it with a path, too
    st = eco_error(ECO_INVALID_JSON, "CONNECT is not spoken here.");
  }
  if (eco_ok(st)) {
    st = gw_target_parse((gw_slice){r->head.mem, r->head.url_len}, &r->target);
  }
  if (!eco_ok(st)) {
    gw_req_fail_close(r, st);
    return;
  }
  gw_slice path = r->target.path;
  if (starts_with(path, "/v1/")) {
    v1(r);
  } else if (proxy_path(path, &instance, &rest)) {
    proxy(r, instance, rest);
  } else if (r->loop->mgmt && gw_mgmt_owns(r->loop->mgmt, path.p, path.n)) {
    management(r);
  } else if (stranger_within_limit(r)) {
    gw_req_fail(r, eco_error(ECO_NOT_FOUND, "There is nothing at this path."));
  }
  gw_req_count(r);
}
