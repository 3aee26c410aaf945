// The next start of the scheduler: every record is read, every process it names is held by a pidfd, and goes on as it
// was.
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "driver_process_internal.h"
#include "ecolink/clock.h"
#include "ecolink/crash.h"
#include "ecolink/log.h"

typedef struct adoption {
  process_driver *d;
  eco_status st;
  int adopted;
  int ended;
} adoption;

// The record's wall clock dates become boot time; a clock that was set back must not delay anything for long.
static int64_t boot_time_of(int64_t wall_us, int64_t most_ms) {
  int64_t left_ms = (wall_us - eco_wall_us()) / 1000;
  return eco_boottime_ms() + (left_ms < 0 ? 0 : left_ms > most_ms ? most_ms : left_ms);
}

// It ended while nobody watched: when, is not known; now is the latest it can be.
static void book_unseen_exit(process_replica *r) {
  if (r->record.state == PROCESS_RUNNING) {
    process_record_exit(&r->record, eco_now_us(), eco_wall_us(), 0,
                        "ended with an unknown status while the scheduler was away");
  }
  r->record.state = r->record.state == PROCESS_STOPPING ? PROCESS_EXITED : r->record.state;
  r->restart_at_ms = boot_time_of(r->record.restart_at_us, PROCESS_BACKOFF_MAX_MS);
}

static void adopt_one(void *arg, int64_t instance_id, int replica_id) {
  adoption *a = arg;
  process_driver *d = a->d;
  process_record record;
  if (!eco_ok(a->st)) {
    return;
  }
  eco_status st = process_record_read(&d->paths, instance_id, replica_id, &record);
  if (!eco_ok(st)) {
    eco_log(ECO_LOG_ERROR, "a replica's record cannot be used", ECO_F_I64("instance", instance_id),
            ECO_F_I64("replica", replica_id), ECO_F_STATUS(st));
    return;
  }
  process_replica *r = process_add(d, instance_id, replica_id);
  if (r == NULL) {
    a->st = eco_error(ECO_OVERLOADED, "more than %d replicas are recorded here", PROCESS_REPLICAS_MAX);
    return;
  }
  r->record = record;
  r->started_ms = eco_boottime_ms();
  bool was_live = record.state == PROCESS_RUNNING || record.state == PROCESS_STOPPING;
  r->pidfd = was_live ? process_hold(&record, d->boot_id) : -1;
  if (r->pidfd >= 0) {
    a->adopted++;
    r->term_sent = record.state == PROCESS_STOPPING;
    r->kill_at_ms = boot_time_of(record.kill_at_us, PROCESS_DRAIN_MAX_S * INT64_C(1000));
    st = process_pidfile_write(&d->paths, &record);
    if (!eco_ok(st)) {
      eco_log(ECO_LOG_WARN, "a pid file could not be written", ECO_F_STATUS(st));
    }
    return;
  }
  a->ended++;
  if (was_live && strcmp(record.boot_id, d->boot_id) == 0) {
    process_group_sweep(record.pid);
  }
  process_pidfile_remove(&d->paths, instance_id, replica_id);
  book_unseen_exit(r);
  r->record_dirty = true;
}

static void drop_stale_pidfile(void *arg, int64_t instance_id, int replica_id) {
  process_driver *d = arg;
  if (process_find(d, instance_id, replica_id) == NULL) {
    process_pidfile_remove(&d->paths, instance_id, replica_id);
  }
}

eco_status process_adopt_all(process_driver *d) {
  adoption a = {.d = d, .st = eco_success()};
  ECO_TRY(process_records_each(&d->paths, adopt_one, &a));
  ECO_TRY(a.st);
  ECO_CRASH_POINT("process.adopted");
  ECO_TRY(process_pidfiles_each(&d->paths, drop_stale_pidfile, d));
  if (a.adopted + a.ended > 0) {
    eco_log(ECO_LOG_INFO, "replicas of an earlier run found", ECO_F_I64("live", a.adopted),
            ECO_F_I64("ended", a.ended));
  }
  return eco_success();
}
