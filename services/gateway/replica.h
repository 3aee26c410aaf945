// What one loop knows about replicas from its own traffic: outstanding requests, latency, ejection, idle connections.
// Lives outside the snapshots, keyed by (instance, replica). Loop thread only.
#ifndef GATEWAY_REPLICA_H
#define GATEWAY_REPLICA_H

#include "route.h"
#include "snapshot.h"

typedef struct gw_upstream gw_upstream;
typedef struct gw_loop gw_loop;

enum { GW_CLASS_CHAT, GW_CLASS_EMBED, GW_CLASS_IMAGE, GW_CLASS_AUDIO, GW_CLASS_OTHER, GW_CLASSES };
typedef enum gw_failure {
  GW_FAIL_CONNECT,
  GW_FAIL_RESET,
  GW_FAIL_TIMEOUT,
  GW_FAIL_GARBAGE,
  GW_FAIL_STATUS,
  GW_FAILURES
} gw_failure;
const char *gw_failure_word(gw_failure kind);

typedef struct gw_region_state {
  struct gw_region_state *next;
  char name[GW_REGION_LEN];
  gw_outlier outlier;     // counts failures to connect, over all its replicas
  int64_t last_instance;  // and only when they concern more than one replica
  int32_t last_replica;
} gw_region_state;

// What every request reads stands in the first two cache lines (snapshot.h says why).
typedef struct gw_replica {
  _Alignas(64) struct gw_replica *next;  // in its hash bucket
  int64_t instance_id;
  int32_t id;
  uint32_t outstanding;
  uint64_t route_serial;  // of the route that `at` was compared with last
  gw_upstream *idle;      // most recently used first
  unsigned n_idle;
  uint32_t successes;  // since the last report
  gw_outlier outlier;
  uint64_t last_success_ms;
  uint64_t last_used_ms;
  gw_region_state *region;
  gw_ewma latency[GW_CLASSES];
  gw_route_replica at;             // address, region; at.token is owned
  uint32_t failures[GW_FAILURES];  // since the last report
} gw_replica;

enum { GW_REPLICA_BUCKETS = 4096 };
typedef struct gw_replicas {
  gw_replica *buckets[GW_REPLICA_BUCKETS];
  gw_region_state *regions;
  size_t n;
} gw_replicas;

typedef struct gw_failure_report {
  struct gw_failure_report *next;
  int64_t instance_id;
  int32_t replica_id;
  char region[GW_REGION_LEN];
  gw_failure kind;
  int32_t count;
  int32_t successes;
} gw_failure_report;
void gw_failure_reports_free(gw_failure_report *list);

// Finds or makes the route's i-th one; a changed address forgets what was measured and closes idle connections.
gw_replica *gw_replica_get(gw_loop *loop, const gw_route *route, unsigned i);
// The only two places that count an attempt, up and down.
void gw_replica_begin(gw_replica *r);
void gw_replica_end(gw_replica *r);
void gw_replica_succeeded(gw_loop *loop, gw_replica *r, unsigned endpoint_class, double latency_us);
void gw_replica_failed(gw_loop *loop, gw_replica *r, unsigned endpoint_class, gw_failure kind, double timeout_us);
gw_candidate gw_replica_candidate(gw_loop *loop, gw_replica *r, unsigned endpoint_class, bool condemned);
// Once a second: reports, and forgetting what has not been used for a minute.
void gw_replicas_sweep(gw_loop *loop);
void gw_replicas_free(gw_loop *loop);

#endif
