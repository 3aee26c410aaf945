// The scheduler's SQL. Every function runs in the caller's transaction and commits nothing; strings it returns are in
// the arena.
#ifndef SCHEDULER_STORE_H
#define SCHEDULER_STORE_H

#include "ecolink/service.h"
#include "instance.h"
#include "placement.h"
#include "roster.h"

typedef enum store_lock { STORE_READ, STORE_LOCK } store_lock;

// ---- instances (store_instance.c) ----
typedef struct instance_blobs {
  const uint8_t *spec;  // packed LaunchRequest
  size_t spec_len;
  const uint8_t *model;  // packed AcquireModelResponse
  size_t model_len;
} instance_blobs;

// Inserts the instance (version 1, launch_state open) and its replicas; sets inst->id. The launch's deadline is
// answer_ms from now by the database's clock.
ECO_CHECKED eco_status store_instance_insert(eco_tx *tx, instance_row *inst, const instance_blobs *blobs,
                                             int answer_ms);
// NOT_FOUND when there is none. With STORE_LOCK the row is locked: all changes of an instance and its replicas go
// through it.
ECO_CHECKED eco_status store_instance_load(eco_tx *tx, eco_arena *arena, int64_t id, store_lock lock,
                                           instance_row *out);
// The account's own visible instance. FORBIDDEN when it is another's, which is neither locked nor read; else NOT_FOUND.
ECO_CHECKED eco_status store_instance_load_own(eco_tx *tx, eco_arena *arena, const char *account_id, int64_t id,
                                               store_lock lock, instance_row *out);
// Writes the row with version + 1.
ECO_CHECKED eco_status store_instance_save(eco_tx *tx, instance_row *inst);
ECO_CHECKED eco_status store_instance_blobs(eco_tx *tx, eco_arena *arena, int64_t id, instance_blobs *out);
ECO_CHECKED eco_status store_instance_set_model(eco_tx *tx, int64_t id, const uint8_t *model, size_t len);
// Visible instances of an account, newest first, below `before` (0: from the newest); status 0: all.
ECO_CHECKED eco_status store_instance_list(eco_tx *tx, eco_arena *arena, const char *account_id, int64_t before,
                                           int status, int limit, instance_row **out, size_t *count);
// Everything, ascending in the bytewise order of the decimal id, for snapshots.
ECO_CHECKED eco_status store_instance_page(eco_tx *tx, eco_arena *arena, const char *after_id, int limit,
                                           instance_row **out, size_t *count);
// Instances that have a route.
ECO_CHECKED eco_status store_instance_routed(eco_tx *tx, eco_arena *arena, instance_row **out, size_t *count);
// Instances with a replica in the region that is not gone, their launch answered.
ECO_CHECKED eco_status store_instance_in_region(eco_tx *tx, eco_arena *arena, const char *region, instance_row **out,
                                                size_t *count);
// Those of them that are named in ids, ascending.
ECO_CHECKED eco_status store_instance_pick(eco_tx *tx, eco_arena *arena, const char *region, const int64_t *ids,
                                           size_t n, instance_row **out, size_t *count);
// The replicas that are in the region and not gone, their launch answered, sorted by instance and replica.
ECO_CHECKED eco_status store_region_keys(eco_tx *tx, eco_arena *arena, const char *region, roster_key **out,
                                         size_t *count);
// Differs when an instance of the region was changed, came or went; what two changes hide from each other the keys
// tell.
typedef struct store_stamp {
  int64_t count;
  int64_t versions;
  bool prune_confirmed;
} store_stamp;
ECO_CHECKED eco_status store_region_stamp(eco_tx *tx, const char *region, store_stamp *out);
// Seconds that the account's last launches of the same model and image took to run; 0: there was none.
ECO_CHECKED eco_status store_startup_estimate(eco_tx *tx, const instance_row *inst, int *seconds);
ECO_CHECKED eco_status store_instance_highest(eco_tx *tx, int64_t *out);
// Launches past their deadline without an answer, and those that were being undone.
ECO_CHECKED eco_status store_launch_overdue(eco_tx *tx, eco_arena *arena, int64_t **ids, size_t *count);
// open -> closing. *claimed false: it has an answer, or is gone.
ECO_CHECKED eco_status store_launch_claim(eco_tx *tx, int64_t id, bool *claimed);

// Live instances whose hold has expired.
ECO_CHECKED eco_status store_holds_overdue(eco_tx *tx, eco_arena *arena, int64_t now_us, int limit, int64_t **ids,
                                           size_t *count);
// Instances that ended before then, every replica gone, and left logs behind.
ECO_CHECKED eco_status store_leavings(eco_tx *tx, eco_arena *arena, int64_t before_us, int limit, instance_row **out,
                                      size_t *count);
ECO_CHECKED eco_status store_leavings_dropped(eco_tx *tx, int64_t id);

// ---- replicas (store_replica.c) ----
// The literal of a bigint[].
const char *store_ids(eco_arena *arena, const int64_t *ids, size_t count);
ECO_CHECKED eco_status store_replica_insert(eco_tx *tx, int64_t instance_id, const replica_row *r);
ECO_CHECKED eco_status store_replica_save(eco_tx *tx, int64_t instance_id, replica_row *r);  // version + 1
// Fills .replicas of each of the instances.
ECO_CHECKED eco_status store_replicas_load(eco_tx *tx, instance_row *instances, size_t count);
typedef struct replica_state_row {
  int64_t instance_id;
  const char *account_id;
  const char *health_path;
  replica_row replica;
} replica_state_row;
ECO_CHECKED eco_status store_replica_page(eco_tx *tx, eco_arena *arena, const char *after_id, int limit,
                                          replica_state_row **out, size_t *count);

// ---- kept logs (store_logs.c) ----
ECO_CHECKED eco_status store_logs_keep(eco_tx *tx, int64_t instance_id, int replica_id, const char *lines);
// "" when none are kept.
ECO_CHECKED eco_status store_logs_read(eco_tx *tx, eco_arena *arena, int64_t instance_id, int replica_id,
                                       const char **lines);
ECO_CHECKED eco_status store_logs_drop(eco_tx *tx, int64_t instance_id);

// ---- the owner's events (store_replica.c) ----
ECO_CHECKED eco_status store_event_append(eco_tx *tx, instance_row *inst, int64_t now_us, const char *type,
                                          int replica_id, const char *message);
typedef struct event_row {
  int64_t seq;
  const char *type;
  const char *message;
  int replica_id;
  const char *region;
  int status;
  int64_t created_at_us;
} event_row;
ECO_CHECKED eco_status store_event_list(eco_tx *tx, eco_arena *arena, const instance_row *inst, int64_t after,
                                        int limit, event_row **out, size_t *count);

// ---- capacity, regions, prices (store_region.c) ----
typedef struct region_row {
  const char *name;
  const char *driver;
  bool cordoned;
  bool lost;              // by an operator's word
  bool unreachable;       // looking at it has failed for a minute
  const uint8_t *config;  // the driver's own, packed
  size_t config_len;
  const char *trouble;   // what needs an operator; "" when nothing does
  bool prune_confirmed;  // an operator has allowed the next pass to remove what has no row
  int64_t observed_until_us;
} region_row;
typedef struct room_row {
  const char *region;
  const char *gpu_type;
  int total;
  int reserved;
} room_row;
typedef struct gpu_type_row {
  const char *name;
  const char *description;
  int memory_gb;
  int64_t hourly_rate_micros;
  bool retired;
} gpu_type_row;

ECO_CHECKED eco_status store_rooms(eco_tx *tx, eco_arena *arena, store_lock lock, placement_room **out, size_t *count);
// Locks every counter, always in the same order: before touching more than one.
ECO_CHECKED eco_status store_rooms_lock(eco_tx *tx);
// Takes or (negative) returns GPUs; the row must have been locked or is locked by this.
ECO_CHECKED eco_status store_room_reserve(eco_tx *tx, const char *region, const char *gpu_type, int gpus);
ECO_CHECKED eco_status store_region_put(eco_tx *tx, const region_row *region, int64_t now_us);
ECO_CHECKED eco_status store_room_put(eco_tx *tx, const char *region, const char *gpu_type, int total);
ECO_CHECKED eco_status store_rooms_drop_others(eco_tx *tx, const char *region, const char *const *keep, size_t n);
ECO_CHECKED eco_status store_region_get(eco_tx *tx, eco_arena *arena, const char *name, region_row *out);  // NOT_FOUND
ECO_CHECKED eco_status store_region_list(eco_tx *tx, eco_arena *arena, const char *after, int limit, region_row **out,
                                         size_t *count);
ECO_CHECKED eco_status store_region_rooms(eco_tx *tx, eco_arena *arena, const char *region, room_row **out,
                                          size_t *count);
// IN_USE while replicas or evidence refer to it.
ECO_CHECKED eco_status store_region_delete(eco_tx *tx, const char *name);
// Whether a replica is there that is not gone.
ECO_CHECKED eco_status store_region_is_used(eco_tx *tx, const char *name, bool *out);
// Writes when it differs. Taking the trouble away ends a confirmation too.
ECO_CHECKED eco_status store_region_trouble(eco_tx *tx, const char *name, const char *trouble);
ECO_CHECKED eco_status store_region_confirm_prune(eco_tx *tx, const char *name);  // NOT_FOUND
// Sets the total of a type that the region offers, when it differs.
ECO_CHECKED eco_status store_room_total(eco_tx *tx, const char *region, const char *gpu_type, int total);
ECO_CHECKED eco_status store_installation(eco_tx *tx, eco_arena *arena, const char **id);
// What looking at a region came to: `seen` ends what the first `failing` began.
ECO_CHECKED eco_status store_region_seen(eco_tx *tx, const char *name);
ECO_CHECKED eco_status store_region_failing(eco_tx *tx, const char *name);
ECO_CHECKED eco_status store_region_watermark(eco_tx *tx, const char *name, int64_t observed_until_us);
ECO_CHECKED eco_status store_gpu_type_put(eco_tx *tx, const gpu_type_row *type, int64_t now_us);
ECO_CHECKED eco_status store_gpu_type_get(eco_tx *tx, eco_arena *arena, const char *name, gpu_type_row *out);
ECO_CHECKED eco_status store_gpu_type_list(eco_tx *tx, eco_arena *arena, const char *after, int limit,
                                           gpu_type_row **out, size_t *count);
// Deletes it, or retires it when something still refers to it.
ECO_CHECKED eco_status store_gpu_type_delete(eco_tx *tx, const char *name);

// ---- the meter (store_meter.c) ----
ECO_CHECKED eco_status store_run_seen(eco_tx *tx, int64_t instance_id, const replica_row *r, const char *run_id,
                                      int64_t at_us);
ECO_CHECKED eco_status store_run_ended(eco_tx *tx, int64_t instance_id, int replica_id, const char *run_id,
                                       int64_t at_us);
ECO_CHECKED eco_status store_interval_open(eco_tx *tx, int64_t instance_id, const replica_row *r, const char *run_id,
                                           int64_t at_us);
ECO_CHECKED eco_status store_interval_close(eco_tx *tx, int64_t instance_id, int replica_id, int64_t at_us);
// Intervals that end after from_us (or are open), oldest first, at most `limit`.
ECO_CHECKED eco_status store_intervals(eco_tx *tx, eco_arena *arena, int64_t instance_id, int64_t from_us, int limit,
                                       Ecolink__V1__MeterInterval ***out, size_t *count);
// The lowest watermark of the regions that hold its replicas or evidence.
ECO_CHECKED eco_status store_watermark_of(eco_tx *tx, int64_t instance_id, int64_t *out);

#endif
