// Connections: one request at a time is parsed and answered; what comes meanwhile waits in `pending`.
//
// Life of a connection: accept -> read -> parse -> (head: sim_route_head) -> whole: sim_route -> answer -> next
// request. It closes on an error, on EOF when nothing is owed any more, or when the request said so.
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "sim.h"

static llhttp_settings_t settings;
static char read_buffer[256 * 1024];

static void feed(sim_conn *c, const char *p, size_t n);

static void request_clear(sim_conn *c) {
  for (size_t i = 0; i < c->header_count; i++) {
    free(c->headers[i].name);
    free(c->headers[i].value);
  }
  memset(c->headers, 0, sizeof(c->headers));
  c->header_count = 0;
  free(c->target);
  free(c->path);
  free(c->body);
  c->target = c->path = c->query = c->body = NULL;
  c->body_len = c->body_cap = c->head_bytes = 0;
  c->in_value = c->busy = c->inference = c->duplex = c->streaming = false;
  if (c->counted_active) {
    c->counted_active = false;
    sim_count.active--;
  }
}

static void on_closed(uv_handle_t *handle) {
  sim_conn *c = handle->data;
  if (--c->handles_open == 0) {
    request_clear(c);
    free(c->pending);
    free(c->frames);
    free(c);
    sim_count.connections--;
  }
}

void sim_close(sim_conn *c) {
  if (c->closing) {
    return;
  }
  c->closing = true;
  uv_close((uv_handle_t *)&c->timer, on_closed);
  uv_close((uv_handle_t *)&c->tcp, on_closed);
}

void sim_cut(sim_conn *c) {
  if (c->closing) {
    return;
  }
  c->closing = true;
  uv_close((uv_handle_t *)&c->timer, on_closed);
  if (uv_tcp_close_reset(&c->tcp, on_closed) != 0) {
    uv_close((uv_handle_t *)&c->tcp, on_closed);
  }
}

// ---- writing ----
typedef struct write_req {
  uv_write_t req;
  sim_conn *c;
  bool close;
  char data[];
} write_req;

static void on_shutdown(uv_shutdown_t *req, int status) {
  (void)status;
  sim_close(req->data);
  free(req);
}

static void on_written(uv_write_t *req, int status) {
  write_req *w = (write_req *)req;
  sim_conn *c = w->c;
  bool ends = w->close;
  free(w);
  if (c->closing) {
    return;
  }
  if (status < 0) {
    sim_close(c);
  } else if (ends) {
    uv_shutdown_t *shutdown = sim_alloc(sizeof(*shutdown));
    shutdown->data = c;
    if (uv_shutdown(shutdown, (uv_stream_t *)&c->tcp, on_shutdown) != 0) {
      free(shutdown);
      sim_close(c);
    }
  }
}

static void write_parts(sim_conn *c, const uv_buf_t *parts, unsigned n, bool close_after) {
  if (c->closing) {
    return;
  }
  size_t total = 0;
  for (unsigned i = 0; i < n; i++) {
    total += parts[i].len;
  }
  write_req *w = sim_alloc(sizeof(*w) + total);
  w->c = c;
  w->close = close_after;
  size_t at = 0;
  for (unsigned i = 0; i < n; i++) {
    if (parts[i].len) {
      memcpy(w->data + at, parts[i].base, parts[i].len);
      at += parts[i].len;
    }
  }
  uv_buf_t buf = uv_buf_init(w->data, (unsigned)total);
  if (uv_write(&w->req, (uv_stream_t *)&c->tcp, &buf, 1, on_written) != 0) {
    free(w);
    sim_close(c);
  }
}

void sim_raw(sim_conn *c, const void *p, size_t n) {
  uv_buf_t part = {.base = (char *)(uintptr_t)p, .len = n};
  write_parts(c, &part, 1, false);
}

void sim_shut(sim_conn *c) {
  write_parts(c, NULL, 0, true);
}

// The answer is whole: the next request may be looked at.
static void request_done(sim_conn *c) {
  uv_timer_stop(&c->timer);
  bool ends = c->close_after || c->eof_seen;
  request_clear(c);
  if (ends || c->closing) {
    return;
  }
  llhttp_resume(&c->parser);
  if (c->pending_len) {
    char *p = c->pending;
    size_t n = c->pending_len;
    c->pending = NULL;
    c->pending_len = 0;
    feed(c, p, n);
    free(p);
  }
}

static const char *reason(int status) {
  return status >= 500 ? "Simulated Trouble" : status >= 400 ? "Refused" : status >= 300 ? "Elsewhere" : "OK";
}

void sim_reply(sim_conn *c, int status, const char *content_type, const void *body, size_t len) {
  char head[512];
  bool ends = c->close_after || c->eof_seen;
  int n = snprintf(head, sizeof(head),
                   "HTTP/1.1 %d %s\r\nServer: ecolink-simulator\r\nContent-Type: %s\r\nContent-Length: %zu\r\n"
                   "Set-Cookie: simulator=1\r\nx-simulator-pid: %d\r\nConnection: %s\r\n\r\n",
                   status, reason(status), content_type, len, (int)uv_os_getpid(), ends ? "close" : "keep-alive");
  uv_buf_t parts[2] = {{.base = head, .len = (size_t)n}, {.base = (char *)(uintptr_t)body, .len = len}};
  bool bodyless = c->method && strcmp(c->method, "HEAD") == 0;
  write_parts(c, parts, bodyless ? 1 : 2, ends);
  request_done(c);
}

void sim_reply_json(sim_conn *c, int status, yyjson_mut_doc *doc) {
  size_t n = 0;
  char *text = yyjson_mut_write(doc, 0, &n);
  yyjson_mut_doc_free(doc);
  sim_reply(c, status, "application/json", text ? text : "{}", text ? n : 2);
  free(text);
}

void sim_reply_error(sim_conn *c, int status, const char *code, const char *fmt, ...) {
  char message[512];
  va_list ap;
  va_start(ap, fmt);
  vsnprintf(message, sizeof(message), fmt, ap);
  va_end(ap);
  yyjson_mut_doc *doc = yyjson_mut_doc_new(NULL);
  yyjson_mut_val *root = yyjson_mut_obj(doc);
  yyjson_mut_doc_set_root(doc, root);
  yyjson_mut_val *error = yyjson_mut_obj_add_obj(doc, root, "error");
  yyjson_mut_obj_add_strcpy(doc, error, "message", message);
  yyjson_mut_obj_add_str(doc, error, "type", "simulated_error");
  yyjson_mut_obj_add_strcpy(doc, error, "code", code);
  yyjson_mut_obj_add_null(doc, error, "param");
  sim_reply_json(c, status, doc);
}

void sim_stream_begin(sim_conn *c, int status, const char *content_type) {
  char head[400];
  int n = snprintf(head, sizeof(head),
                   "HTTP/1.1 %d %s\r\nServer: ecolink-simulator\r\nContent-Type: %s\r\nTransfer-Encoding: chunked\r\n"
                   "Cache-Control: no-cache\r\nx-simulator-pid: %d\r\n\r\n",
                   status, reason(status), content_type, (int)uv_os_getpid());
  c->streaming = true;
  sim_raw(c, head, (size_t)n);
}

void sim_stream_write(sim_conn *c, const void *p, size_t n) {
  char size[24];
  int k = snprintf(size, sizeof(size), "%zx\r\n", n);
  uv_buf_t parts[3] = {{.base = size, .len = (size_t)k},
                       {.base = (char *)(uintptr_t)p, .len = n},
                       {.base = (char *)(uintptr_t) "\r\n", .len = 2}};
  if (n) {
    write_parts(c, parts, 3, false);
  }
}

void sim_stream_finish(sim_conn *c) {
  uv_buf_t part = {.base = (char *)(uintptr_t) "0\r\n\r\n", .len = 5};
  write_parts(c, &part, 1, c->close_after || c->eof_seen);
  request_done(c);
}

static void on_timer(uv_timer_t *timer) {
  sim_conn *c = timer->data;
  if (!c->closing) {
    c->on_timer(c);
  }
}

void sim_after(sim_conn *c, uint64_t ms, sim_timer_fn fn) {
  c->on_timer = fn;
  if (!c->closing) {
    uv_timer_start(&c->timer, on_timer, ms, 0);
  }
}

// ---- parsing ----
const char *sim_header_get(const sim_conn *c, const char *name) {
  for (size_t i = 0; i < c->header_count; i++) {
    if (c->headers[i].name && strcasecmp(c->headers[i].name, name) == 0) {
      return c->headers[i].value ? c->headers[i].value : "";
    }
  }
  return NULL;
}

static int append(sim_conn *c, char **to, const char *p, size_t n) {
  c->head_bytes += n;
  if (c->head_bytes > SIM_HEAD_BYTES_MAX) {
    return -1;
  }
  size_t have = *to ? strlen(*to) : 0;
  char *grown = realloc(*to, have + n + 1);
  if (!grown) {
    return -1;
  }
  memcpy(grown + have, p, n);
  grown[have + n] = '\0';
  *to = grown;
  return 0;
}

static int on_url(llhttp_t *parser, const char *p, size_t n) {
  sim_conn *c = parser->data;
  return append(c, &c->target, p, n);
}

static int on_header_field(llhttp_t *parser, const char *p, size_t n) {
  sim_conn *c = parser->data;
  if (c->header_count == 0 || c->in_value) {
    if (c->header_count == SIM_HEADERS_MAX) {
      return -1;
    }
    c->header_count++;
    c->in_value = false;
  }
  return append(c, &c->headers[c->header_count - 1].name, p, n);
}

static int on_header_value(llhttp_t *parser, const char *p, size_t n) {
  sim_conn *c = parser->data;
  c->in_value = true;
  return c->header_count ? append(c, &c->headers[c->header_count - 1].value, p, n) : -1;
}

static int on_headers_complete(llhttp_t *parser) {
  sim_conn *c = parser->data;
  c->method = llhttp_method_name((llhttp_method_t)parser->method);
  c->path = sim_strdup(c->target ? c->target : "/");
  char *mark = strchr(c->path, '?');
  c->query = mark ? mark + 1 : c->path + strlen(c->path);
  if (mark) {
    *mark = '\0';
  }
  c->close_after = !llhttp_should_keep_alive(parser);
  const char *expect = sim_header_get(c, "Expect");
  if (expect && strcasecmp(expect, "100-continue") == 0) {
    static const char go_on[] = "HTTP/1.1 100 Continue\r\n\r\n";
    sim_raw(c, go_on, sizeof(go_on) - 1);
  }
  const char *upgrade = sim_header_get(c, "Upgrade");
  c->websocket = upgrade && strcasecmp(upgrade, "websocket") == 0 && parser->upgrade;
  parser->upgrade = 0;
  sim_count.requests++;
  sim_route_head(c);
  return 0;
}

static int on_body(llhttp_t *parser, const char *p, size_t n) {
  sim_conn *c = parser->data;
  if (c->duplex) {
    sim_stream_write(c, p, n);
    return 0;
  }
  if (c->body_len + n > SIM_BODY_BYTES_MAX) {
    return -1;
  }
  if (c->body_len + n + 1 > c->body_cap) {
    size_t cap = c->body_cap ? c->body_cap * 2 : 4096;
    while (cap < c->body_len + n + 1) {
      cap *= 2;
    }
    char *grown = realloc(c->body, cap);
    if (!grown) {
      return -1;
    }
    c->body = grown;
    c->body_cap = cap;
  }
  memcpy(c->body + c->body_len, p, n);
  c->body_len += n;
  c->body[c->body_len] = '\0';
  return 0;
}

static int on_message_complete(llhttp_t *parser) {
  sim_conn *c = parser->data;
  c->busy = true;
  return HPE_PAUSED;
}

static void keep(sim_conn *c, const char *p, size_t n) {
  char *grown = c->pending_len + n <= SIM_HEAD_BYTES_MAX * 4 ? realloc(c->pending, c->pending_len + n) : NULL;
  if (!grown) {
    sim_close(c);
    return;
  }
  memcpy(grown + c->pending_len, p, n);
  c->pending = grown;
  c->pending_len += n;
}

static void feed(sim_conn *c, const char *p, size_t n) {
  llhttp_errno_t err = llhttp_execute(&c->parser, p, n);
  if (err == HPE_OK) {
    return;
  }
  if (err != HPE_PAUSED) {
    static const char bad[] =
        "HTTP/1.1 400 Bad Request\r\nServer: ecolink-simulator\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
    uv_buf_t part = {.base = (char *)(uintptr_t)bad, .len = sizeof(bad) - 1};
    write_parts(c, &part, 1, true);
    return;
  }
  const char *rest = llhttp_get_error_pos(&c->parser);
  size_t left = rest ? (size_t)(p + n - rest) : 0;
  if (left) {
    keep(c, rest, left);
  }
  if (c->closing) {
    return;
  }
  if (c->duplex) {
    sim_stream_finish(c);
  } else {
    sim_route(c);
  }
}

static void on_eof(sim_conn *c) {
  c->eof_seen = true;
  if (c->busy && !c->inference) {
    return;  // a half-close: the answer is still owed
  }
  if (c->busy) {
    sim_count.cancelled++;
    sim_log("caller left before the answer was whole: %s %s", c->method, c->path);
  }
  sim_close(c);
}

static void on_read(uv_stream_t *stream, ssize_t n, const uv_buf_t *buf) {
  sim_conn *c = stream->data;
  if (c->closing) {
    return;
  }
  if (n == UV_EOF) {
    on_eof(c);
  } else if (n < 0) {
    sim_count.cancelled += c->busy;
    sim_close(c);
  } else if (n > 0 && c->websocket && c->busy) {
    sim_websocket_input(c, (const uint8_t *)buf->base, (size_t)n);
  } else if (n > 0 && c->busy) {
    keep(c, buf->base, (size_t)n);
  } else if (n > 0) {
    feed(c, buf->base, (size_t)n);
  }
}

// The loop reads one connection at a time and every byte kept is copied: one buffer serves all.
static void lend(uv_handle_t *handle, size_t size, uv_buf_t *buf) {
  (void)handle;
  (void)size;
  *buf = uv_buf_init(read_buffer, sizeof(read_buffer));
}

void sim_http_accept(uv_stream_t *server, int status) {
  if (status < 0) {
    return;
  }
  if (!settings.on_url) {
    llhttp_settings_init(&settings);
    settings.on_url = on_url;
    settings.on_header_field = on_header_field;
    settings.on_header_value = on_header_value;
    settings.on_headers_complete = on_headers_complete;
    settings.on_body = on_body;
    settings.on_message_complete = on_message_complete;
  }
  sim_conn *c = sim_alloc(sizeof(*c));
  sim_count.connections++;
  uv_tcp_init(server->loop, &c->tcp);
  uv_timer_init(server->loop, &c->timer);
  c->tcp.data = c->timer.data = c;
  c->handles_open = 2;
  llhttp_init(&c->parser, HTTP_REQUEST, &settings);
  c->parser.data = c;
  if (uv_accept(server, (uv_stream_t *)&c->tcp) != 0) {
    sim_close(c);
    return;
  }
  uv_tcp_nodelay(&c->tcp, 1);
  uv_read_start((uv_stream_t *)&c->tcp, lend, on_read);
}
