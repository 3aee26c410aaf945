// The admin endpoint of a process: GET /healthz, /readyz and /metrics over HTTP/1.1, on a thread of its own, so that it
// answers however busy the workers are. Internal to libcommon: the service kit starts it on ADMIN_LISTEN.
//
//   /healthz  200 "ok": the process runs and this thread is scheduled
//   /readyz   200 "ready", or 503 with the reasons as plain text
//   /metrics  Prometheus text format 0.0.4
// One request a connection. Connections, request size and time are bounded (limits at the head of the source).
#ifndef ECOLINK_SRC_ADMIN_HTTP_H
#define ECOLINK_SRC_ADMIN_HTTP_H

#include <stdbool.h>

#include "ecolink/buf.h"
#include "ecolink/status.h"

typedef struct eco_admin_http eco_admin_http;

// Called on the admin thread for each /readyz: looks at state, never blocks. False adds the reasons to `why`.
typedef bool (*eco_admin_ready_fn)(void *arg, eco_buf *why);

// listen: "host:port", "[v6]:port" or ":port" (all addresses); port 0 takes a free one. `ready` may be NULL (always
// ready); `arg` is borrowed until stop. Fails with INVALID_REQUEST when the address cannot be listened on. *out: close
// with _stop.
ECO_CHECKED eco_status eco_admin_http_start(const char *listen, eco_admin_ready_fn ready, void *arg,
                                            eco_admin_http **out);
// The same on a socket that listens already; it becomes the endpoint's own, at a failure too.
ECO_CHECKED eco_status eco_admin_http_start_on(int fd, eco_admin_ready_fn ready, void *arg, eco_admin_http **out);
// Whether the socket is bound to what `listen` says: a port of 0 means any.
bool eco_admin_http_fits(const char *listen, int fd);
int eco_admin_http_port(const eco_admin_http *admin);  // the port really bound
int eco_admin_http_fd(const eco_admin_http *admin);    // its listening socket; borrowed until stop
// Closes every connection, joins the thread, frees. NULL is fine.
void eco_admin_http_stop(eco_admin_http *admin);

// Splits "host:port" or "[v6]:port" at its last colon; *port points into listen. Shared by both sides.
enum { ECO_ADMIN_HOST_MAX = 256 };
ECO_CHECKED eco_status eco_admin_split_address(const char *listen, char host[ECO_ADMIN_HOST_MAX], const char **port);
// The other side, for health checks of containers without a shell: asks /readyz of the service that listens on `listen`
// (no host, or one that means all addresses: this machine). OK when it is ready; the reasons are appended to `body`
// (initialised by the caller). Blocks, 5 s at the most for each step.
ECO_CHECKED eco_status eco_admin_http_ask(const char *listen, eco_buf *body);

#endif
