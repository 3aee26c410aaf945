// The outbox's publishing side. One thread; only the holder of lease "relay" works. It takes unpublished rows by
// sequence (no cursor, so nothing that commits late is skipped), publishes, and deletes after the acknowledgement. A
// second publication after a crash in between is absorbed by Nats-Msg-Id, inbox and versions. The same thread repairs
// the KV buckets, so that a repair never races with a publication.
#include <libpq-fe.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>

#include "db_internal.h"
#include "ecolink/clock.h"
#include "ecolink/crash.h"
#include "ecolink/log.h"
#include "ecolink/metrics.h"
#include "kit.h"
#include "kv_epoch.h"

enum {
  RELAY_BATCH = 200,
  RELAY_POLL_MS = 1000,
  RELAY_BACKOFF_MS = 300,
  RELAY_REPAIR_MS = 60000,
  RELAY_SWEEP_MS = 600000
};

struct kit_relay {
  eco_service *svc;
  pthread_t thread;
  PGconn *listen;  // LISTENs to the outbox's channel; NULL until connected
  unsigned seen_reconnects;
  int64_t seen_epoch;  // of the lease
  int64_t kv_epoch;    // of the buckets, as the last repair found or left it
  int64_t repair_at_ms;
  int64_t sweep_at_ms;
  eco_metric *published;
  eco_metric *failed;
};

static const char SQL_TAKE[] = "SELECT seq, kind, subject, name, payload FROM outbox ORDER BY seq LIMIT $1";
static const char SQL_DONE[] = "DELETE FROM outbox WHERE seq = $1";
static const char SQL_SWEEP_INBOX[] = "DELETE FROM inbox WHERE at_us < $1";
static const char SQL_SWEEP_IDEMPOTENCY[] = "DELETE FROM idempotency WHERE created_us < $1";

static eco_status publish_event(eco_service *svc, const char *subject, const char *id, const void *p, size_t n) {
  jsPubOptions opts;
  jsPubOptions_Init(&opts);
  opts.MsgId = id;
  natsStatus s = js_Publish(NULL, svc->js, subject, p, (int)n, &opts, NULL);
  if (s == NATS_NO_RESPONDERS) {
    ECO_TRY(kit_ensure_stream(svc));
    s = js_Publish(NULL, svc->js, subject, p, (int)n, &opts, NULL);
  }
  return s == NATS_OK ? eco_success() : kit_nats_error(s, subject);
}

// One unpublished row, copied out of its transaction: no call is made while one is open.
typedef struct relay_row {
  int64_t seq;
  int64_t kind;
  const char *subject;
  const char *name;
  uint8_t *payload;
  size_t len;
} relay_row;

static eco_status take_rows(eco_service *svc, eco_arena *arena, relay_row **out, size_t *count) {
  eco_tx *tx = NULL;
  eco_rows *rows;
  *count = 0;
  ECO_TRY(eco_tx_begin(svc->db, &tx));
  eco_status st = eco_tx_exec(tx, SQL_TAKE, &rows, ECO_PARAMS(eco_p_i64(RELAY_BATCH)));
  if (eco_ok(st)) {
    *count = eco_rows_count(rows);
    *out = eco_alloc_array(arena, *count + 1, sizeof **out);
    for (size_t i = 0; i < *count; i++) {
      relay_row *r = &(*out)[i];
      r->seq = eco_row_i64(rows, i, 0);
      r->kind = eco_row_i64(rows, i, 1);
      r->subject = eco_strdup(arena, eco_row_str(rows, i, 2));
      r->name = eco_strdup(arena, eco_row_str(rows, i, 3));
      eco_row_bytes(rows, i, 4, arena, &r->payload, &r->len);
    }
  }
  eco_tx_rollback(tx);
  return st;
}

// The row's version is put under the epoch of the buckets.
static eco_status put_row(eco_service *svc, eco_arena *arena, const relay_row *r, int64_t epoch) {
  Ecolink__V1__KvEntry *entry = ecolink__v1__kv_entry__unpack(eco_arena_pb(arena), r->len, r->payload);
  if (entry == NULL) {
    return eco_error(ECO_INTERNAL, "outbox row %lld holds no entry of a bucket", (long long)r->seq);
  }
  entry->version = kv_version(epoch, entry->version);
  entry->outbox_seq = r->seq;
  size_t n = ecolink__v1__kv_entry__get_packed_size(entry);
  uint8_t *packed = eco_alloc(arena, n + 1);
  ecolink__v1__kv_entry__pack(entry, packed);
  return kit_kv_put_raw(svc, r->subject, r->name, packed, n);
}

static eco_status publish_row(eco_service *svc, eco_arena *arena, const relay_row *r, int64_t kv_epoch) {
  return r->kind == 1 ? publish_event(svc, r->subject, r->name, r->payload, r->len) : put_row(svc, arena, r, kv_epoch);
}

static eco_status delete_rows(eco_service *svc, const relay_row *rows, size_t n) {
  eco_tx *tx = NULL;
  ECO_TRY(eco_tx_begin(svc->db, &tx));
  for (size_t i = 0; i < n; i++) {
    eco_status st = eco_tx_exec(tx, SQL_DONE, NULL, ECO_PARAMS(eco_p_i64(rows[i].seq)));
    if (!eco_ok(st)) {
      eco_tx_rollback(tx);
      return st;
    }
  }
  return eco_tx_commit(tx);
}

// Asked before each row: after a pause these rows are another's to publish, and what they say may be old.
static bool still_leads(const kit_relay *r, int64_t epoch) {
  int64_t now = 0;
  return eco_lease_held(r->svc, KIT_RELAY_LEASE, &now) && now == epoch;
}

// Publishes one batch in order, stopping at the first failure. *more tells that there may be further rows.
static eco_status relay_batch(kit_relay *r, eco_arena *arena, int64_t epoch, bool *more) {
  relay_row *rows;
  size_t n;
  *more = false;
  ECO_TRY(take_rows(r->svc, arena, &rows, &n));
  if (n == 0) {
    return eco_success();
  }
  eco_status failure = eco_success();
  size_t published = 0;
  while (published < n && still_leads(r, epoch)) {
    failure = publish_row(r->svc, arena, &rows[published], r->kv_epoch);
    if (!eco_ok(failure)) {
      break;
    }
    ECO_CRASH_POINT("kit.relay.published");
    eco_metric_add(r->published, 1);
    published++;
  }
  if (published > 0) {
    ECO_TRY(delete_rows(r->svc, rows, published));
    ECO_CRASH_POINT("kit.relay.deleted");
  }
  *more = n == RELAY_BATCH;
  return failure;
}

static void listen_open(kit_relay *r) {
  char sql[KIT_NAME_MAX];
  eco_status st = db_connect(r->svc->set.database_url, r->svc->def->name, &r->listen);
  if (!eco_ok(st)) {
    r->listen = NULL;
    return;
  }
  snprintf(sql, sizeof sql, "LISTEN \"eco_outbox_%s\"", r->svc->def->name);
  PGresult *res = PQexec(r->listen, sql);
  if (PQresultStatus(res) != PGRES_COMMAND_OK) {
    PQfinish(r->listen);
    r->listen = NULL;
  }
  PQclear(res);
}

// Waits for a notification or the slow poll. In slices, so that a stop is seen soon.
static void relay_wait(kit_relay *r) {
  if (r->listen == NULL) {
    listen_open(r);
  }
  if (r->listen == NULL) {
    kit_sleep(r->svc, RELAY_POLL_MS);
    return;
  }
  for (int waited = 0; waited < RELAY_POLL_MS && !eco_service_stopping(r->svc); waited += 100) {
    struct pollfd fd = {.fd = PQsocket(r->listen), .events = POLLIN};
    if (poll(&fd, 1, 100) <= 0) {
      continue;
    }
    if (!PQconsumeInput(r->listen)) {
      PQfinish(r->listen);
      r->listen = NULL;
      return;
    }
    PGnotify *note;
    bool woken = false;
    while ((note = PQnotifies(r->listen)) != NULL) {
      PQfreemem(note);
      woken = true;
    }
    if (woken) {
      return;
    }
  }
}

static eco_status sweep(eco_service *svc) {
  int64_t now = eco_now_us();
  eco_tx *tx = NULL;
  ECO_TRY(eco_tx_begin(svc->db, &tx));
  eco_status st = eco_tx_exec(tx, SQL_SWEEP_INBOX, NULL, ECO_PARAMS(eco_p_i64(now - KIT_INBOX_KEEP_S * ECO_US_PER_S)));
  if (eco_ok(st)) {
    st = eco_tx_exec(tx, SQL_SWEEP_IDEMPOTENCY, NULL,
                     ECO_PARAMS(eco_p_i64(now - KIT_IDEMPOTENCY_KEEP_S * ECO_US_PER_S)));
  }
  if (!eco_ok(st)) {
    eco_tx_rollback(tx);
    return st;
  }
  return eco_tx_commit(tx);
}

// Repairs at take-over, after a reconnect and every minute.
static eco_status repair_when_due(kit_relay *r, int64_t epoch) {
  unsigned reconnects = atomic_load(&r->svc->reconnects);
  int64_t now = eco_boottime_ms();
  bool anew = epoch != r->seen_epoch || reconnects != r->seen_reconnects;
  if (!anew && now < r->repair_at_ms) {
    return eco_success();
  }
  ECO_TRY(kit_ensure_stream(r->svc));
  ECO_TRY(kit_kv_repair(r->svc, anew, epoch, &r->kv_epoch));
  r->seen_epoch = epoch;
  r->seen_reconnects = reconnects;
  r->repair_at_ms = now + RELAY_REPAIR_MS;
  if (now >= r->sweep_at_ms) {
    r->sweep_at_ms = now + RELAY_SWEEP_MS;
    return sweep(r->svc);
  }
  return eco_success();
}

static eco_status relay_turn(kit_relay *r, bool *more) {
  int64_t epoch;
  *more = false;
  if (!eco_lease_held(r->svc, KIT_RELAY_LEASE, &epoch) || !eco_bus_connected(r->svc)) {
    return eco_success();
  }
  ECO_TRY(repair_when_due(r, epoch));
  eco_arena *arena = eco_arena_new();
  eco_status st = relay_batch(r, arena, epoch, more);
  eco_arena_free(arena);
  return st;
}

static void *relay_main(void *arg) {
  kit_relay *r = arg;
  while (!eco_service_stopping(r->svc)) {
    bool more;
    eco_status st = relay_turn(r, &more);
    if (!eco_ok(st)) {
      eco_metric_add(r->failed, 1);
      eco_log(ECO_LOG_WARN, "outbox relay: trying again", ECO_F_STATUS(st));
      kit_sleep(r->svc, RELAY_BACKOFF_MS);
    } else if (!more) {
      relay_wait(r);
    }
  }
  PQfinish(r->listen);
  nats_ReleaseThreadMemory();
  return NULL;
}

eco_status kit_relay_start(eco_service *svc) {
  kit_relay *r = calloc(1, sizeof *r);
  if (r == NULL) {
    return eco_error(ECO_INTERNAL, "relay: out of memory");
  }
  *r = (kit_relay){.svc = svc, .seen_epoch = -1};
  r->published = eco_counter("ecolink_outbox_published_total", "Outbox rows published", NULL);
  r->failed = eco_counter("ecolink_outbox_failures_total", "Failed relay turns", NULL);
  svc->relay = r;
  kit_thread_start(&r->thread, relay_main, r, "relay");
  return eco_success();
}

void kit_relay_stop(eco_service *svc) {
  if (svc->relay != NULL) {
    pthread_join(svc->relay->thread, NULL);
    free(svc->relay);
    svc->relay = NULL;
  }
}
