// Leases: rows (name, holder, epoch, expiry by the database's clock). One thread renews what this process holds and
// asks for what it wants. A lease counts as held for 2/3 of its term from before the statement was sent, by
// CLOCK_BOOTTIME: a paused process stops believing before anybody else may take over.
#include <stdlib.h>
#include <string.h>

#include "ecolink/clock.h"
#include "ecolink/crash.h"
#include "ecolink/log.h"
#include "kit.h"

enum { LEASES_MAX = 256, LEASE_NAME_MAX = 96 };  // one per region (128) and periodic task

typedef struct lease_slot {
  char name[LEASE_NAME_MAX];
  int64_t epoch;
  int64_t valid_until_ms;  // boot time; 0: not held
} lease_slot;

struct kit_leases {
  eco_service *svc;
  pthread_t thread;
  pthread_mutex_t lock;
  int count;
  lease_slot slots[LEASES_MAX];  // guarded by lock; slots are never removed
};

static const char SQL_ACQUIRE[] =
    "INSERT INTO leases (name, holder, epoch, expires_at)"
    " VALUES ($1, $2, 1, clock_timestamp() + $3::bigint * interval '1 millisecond')"
    " ON CONFLICT (name) DO UPDATE SET holder = excluded.holder, expires_at = excluded.expires_at,"
    "   epoch = leases.epoch + CASE WHEN leases.holder = excluded.holder THEN 0 ELSE 1 END"
    " WHERE leases.holder = excluded.holder OR leases.expires_at < clock_timestamp()"
    " RETURNING epoch";
static const char SQL_RELEASE[] =
    "UPDATE leases SET expires_at = clock_timestamp() - interval '1 second' WHERE holder = $1";
static const char SQL_CHECK[] = "SELECT 1 FROM leases WHERE name = $1 AND epoch = $2 FOR SHARE";

static eco_status acquire(eco_service *svc, const char *name, int64_t *epoch) {
  eco_tx *tx = NULL;
  eco_rows *rows;
  *epoch = 0;
  ECO_TRY(eco_tx_begin(svc->db, &tx));
  eco_status st = eco_tx_exec(tx, SQL_ACQUIRE, &rows,
                              ECO_PARAMS(eco_p_str(name), eco_p_str(svc->instance), eco_p_i64(svc->set.lease_ttl_ms)));
  if (!eco_ok(st)) {
    eco_tx_rollback(tx);
    return st;
  }
  if (eco_rows_count(rows) == 1) {
    *epoch = eco_row_i64(rows, 0, 0);
  }
  return eco_tx_commit(tx);
}

// Asks once. Without an answer the old belief runs out by itself.
static void refresh(kit_leases *l, int i) {
  char name[LEASE_NAME_MAX];
  pthread_mutex_lock(&l->lock);
  memcpy(name, l->slots[i].name, sizeof name);
  int64_t before = l->slots[i].valid_until_ms;
  pthread_mutex_unlock(&l->lock);
  int64_t asked_ms = eco_boottime_ms();
  int64_t epoch;
  eco_status st = acquire(l->svc, name, &epoch);
  if (!eco_ok(st)) {
    return;
  }
  pthread_mutex_lock(&l->lock);
  l->slots[i].epoch = epoch;
  l->slots[i].valid_until_ms = epoch > 0 ? asked_ms + l->svc->set.lease_ttl_ms * 2 / 3 : 0;
  pthread_mutex_unlock(&l->lock);
  if (epoch > 0 && before == 0) {
    ECO_CRASH_POINT("kit.lease.acquired");
    eco_log(ECO_LOG_INFO, "lease acquired", ECO_F_STR("lease", name), ECO_F_I64("epoch", epoch));
  } else if (epoch == 0 && before != 0) {
    eco_log(ECO_LOG_WARN, "lease lost", ECO_F_STR("lease", name));
  }
}

static void *lease_main(void *arg) {
  kit_leases *l = arg;
  while (!kit_sleep(l->svc, l->svc->set.lease_ttl_ms / 4)) {
    pthread_mutex_lock(&l->lock);
    int n = l->count;
    pthread_mutex_unlock(&l->lock);
    for (int i = 0; i < n && !eco_service_stopping(l->svc); i++) {
      refresh(l, i);
    }
  }
  return NULL;
}

// Index of the slot, made when it is new; -1 when the table is full.
static int slot_of(kit_leases *l, const char *name, bool *made) {
  *made = false;
  for (int i = 0; i < l->count; i++) {
    if (strcmp(l->slots[i].name, name) == 0) {
      return i;
    }
  }
  if (l->count == LEASES_MAX || strlen(name) >= LEASE_NAME_MAX) {
    return -1;
  }
  memcpy(l->slots[l->count].name, name, strlen(name) + 1);
  *made = true;
  return l->count++;
}

bool eco_lease_held(eco_service *svc, const char *name, int64_t *epoch_out) {
  kit_leases *l = svc->leases;
  if (l == NULL || eco_service_stopping(svc)) {
    return false;
  }
  bool made;
  pthread_mutex_lock(&l->lock);
  int i = slot_of(l, name, &made);
  pthread_mutex_unlock(&l->lock);
  if (i < 0) {
    eco_log(ECO_LOG_ERROR, "too many leases", ECO_F_STR("lease", name));
    return false;
  }
  if (made) {
    refresh(l, i);
  }
  pthread_mutex_lock(&l->lock);
  bool held = l->slots[i].valid_until_ms > eco_boottime_ms();
  if (epoch_out != NULL) {
    *epoch_out = l->slots[i].epoch;
  }
  pthread_mutex_unlock(&l->lock);
  return held;
}

eco_status eco_lease_check(eco_tx *tx, const char *name, int64_t epoch) {
  eco_rows *rows;
  ECO_TRY(eco_tx_exec(tx, SQL_CHECK, &rows, ECO_PARAMS(eco_p_str(name), eco_p_i64(epoch))));
  if (eco_rows_count(rows) == 0) {
    return eco_error(ECO_WRONG_STATE, "lease %s is no longer ours", name);
  }
  return eco_success();
}

eco_status kit_leases_start(eco_service *svc) {
  kit_leases *l = calloc(1, sizeof *l);
  if (l == NULL) {
    return eco_error(ECO_INTERNAL, "leases: out of memory");
  }
  l->svc = svc;
  pthread_mutex_init(&l->lock, NULL);
  svc->leases = l;
  kit_thread_start(&l->thread, lease_main, l, "leases");
  return eco_success();
}

static void release_all(eco_service *svc) {
  eco_tx *tx = NULL;
  eco_status st = eco_tx_begin(svc->db, &tx);
  if (eco_ok(st)) {
    st = eco_tx_exec(tx, SQL_RELEASE, NULL, ECO_PARAMS(eco_p_str(svc->instance)));
    if (eco_ok(st)) {
      st = eco_tx_commit(tx);
    } else {
      eco_tx_rollback(tx);
    }
  }
  if (!eco_ok(st)) {
    eco_log(ECO_LOG_WARN, "leases not given back: they run out by themselves", ECO_F_STATUS(st));
  }
}

void kit_leases_stop(eco_service *svc) {
  if (svc->leases == NULL) {
    return;
  }
  pthread_join(svc->leases->thread, NULL);
  release_all(svc);
  pthread_mutex_destroy(&svc->leases->lock);
  free(svc->leases);
  svc->leases = NULL;
}
