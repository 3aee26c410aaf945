// The rows that every part of the scheduler speaks of: an instance with its replicas, as read from PostgreSQL.
//
// Plain values: copying the struct copies the row (strings longer than a fixed bound live in the arena it was loaded
// with). Rules change a copy; store_instance.c writes what is marked dirty.
#ifndef SCHEDULER_INSTANCE_H
#define SCHEDULER_INSTANCE_H

#include <stdbool.h>
#include <stdint.h>

#include "driver.h"
#include "ecolink/id.h"
#include "ecolink/v1/scheduler.pb-c.h"
#include "scheduler_limits.h"

typedef Ecolink__V1__InstanceStatus instance_status;
#define ST_PENDING ECOLINK__V1__INSTANCE_STATUS__INSTANCE_STATUS_PENDING
#define ST_PROVISIONING ECOLINK__V1__INSTANCE_STATUS__INSTANCE_STATUS_PROVISIONING
#define ST_RUNNING ECOLINK__V1__INSTANCE_STATUS__INSTANCE_STATUS_RUNNING
#define ST_STOPPING ECOLINK__V1__INSTANCE_STATUS__INSTANCE_STATUS_STOPPING
#define ST_STOPPED ECOLINK__V1__INSTANCE_STATUS__INSTANCE_STATUS_STOPPED
#define ST_FAILED ECOLINK__V1__INSTANCE_STATUS__INSTANCE_STATUS_FAILED

typedef Ecolink__V1__TerminationReason termination_reason;
#define TR_NONE ECOLINK__V1__TERMINATION_REASON__TERMINATION_REASON_UNSPECIFIED
#define TR_USER_REQUESTED ECOLINK__V1__TERMINATION_REASON__TERMINATION_REASON_USER_REQUESTED
#define TR_CREDIT_DEPLETED ECOLINK__V1__TERMINATION_REASON__TERMINATION_REASON_CREDIT_DEPLETED
#define TR_STARTUP_FAILED ECOLINK__V1__TERMINATION_REASON__TERMINATION_REASON_STARTUP_FAILED
#define TR_CRASH_LOOP ECOLINK__V1__TERMINATION_REASON__TERMINATION_REASON_CRASH_LOOP
#define TR_CAPACITY_LOST ECOLINK__V1__TERMINATION_REASON__TERMINATION_REASON_CAPACITY_LOST
#define TR_ADMIN ECOLINK__V1__TERMINATION_REASON__TERMINATION_REASON_ADMIN

typedef Ecolink__V1__ReplicaStatus replica_status;
#define RS_PENDING ECOLINK__V1__REPLICA_STATUS__REPLICA_STATUS_PENDING
#define RS_STARTING ECOLINK__V1__REPLICA_STATUS__REPLICA_STATUS_STARTING
#define RS_READY ECOLINK__V1__REPLICA_STATUS__REPLICA_STATUS_READY
#define RS_BACKOFF ECOLINK__V1__REPLICA_STATUS__REPLICA_STATUS_BACKOFF
#define RS_STOPPING ECOLINK__V1__REPLICA_STATUS__REPLICA_STATUS_STOPPING
#define RS_STOPPED ECOLINK__V1__REPLICA_STATUS__REPLICA_STATUS_STOPPED

typedef struct replica_row {
  int id;
  char region[SCHED_REGION_MAX];
  int64_t version;
  replica_status status;
  char detail[SCHED_DETAIL_MAX];
  int64_t generation;  // wanted; the driver replaces a lower one
  int64_t rolled;      // the instance's generation that this replica has reached
  int attempts;        // deadlines missed in a row beside a running sibling
  bool crash_looping;
  char run_id[REPLICA_RUN_ID_MAX];
  char host[REPLICA_HOST_MAX];
  int port;
  int restarts;
  bool ready;
  int64_t ready_changed_us;  // when it became Ready, or ceased to be
  int64_t steady_at_us;
  int64_t attempt_began_us;
  int best_phase;
  bool reserved;
  bool gone;
  // the open Ready interval; started 0: none is open
  int64_t interval_started_us;
  char interval_run_id[REPLICA_RUN_ID_MAX];
  char token[ECO_ID_MAX];  // what its callers send; "": its engine takes none
  bool dirty;
} replica_row;

typedef struct instance_row {
  int64_t id;
  int64_t version;
  const char *account_id;
  const char *name;
  const char *served_name;
  const char *model_id;
  const char *platform_model;
  int category;
  instance_status status;
  char detail[SCHED_DETAIL_MAX];
  termination_reason reason;
  char launch_state[16];
  const char *idem_scope;
  bool openai_compatible;
  const char *custom_api_path;
  const char *engine;
  const char *image;
  const char *health_path;
  bool lists_models;
  const char *gpu_type;
  int gpu_count;
  int total_replicas;
  int64_t hourly_rate_micros;
  int startup_deadline_s;
  int drain_s;
  int64_t generation;
  int startup_estimate_s;  // 0: nothing is known
  int64_t startup_began_us;
  int64_t progress_at_us;
  int64_t hold_cycle;
  int64_t hold_amount_micros;
  int64_t hold_expires_at_us;
  int64_t event_count;
  int64_t created_at_us;
  int64_t running_at_us;
  int64_t stop_requested_at_us;
  int64_t charge_end_us;
  int64_t stopped_at_us;
  int replica_count;
  replica_row replicas[SCHED_REPLICAS_MAX];
  bool dirty;
} instance_row;

static inline bool instance_is_live(const instance_row *inst) {
  return inst->status == ST_PENDING || inst->status == ST_PROVISIONING || inst->status == ST_RUNNING ||
         inst->status == ST_STOPPING;
}

static inline bool instance_is_routed(const instance_row *inst) {
  return inst->status == ST_PENDING || inst->status == ST_PROVISIONING || inst->status == ST_RUNNING;
}

static inline int instance_ready_count(const instance_row *inst) {
  int n = 0;
  for (int i = 0; i < inst->replica_count; i++) {
    n += inst->replicas[i].ready ? 1 : 0;
  }
  return n;
}

#endif
