// Which path does what, and the faults that strike before an answer is made.
//
// Inference endpoints of the OpenAI shape are faultable and bound to the served model; /health, /_simulator/* are not;
// every other path (custom containers) echoes what came, is faultable, and knows a few endings: /ws, /duplex, /bytes/N,
// /status/N, /sse.
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "sim.h"

static bool ends_with(const char *s, const char *end) {
  size_t n = strlen(s);
  size_t k = strlen(end);
  return n >= k && strcmp(s + n - k, end) == 0;
}

// The number after the last "/<word>/", or -1.
static int64_t number_after(const char *path, const char *word) {
  const char *slash = strrchr(path, '/');
  size_t k = strlen(word);
  if (!slash || (size_t)(slash - path) < k || strncmp(slash - k, word, k) != 0 || !slash[1]) {
    return -1;
  }
  char *end = NULL;
  long long n = strtoll(slash + 1, &end, 10);
  return *end || n < 0 ? -1 : n;
}

void sim_route_head(sim_conn *c) {
  if (ends_with(c->path, "/duplex") && !c->websocket) {
    c->duplex = true;
    sim_stream_begin(c, 200, "application/octet-stream");
  }
}

// ---- /_simulator ----
static void state(sim_conn *c) {
  yyjson_mut_doc *doc = yyjson_mut_doc_new(NULL);
  yyjson_mut_val *root = yyjson_mut_obj(doc);
  yyjson_mut_doc_set_root(doc, root);
  yyjson_mut_obj_add_sint(doc, root, "pid", uv_os_getpid());
  yyjson_mut_obj_add_sint(doc, root, "requests", sim_count.requests);
  yyjson_mut_obj_add_sint(doc, root, "inference", sim_count.inference);
  yyjson_mut_obj_add_sint(doc, root, "cancelled", sim_count.cancelled);
  yyjson_mut_obj_add_sint(doc, root, "active", sim_count.active);
  yyjson_mut_obj_add_sint(doc, root, "tokens_sent", sim_count.tokens_sent);
  yyjson_mut_obj_add_sint(doc, root, "connections", sim_count.connections);
  sim_options_dump(doc, yyjson_mut_obj_add_obj(doc, root, "options"));
  sim_reply_json(c, 200, doc);
}

static void set(sim_conn *c) {
  yyjson_doc *doc = yyjson_read(c->body ? c->body : "", c->body_len, 0);
  const char *why = "not JSON";
  bool ok = doc && sim_options_json(yyjson_doc_get_root(doc), &why);
  yyjson_doc_free(doc);
  if (!ok) {
    sim_reply_error(c, 400, "bad_option", "%s; see --help for the options", why);
    return;
  }
  sim_rearm();
  state(c);
}

static void health(sim_conn *c) {
  if (sim_opt.hang_health) {
    return;
  }
  if (sim_is_starting() || sim_opt.unhealthy) {
    sim_reply_error(c, 503, "starting", sim_opt.unhealthy ? "told to be unhealthy" : "still starting");
    return;
  }
  sim_reply(c, 200, "application/json", "{\"status\":\"ok\"}", 15);
}

static void models(sim_conn *c) {
  yyjson_mut_doc *doc = yyjson_mut_doc_new(NULL);
  yyjson_mut_val *root = yyjson_mut_obj(doc);
  yyjson_mut_doc_set_root(doc, root);
  yyjson_mut_obj_add_str(doc, root, "object", "list");
  yyjson_mut_val *data = yyjson_mut_obj_add_arr(doc, root, "data");
  yyjson_mut_val *model = yyjson_mut_arr_add_obj(doc, data);
  yyjson_mut_obj_add_strcpy(doc, model, "id", sim_opt.model);
  yyjson_mut_obj_add_str(doc, model, "object", "model");
  yyjson_mut_obj_add_str(doc, model, "owned_by", "ecolink-simulator");
  sim_reply_json(c, 200, doc);
}

// ---- custom containers ----
static void echo(sim_conn *c) {
  yyjson_mut_doc *doc = yyjson_mut_doc_new(NULL);
  yyjson_mut_val *root = yyjson_mut_obj(doc);
  yyjson_mut_doc_set_root(doc, root);
  yyjson_mut_obj_add_str(doc, root, "method", c->method);
  yyjson_mut_obj_add_str(doc, root, "path", c->path);
  yyjson_mut_obj_add_str(doc, root, "query", c->query);
  yyjson_mut_obj_add_sint(doc, root, "pid", uv_os_getpid());
  yyjson_mut_val *headers = yyjson_mut_obj_add_obj(doc, root, "headers");
  for (size_t i = 0; i < c->header_count; i++) {
    const char *value = c->headers[i].value ? c->headers[i].value : "";
    yyjson_mut_obj_add(headers, yyjson_mut_strcpy(doc, c->headers[i].name), yyjson_mut_strcpy(doc, value));
  }
  // A body that is no text would make the document invalid: it comes back as base64 then.
  yyjson_mut_obj_add_sint(doc, root, "body_length", (int64_t)c->body_len);
  char *encoded = sim_base64(c->body ? c->body : "", c->body_len);
  yyjson_mut_obj_add_strcpy(doc, root, "body_base64", encoded);
  free(encoded);
  bool text = true;
  for (size_t i = 0; i < c->body_len && text; i++) {
    text = (unsigned char)c->body[i] < 0x80;
  }
  if (text) {
    yyjson_mut_obj_add_strncpy(doc, root, "body", c->body ? c->body : "", c->body_len);
  } else {
    yyjson_mut_obj_add_null(doc, root, "body");
  }
  sim_reply_json(c, 200, doc);
}

static void custom(sim_conn *c) {
  int64_t n;
  if (ends_with(c->path, "/ws") && c->websocket) {
    sim_websocket_accept(c);
  } else if (ends_with(c->path, "/sse")) {
    sim_stream_start(c, "sse", NULL, sim_opt.model);
  } else if ((n = number_after(c->path, "/status")) >= 200 && n <= 599) {
    sim_reply(c, (int)n, "text/plain", "as asked\n", 9);
  } else if ((n = number_after(c->path, "/bytes")) >= 0 && n <= SIM_BODY_BYTES_MAX) {
    char *bytes = sim_alloc((size_t)n + 1);
    memset(bytes, 'x', (size_t)n);
    sim_reply(c, 200, "application/octet-stream", bytes, (size_t)n);
    free(bytes);
  } else {
    echo(c);
  }
}

// ---- faults ----
// True when a fault took the request.
static bool fault(sim_conn *c) {
  c->inference = true;
  c->counted_active = true;
  sim_count.active++;
  sim_count.inference++;
  if (sim_opt.crash_after_requests > 0 &&
      sim_count.inference - sim_count.inference_at_set >= sim_opt.crash_after_requests) {
    sim_crash("crash-after-requests");
  }
  if (sim_is_starting()) {
    sim_reply_error(c, 503, "starting", "still starting");
    return true;
  }
  if (sim_opt.hang) {
    return true;
  }
  if (strcmp(sim_opt.garbage, "http") == 0) {
    static const char nonsense[] = "%PDF-1.4 this is no HTTP\r\n\x01\x02\x03\r\n\r\n";
    sim_raw(c, nonsense, sizeof(nonsense) - 1);
    return true;
  }
  if (strcmp(sim_opt.garbage, "json") == 0) {
    sim_reply(c, 200, "application/json", "{\"choices\":[{\"mess", 18);
    return true;
  }
  if (sim_opt.status) {
    sim_reply_error(c, (int)sim_opt.status, "told", "told to answer %d", (int)sim_opt.status);
    return true;
  }
  uint64_t state = (uint64_t)sim_opt.seed * 0x100000001u + (uint64_t)sim_count.inference;
  if (sim_opt.fail_rate > 0 && (double)(sim_random(&state) >> 11) * 0x1p-53 < sim_opt.fail_rate) {
    sim_reply_error(c, (int)sim_opt.fail_status, "told", "told to fail now and then");
    return true;
  }
  return false;
}

// ---- the OpenAI shape ----
static const char *const endpoints[] = {
    "chat/completions",   "completions",  "embeddings",           "responses",    "rerank",   "moderations",
    "images/generations", "images/edits", "audio/transcriptions", "audio/speech", "messages", "video/generations",
};

static const char *endpoint_of(const char *path) {
  if (strncmp(path, "/v1/", 4) != 0) {
    return NULL;
  }
  for (size_t i = 0; i < sizeof(endpoints) / sizeof(endpoints[0]); i++) {
    size_t n = strlen(endpoints[i]);
    if (strncmp(path + 4, endpoints[i], n) == 0 &&
        (path[4 + n] == '\0' || (path[4 + n] == '/' && strcmp(endpoints[i], "video/generations") == 0))) {
      return endpoints[i];
    }
  }
  return NULL;
}

// False when the request was refused for its model, as engines do.
static bool model_accepted(sim_conn *c, const char *model) {
  if (!model) {
    sim_reply_error(c, 400, "model_missing", "the field model is missing");
    return false;
  }
  if (strcmp(model, sim_opt.model) != 0) {
    sim_reply_error(c, 404, "model_not_found", "The model `%.200s` does not exist; this simulator serves `%s`", model,
                    sim_opt.model);
    return false;
  }
  return true;
}

static void openai_multipart(sim_conn *c, const char *endpoint) {
  char *model = sim_multipart_field(c, "model", NULL);
  if (model_accepted(c, model)) {
    if (strcmp(endpoint, "audio/transcriptions") == 0) {
      sim_answer_transcription(c, model);
    } else {
      sim_answer(c, endpoint, NULL, model);
    }
  }
  free(model);
}

static void openai(sim_conn *c, const char *endpoint) {
  if (fault(c)) {
    return;
  }
  if (strcmp(c->method, "GET") == 0 && strcmp(endpoint, "video/generations") == 0) {
    sim_answer(c, endpoint, NULL, sim_opt.model);
    return;
  }
  if (strcmp(c->method, "POST") != 0) {
    sim_reply_error(c, 405, "method_not_allowed", "use POST");
    return;
  }
  const char *type = sim_header_get(c, "Content-Type");
  if (type && strncasecmp(type, "multipart/form-data", 19) == 0) {
    openai_multipart(c, endpoint);
    return;
  }
  yyjson_doc *doc = yyjson_read(c->body ? c->body : "", c->body_len, 0);
  yyjson_val *root = doc ? yyjson_doc_get_root(doc) : NULL;
  if (!yyjson_is_obj(root)) {
    sim_reply_error(c, 400, "invalid_json", "the body is no JSON object");
  } else {
    const char *model = yyjson_get_str(yyjson_obj_get(root, "model"));
    if (model_accepted(c, model)) {
      if (yyjson_get_bool(yyjson_obj_get(root, "stream")) && sim_stream_supported(endpoint)) {
        sim_stream_start(c, endpoint, root, model);
      } else if (strcmp(endpoint, "audio/speech") == 0) {
        sim_answer_speech(c);
      } else {
        sim_answer(c, endpoint, root, model);
      }
    }
  }
  yyjson_doc_free(doc);
}

static bool is_refused(const sim_conn *c) {
  const char *sent = sim_header_get(c, "Authorization");
  return *sim_opt.api_key && strncmp(c->path, "/v1/", 4) == 0 &&
         (!sent || strncmp(sent, "Bearer ", 7) != 0 || strcmp(sent + 7, sim_opt.api_key) != 0);
}

void sim_route(sim_conn *c) {
  const char *endpoint = endpoint_of(c->path);
  bool get = strcmp(c->method, "GET") == 0 || strcmp(c->method, "HEAD") == 0;
  if (strcmp(c->path, "/_simulator/set") == 0 && strcmp(c->method, "POST") == 0) {
    set(c);
  } else if (strcmp(c->path, "/_simulator/state") == 0) {
    state(c);
  } else if ((strcmp(c->path, "/health") == 0 || strcmp(c->path, "/") == 0) && get) {
    health(c);
  } else if (is_refused(c)) {
    sim_reply_error(c, 401, "unauthorized", "not the key that this server was started with");
  } else if (strcmp(c->path, "/v1/models") == 0 && get) {
    if (sim_is_starting()) {
      sim_reply_error(c, 503, "starting", "still starting");
    } else {
      models(c);
    }
  } else if (endpoint) {
    openai(c, endpoint);
  } else if (!fault(c)) {
    c->inference = false;  // a half-close is no cancel here
    custom(c);
  }
}
