// The health service's SQL. Called within a transaction; everything returned lives in the arena.
#ifndef HEALTH_STORE_H
#define HEALTH_STORE_H

#include "ecolink/service.h"
#include "ecolink/v1/gateway.pb-c.h"
#include "ecolink/v1/health.pb-c.h"
#include "ecolink/v1/scheduler.pb-c.h"

typedef struct health_target {
  const char *id;
  int64_t instance_id;
  int32_t replica_id;
  const char *region;
  const char *host;
  int32_t port;
  const char *health_path;
  const char *token;
  const char *run_id;
  bool probed;
  Ecolink__V1__HealthState state;
  const char *reason;
  int64_t since_us;
  int64_t version;
  int64_t passive_failures;
  int64_t passive_successes;
  const char *passive_kind;
} health_target;

// NULL when there is none; locked FOR UPDATE.
ECO_CHECKED eco_status health_target_lock(eco_tx *tx, eco_arena *arena, const char *id, health_target **out);
// Inserts or replaces what the scheduler says of a replica; verdict and version are those of `target`.
ECO_CHECKED eco_status health_target_put(eco_tx *tx, const health_target *target, const char *account_id,
                                         int64_t removed_at_us);
// All probed targets by ascending id, at most HEALTH_TARGETS_MAX.
ECO_CHECKED eco_status health_target_probed(eco_tx *tx, eco_arena *arena, health_target **out, size_t *n);
// Sets verdict and next version if the target is still probed in this run; 0 in *version when it is not.
ECO_CHECKED eco_status health_target_judge(eco_tx *tx, const health_target *target, int64_t *version);
ECO_CHECKED eco_status health_target_report(eco_tx *tx, const char *id, const Ecolink__V1__UpstreamFailure *report);
// Probed replicas of an instance (0: all) and an account (NULL: all), by id, at most HEALTH_LIST_MAX.
ECO_CHECKED eco_status health_target_list(eco_tx *tx, eco_arena *arena, int64_t instance_id, const char *account_id,
                                          bool unhealthy_only, Ecolink__V1__ReplicaHealth ***out, size_t *n);
ECO_CHECKED eco_status health_change_insert(eco_tx *tx, const health_target *target);
ECO_CHECKED eco_status health_region_put(eco_tx *tx, const char *region, int64_t observed_at_us, int32_t probed);
ECO_CHECKED eco_status health_region_list(eco_tx *tx, eco_arena *arena, Ecolink__V1__RegionHealth ***out, size_t *n);
// Forgets changes, removed targets and regions that were last looked at before before_us.
ECO_CHECKED eco_status health_sweep(eco_tx *tx, int64_t before_us);

Ecolink__V1__ReplicaHealth *health_message(eco_arena *arena, const health_target *target);

#endif
