// The admin HTTP server: one libuv loop on one thread, llhttp in strict mode, one short answer per connection.
#include "admin_http.h"

#include <llhttp.h>
#include <netdb.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <uv.h>

#include "ecolink/clock.h"
#include "ecolink/log.h"
#include "ecolink/metrics.h"

enum {
  CONNECTIONS_MAX = 64,     // probes and one or two Prometheus servers; more is an accident
  REQUEST_MAX = 16 * 1024,  // head and body, together
  TARGET_MAX = 256,         // our longest path is 8 bytes
  TIME_MAX_MS = 10000,      // from accept to the end of the answer
  SWEEP_MS = 500,
  BACKLOG = 64,
  HEAD_MAX = 512,
  METRICS_MAX = 8 * 1024 * 1024,
  REASONS_MAX = 8 * 1024,
};

typedef struct connection {
  uv_tcp_t tcp;
  uv_write_t write;
  uv_shutdown_t shutdown;
  llhttp_t parser;
  eco_admin_http *admin;
  struct connection *next;  // in admin->connections, from accept until its close callback
  struct connection **link;
  int64_t deadline_ms;
  size_t received;
  size_t target_len;
  char target[TARGET_MAX];
  bool target_too_long;
  bool answered;
  char head[HEAD_MAX];
  eco_buf body;
} connection;

struct eco_admin_http {
  uv_loop_t loop;
  uv_tcp_t listener;
  uv_async_t stop;  // the one handle that another thread may touch
  uv_timer_t sweep;
  pthread_t thread;
  int port;
  eco_admin_ready_fn ready;
  void *arg;
  connection *connections;
  int count;
  char read_buffer[REQUEST_MAX];  // lent to one read at a time, parsed in place
  llhttp_settings_t settings;
};

// ---- end of a connection ----

static void on_closed(uv_handle_t *handle) {
  connection *c = handle->data;
  *c->link = c->next;
  if (c->next != NULL) {
    c->next->link = c->link;
  }
  c->admin->count--;
  eco_buf_free(&c->body);
  free(c);
}

static void connection_close(connection *c) {
  if (!uv_is_closing((uv_handle_t *)&c->tcp)) {
    uv_close((uv_handle_t *)&c->tcp, on_closed);
  }
}

// After the answer only the peer's FIN is awaited: closing with its bytes unread would reset the connection and could
// take the answer away from it.
static void on_shut_down(uv_shutdown_t *req, int status) {
  connection *c = req->data;
  if (status != 0) {
    connection_close(c);
  }
}

static void on_written(uv_write_t *req, int status) {
  connection *c = req->data;
  if (status != 0 || uv_is_closing((uv_handle_t *)&c->tcp)) {
    connection_close(c);
    return;
  }
  c->shutdown.data = c;
  if (uv_shutdown(&c->shutdown, (uv_stream_t *)&c->tcp, on_shut_down) != 0) {
    connection_close(c);
  }
}

// ---- answers ----

static const char *reason_of(int status) {
  switch (status) {
    case 200:
      return "OK";
    case 400:
      return "Bad Request";
    case 404:
      return "Not Found";
    case 405:
      return "Method Not Allowed";
    case 413:
      return "Content Too Large";
    case 503:
      return "Service Unavailable";
    default:
      return "Internal Server Error";
  }
}

// Sends c->body with a head; `head_only` for HEAD requests.
static void answer(connection *c, int status, const char *type, bool head_only) {
  if (c->answered) {
    return;
  }
  c->answered = true;
  int n = snprintf(c->head, sizeof(c->head),
                   "HTTP/1.1 %d %s\r\nContent-Type: %s\r\nContent-Length: %zu\r\n%sCache-Control: no-store\r\n"
                   "X-Content-Type-Options: nosniff\r\nConnection: close\r\n\r\n",
                   status, reason_of(status), type, c->body.len, status == 405 ? "Allow: GET, HEAD\r\n" : "");
  uv_buf_t out[2] = {uv_buf_init(c->head, (unsigned)n), uv_buf_init(c->body.data, (unsigned)c->body.len)};
  c->write.data = c;
  if (uv_write(&c->write, (uv_stream_t *)&c->tcp, out, head_only || c->body.len == 0 ? 1 : 2, on_written) != 0) {
    connection_close(c);
  }
}

static const char PLAIN[] = "text/plain; charset=utf-8";

static void answer_text(connection *c, int status, const char *text) {
  eco_buf_reset(&c->body);
  (void)eco_buf_puts(&c->body, text);
  answer(c, status, PLAIN, false);
}

static void answer_ready(connection *c, bool head_only) {
  eco_admin_http *admin = c->admin;
  eco_buf why;
  eco_buf_init(&why, REASONS_MAX);
  bool ready = admin->ready == NULL || admin->ready(admin->arg, &why);
  if (ready) {
    (void)eco_buf_puts(&c->body, "ready\n");
  } else if (why.len == 0) {
    (void)eco_buf_puts(&c->body, "not ready\n");
  } else {
    (void)eco_buf_append(&c->body, why.data, why.len);
    if (why.data[why.len - 1] != '\n') {
      (void)eco_buf_putc(&c->body, '\n');
    }
  }
  eco_buf_free(&why);
  answer(c, ready ? 200 : 503, PLAIN, head_only);
}

static void answer_metrics(connection *c, bool head_only) {
  if (!eco_metrics_write(&c->body)) {
    answer_text(c, 500, "more metrics than one answer holds\n");
    return;
  }
  answer(c, 200, "text/plain; version=0.0.4; charset=utf-8", head_only);
}

static bool target_is(const connection *c, const char *path) {
  size_t len = strlen(path);
  return c->target_len >= len && memcmp(c->target, path, len) == 0 && (c->target_len == len || c->target[len] == '?');
}

static void route(connection *c) {
  bool head_only = c->parser.method == HTTP_HEAD;
  if (c->target_too_long) {
    answer_text(c, 404, "not found; there are /healthz, /readyz and /metrics\n");
  } else if (c->parser.method != HTTP_GET && !head_only) {
    answer_text(c, 405, "only GET is served here\n");
  } else if (target_is(c, "/healthz")) {
    (void)eco_buf_puts(&c->body, "ok\n");
    answer(c, 200, PLAIN, head_only);
  } else if (target_is(c, "/readyz")) {
    answer_ready(c, head_only);
  } else if (target_is(c, "/metrics")) {
    answer_metrics(c, head_only);
  } else {
    answer_text(c, 404, "not found; there are /healthz, /readyz and /metrics\n");
  }
}

// ---- requests ----

static int on_url(llhttp_t *parser, const char *at, size_t n) {
  connection *c = parser->data;
  if (n > TARGET_MAX - c->target_len) {
    c->target_too_long = true;
    return HPE_OK;
  }
  memcpy(c->target + c->target_len, at, n);
  c->target_len += n;
  return HPE_OK;
}

static int on_message_complete(llhttp_t *parser) {
  route(parser->data);
  return HPE_PAUSED;
}

static void on_alloc(uv_handle_t *handle, size_t suggested, uv_buf_t *buf) {
  (void)suggested;
  connection *c = handle->data;
  *buf = uv_buf_init(c->admin->read_buffer, sizeof(c->admin->read_buffer));
}

static void on_read(uv_stream_t *stream, ssize_t n, const uv_buf_t *buf) {
  connection *c = stream->data;
  if (n < 0) {
    connection_close(c);
    return;
  }
  if (c->answered || n == 0) {
    return;  // what follows the one request is read and dropped, until the peer closes or the time is up
  }
  c->received += (size_t)n;
  llhttp_errno_t err = llhttp_execute(&c->parser, buf->base, (size_t)n);
  if (c->answered) {
    return;
  }
  if (err != HPE_OK) {
    answer_text(c, 400, "not an HTTP/1.1 request\n");
  } else if (c->received >= REQUEST_MAX) {
    answer_text(c, 413, "the request is too large\n");
  }
}

static void on_connection(uv_stream_t *listener, int status) {
  eco_admin_http *admin = listener->data;
  if (status != 0) {
    return;
  }
  connection *c = calloc(1, sizeof(*c));
  if (c == NULL) {
    return;
  }
  c->admin = admin;
  (void)uv_tcp_init(&admin->loop, &c->tcp);
  c->tcp.data = c;
  c->deadline_ms = eco_boottime_ms() + TIME_MAX_MS;
  eco_buf_init(&c->body, METRICS_MAX);
  llhttp_init(&c->parser, HTTP_REQUEST, &admin->settings);
  c->parser.data = c;
  c->next = admin->connections;
  c->link = &admin->connections;
  if (c->next != NULL) {
    c->next->link = &c->next;
  }
  admin->connections = c;
  admin->count++;
  if (uv_accept(listener, (uv_stream_t *)&c->tcp) != 0 || admin->count > CONNECTIONS_MAX ||
      uv_read_start((uv_stream_t *)&c->tcp, on_alloc, on_read) != 0) {
    connection_close(c);
  }
}

static void on_sweep(uv_timer_t *timer) {
  eco_admin_http *admin = timer->data;
  int64_t now_ms = eco_boottime_ms();
  for (connection *c = admin->connections; c != NULL; c = c->next) {
    if (now_ms >= c->deadline_ms) {
      connection_close(c);
    }
  }
}

// ---- start and stop ----

static void on_stop(uv_async_t *async) {
  eco_admin_http *admin = async->data;
  for (connection *c = admin->connections; c != NULL; c = c->next) {
    connection_close(c);
  }
  uv_close((uv_handle_t *)&admin->listener, NULL);
  uv_close((uv_handle_t *)&admin->sweep, NULL);
  uv_close((uv_handle_t *)&admin->stop, NULL);
}

static void *run(void *arg) {
  eco_admin_http *admin = arg;
  sigset_t all;
  (void)sigfillset(&all);  // signals are the main thread's; SIGPIPE of a peer gone is nobody's
  (void)pthread_sigmask(SIG_BLOCK, &all, NULL);
  (void)uv_run(&admin->loop, UV_RUN_DEFAULT);  // returns when on_stop has closed every handle
  return NULL;
}

eco_status eco_admin_split_address(const char *listen, char host[ECO_ADMIN_HOST_MAX], const char **port) {
  const char *colon = strrchr(listen, ':');
  size_t n = colon != NULL ? (size_t)(colon - listen) : 0;
  // getaddrinfo takes any number and keeps its low 16 bits
  size_t digits = colon != NULL ? strspn(colon + 1, "0123456789") : 0;
  bool port_ok = digits > 0 && digits <= 5 && colon[1 + digits] == '\0' && strtol(colon + 1, NULL, 10) <= UINT16_MAX;
  if (!port_ok || n >= ECO_ADMIN_HOST_MAX) {
    return eco_error(ECO_INVALID_REQUEST, "\"%s\" is no address to listen on: host:port is wanted", listen);
  }
  if (n >= 2 && listen[0] == '[' && colon[-1] == ']') {
    listen++;
    n -= 2;
  }
  memcpy(host, listen, n);
  host[n] = '\0';
  *port = colon + 1;
  return eco_success();
}

static eco_status cannot_listen(const char *where, int err) {
  return eco_error(ECO_INVALID_REQUEST, "cannot listen on %s: %s", where, uv_strerror(err));
}

static eco_status listen_on(eco_admin_http *admin, const char *where) {
  int err = uv_listen((uv_stream_t *)&admin->listener, BACKLOG, on_connection);
  struct sockaddr_storage bound;
  int bound_len = sizeof(bound);
  if (err == 0) {
    err = uv_tcp_getsockname(&admin->listener, (struct sockaddr *)&bound, &bound_len);
  }
  if (err != 0) {
    return cannot_listen(where, err);
  }
  admin->port = ntohs(bound.ss_family == AF_INET6 ? ((struct sockaddr_in6 *)&bound)->sin6_port
                                                  : ((struct sockaddr_in *)&bound)->sin_port);
  return eco_success();
}

// *out: free with freeaddrinfo.
static eco_status resolve(const char *listen, struct addrinfo **out) {
  char host[ECO_ADMIN_HOST_MAX] = "";
  const char *port = NULL;
  ECO_TRY(eco_admin_split_address(listen, host, &port));
  struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE | AI_NUMERICSERV};
  int gai = getaddrinfo(host[0] != '\0' ? host : NULL, port, &hints, out);
  return gai == 0 ? eco_success()
                  : eco_error(ECO_INVALID_REQUEST, "cannot listen on %s: %s", listen, gai_strerror(gai));
}

static eco_status bind_listener(eco_admin_http *admin, const char *listen) {
  struct addrinfo *found = NULL;
  ECO_TRY(resolve(listen, &found));
  int err = uv_tcp_bind(&admin->listener, found->ai_addr, 0);
  freeaddrinfo(found);
  return err == 0 ? listen_on(admin, listen) : cannot_listen(listen, err);
}

static eco_status adopt_listener(eco_admin_http *admin, int fd) {
  int err = uv_tcp_open(&admin->listener, fd);
  if (err != 0) {
    (void)close(fd);
    return cannot_listen("the socket that was handed over", err);
  }
  return listen_on(admin, "the socket that was handed over");
}

// `fd` is used when it is one, else a socket is made for `listen`.
static eco_status start(const char *listen, int fd, eco_admin_ready_fn ready, void *arg, eco_admin_http **out) {
  eco_admin_http *admin = calloc(1, sizeof(*admin));
  bool loop = admin != NULL && uv_loop_init(&admin->loop) == 0;
  if (!loop || uv_async_init(&admin->loop, &admin->stop, on_stop) != 0) {
    if (loop) {
      (void)uv_loop_close(&admin->loop);
    }
    free(admin);
    if (fd >= 0) {
      (void)close(fd);
    }
    return eco_error(ECO_OVERLOADED, "the admin endpoint cannot start: out of memory or file descriptors");
  }
  admin->ready = ready;
  admin->arg = arg;
  llhttp_settings_init(&admin->settings);
  admin->settings.on_url = on_url;
  admin->settings.on_message_complete = on_message_complete;
  (void)uv_tcp_init(&admin->loop, &admin->listener);
  (void)uv_timer_init(&admin->loop, &admin->sweep);
  admin->listener.data = admin;
  admin->sweep.data = admin;
  admin->stop.data = admin;
  eco_status st = fd >= 0 ? adopt_listener(admin, fd) : bind_listener(admin, listen);
  if (eco_ok(st)) {
    (void)uv_timer_start(&admin->sweep, on_sweep, SWEEP_MS, SWEEP_MS);
    if (pthread_create(&admin->thread, NULL, run, admin) != 0) {
      st = eco_error(ECO_OVERLOADED, "the admin endpoint cannot start its thread");
    }
  }
  if (!eco_ok(st)) {
    on_stop(&admin->stop);
    (void)uv_run(&admin->loop, UV_RUN_DEFAULT);
    (void)uv_loop_close(&admin->loop);
    free(admin);
    return st;
  }
  eco_log(ECO_LOG_DEBUG, "admin endpoint listens", ECO_F_I64("port", admin->port));
  *out = admin;
  return eco_success();
}

eco_status eco_admin_http_start(const char *listen, eco_admin_ready_fn ready, void *arg, eco_admin_http **out) {
  return start(listen, -1, ready, arg, out);
}

eco_status eco_admin_http_start_on(int fd, eco_admin_ready_fn ready, void *arg, eco_admin_http **out) {
  return start("", fd, ready, arg, out);
}

static bool same_address(const struct sockaddr *wanted, const struct sockaddr *bound) {
  if (wanted->sa_family != bound->sa_family) {
    return false;
  }
  // The port stands at the same place in both families.
  in_port_t port = ((const struct sockaddr_in *)(const void *)wanted)->sin_port;
  if (port != 0 && port != ((const struct sockaddr_in *)(const void *)bound)->sin_port) {
    return false;
  }
  return wanted->sa_family == AF_INET6
             ? memcmp(&((const struct sockaddr_in6 *)(const void *)wanted)->sin6_addr,
                      &((const struct sockaddr_in6 *)(const void *)bound)->sin6_addr, sizeof(struct in6_addr)) == 0
             : ((const struct sockaddr_in *)(const void *)wanted)->sin_addr.s_addr ==
                   ((const struct sockaddr_in *)(const void *)bound)->sin_addr.s_addr;
}

bool eco_admin_http_fits(const char *listen, int fd) {
  struct addrinfo *found = NULL;
  struct sockaddr_storage bound;
  socklen_t len = sizeof(bound);
  memset(&bound, 0, sizeof(bound));
  if (getsockname(fd, (struct sockaddr *)&bound, &len) != 0 || !eco_ok(resolve(listen, &found))) {
    return false;
  }
  bool same = same_address(found->ai_addr, (const struct sockaddr *)&bound);
  freeaddrinfo(found);
  return same;
}

int eco_admin_http_port(const eco_admin_http *admin) {
  return admin->port;
}

int eco_admin_http_fd(const eco_admin_http *admin) {
  uv_os_fd_t fd = -1;
  return uv_fileno((const uv_handle_t *)&admin->listener, &fd) == 0 ? fd : -1;
}

void eco_admin_http_stop(eco_admin_http *admin) {
  if (admin == NULL) {
    return;
  }
  (void)uv_async_send(&admin->stop);
  (void)pthread_join(admin->thread, NULL);
  (void)uv_loop_close(&admin->loop);
  free(admin);
}
