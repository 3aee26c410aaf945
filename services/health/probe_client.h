// Sends health probes: many at once, each bounded in time and size. The only file that talks to replicas.
//
// Not thread-safe: one client belongs to the prober's thread.
#ifndef HEALTH_PROBE_CLIENT_H
#define HEALTH_PROBE_CLIENT_H

#include <stdbool.h>
#include <stddef.h>

#include "ecolink/status.h"
#include "health_limits.h"

typedef struct probe_client probe_client;

typedef struct probe_target {
  const char *host;
  int port;
  const char *path;   // "" means "/"
  const char *token;  // "": none; else sent as a bearer token
} probe_target;

typedef struct probe_result {
  bool ok;
  char reason[HEALTH_REASON_MAX];  // when not ok
} probe_result;

ECO_CHECKED eco_status probe_client_new(int concurrency, long timeout_ms, probe_client **out);
void probe_client_free(probe_client *client);
// Probes all targets and fills results[i] for targets[i]. Returns early, with what is left as it was given, when
// `stopping` says so; true when every target was probed.
bool probe_client_run(probe_client *client, const probe_target *targets, probe_result *results, size_t n,
                      bool (*stopping)(void *arg), void *arg);
// "http://host:port/path" with IPv6 addresses in brackets; false when host, port or path cannot stand in a URL.
bool probe_url(const probe_target *target, char out[HEALTH_URL_MAX]);

#endif
