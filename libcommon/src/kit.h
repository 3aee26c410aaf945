// Inside of the service kit: what its files share. Services include ecolink/service.h, never this.
//
//   service.c       main(), settings, life cycle         outbox.c      rows written by handlers
//   bus.c           NATS connection, stream, buckets     relay.c       outbox -> NATS, by the holder of lease "relay"
//   rpc_server.c    queue, workers, dispatch             kv_repair.c   bucket against table, by the same thread
//   rpc_client.c    blocking calls                       consumer.c    events and snapshots -> handlers
//   rpc_async.c     calls with a callback (gateway)      lease.c       leases and their renewal
//   idempotency.c   replay of answers                    timer.c       periodic work
//   kv_reader.c     a bucket kept in step                dead_letter.c what could not be applied
//   db_pulse.c      whether the database answers
#ifndef ECOLINK_KIT_H
#define ECOLINK_KIT_H

#include <nats/nats.h>
#include <pthread.h>
#include <stdatomic.h>

#include "ecolink/bus.h"
#include "ecolink/pace.h"
#include "ecolink/service.h"

enum {
  KIT_NAME_MAX = 128,
  KIT_SUBJECT_MAX = 256,
  KIT_REPLY_MAX = 512 * 1024,        // RPC replies; lists and snapshots are paged
  KIT_STREAM_MAX_AGE_S = 7 * 86400,  // JetStream keeps events this long ...
  KIT_INBOX_KEEP_S = 8 * 86400,      // ... and the inbox a day longer
  KIT_IDEMPOTENCY_KEEP_S = 86400,
  KIT_KV_BUCKETS_MAX = 8,
};
#define KIT_STREAM "ECOLINK"
#define KIT_EVENTS_OF "ecolink.evt.%s.%s.*"  // one owner's events of one entity
#define KIT_RELAY_LEASE "relay"
#define KIT_GENERATION_KEY "_generation"

typedef struct kit_settings {
  const char *admin_listen;
  const char *database_url;
  const char *migrate_database_url;
  int64_t db_max_connections;
  const char *nats_url;
  const char *nats_user;
  const char *nats_password;
  const char *log_format;
  const char *log_level;
  int64_t workers;
  int64_t drain_s;
  bool core_dumps;
  int64_t lease_ttl_ms;
  int64_t rpc_timeout_ms;
} kit_settings;

typedef struct kit_lease kit_lease;
typedef struct kit_rpc_server kit_rpc_server;
typedef struct kit_rpc_async kit_rpc_async;
typedef struct kit_consumer kit_consumer;
typedef struct kit_timer kit_timer;
typedef struct kit_relay kit_relay;
typedef struct kit_leases kit_leases;
typedef struct kit_db_pulse kit_db_pulse;
struct eco_admin_http;

typedef struct kit_kv_handle {
  const char *bucket;
  kvStore *kv;  // NULL until opened; dropped after an error
} kit_kv_handle;

struct eco_service {
  const eco_service_def *def;
  kit_settings set;
  char instance[KIT_NAME_MAX];
  atomic_bool started;  // every part is up and the server has seen our subscriptions; not ready before
  eco_pace pace;        // of every kit thread that sleeps; ends at the stop

  eco_db *db;  // NULL when the service has no database
  kit_db_pulse *db_pulse;

  natsConnection *nc;  // these two change where a connection is made anew: kit_bus_hold()
  jsCtx *js;
  pthread_rwlock_t bus_lock;
  atomic_bool bus_given_up;  // by the library; the renewer looks
  pthread_t bus_renewer;     // when `renews`
  bool renews;
  atomic_uint reconnects;  // grows with each (re)connect; threads compare with what they saw
  atomic_uint silences;    // likewise with each subscription whose server's heartbeats stay away
  atomic_bool connected;
  atomic_int bus_attempt;  // what became of the connection's first attempt: bus.c
  pthread_mutex_t kv_lock;
  kit_kv_handle kv[KIT_KV_BUCKETS_MAX];  // guarded by kv_lock; owned buckets

  kit_leases *leases;
  kit_relay *relay;
  kit_rpc_server *rpc_server;
  kit_rpc_async *rpc_async;
  kit_consumer *consumers;
  kit_timer *timers;
  struct eco_admin_http *admin;
  int admin_port;
};

// ---- bus.c ----
ECO_CHECKED eco_status kit_bus_open(eco_service *svc);
// A connection, or one that is tried on in the background; the caller takes both, and then calls kit_bus_connected().
ECO_CHECKED eco_status kit_bus_connect(eco_service *svc, natsConnection **nc, jsCtx **js);
// Tells everybody that svc->nc is connected, when it is.
void kit_bus_connected(eco_service *svc);
// While stopping: a bus that is away is given up, so that whoever waits for an answer from it is told at once.
void kit_bus_give_up_absent(eco_service *svc);
void kit_bus_close(eco_service *svc);
// Ends interest in the subject, waits (a second at most) until nothing is on its way to the subscription, frees it.
void kit_bus_unsubscribe(eco_service *svc, natsSubscription *sub);
eco_status kit_nats_error(natsStatus s, const char *what);
// Creates the event stream when it is not there.
ECO_CHECKED eco_status kit_ensure_stream(eco_service *svc);
// Puts through a cached handle; creates the bucket when it is not there.
ECO_CHECKED eco_status kit_kv_put_raw(eco_service *svc, const char *bucket, const char *key, const void *p, size_t n);
// A handle of the caller's own on an existing or newly made bucket (`create`); the caller destroys it.
ECO_CHECKED eco_status kit_kv_open(eco_service *svc, const char *bucket, bool create, kvStore **out);

// ---- bus_renew.c ----
// In between, svc->nc and svc->js are one connection, though perhaps one that was closed. Not to be nested. For code
// that services without a database use; the others' connection is never made anew.
void kit_bus_hold(eco_service *svc);
void kit_bus_release(eco_service *svc);
void kit_bus_renewer_start(eco_service *svc);
void kit_bus_renewer_stop(eco_service *svc);  // once the service is stopping

// ---- life cycle helpers (service.c) ----
// As its file has it now, when it was given by a file.
ECO_CHECKED eco_status kit_reread_bus_password(eco_service *svc);
// Sleeps up to ms or until the service stops; true when stopping.
bool kit_sleep(eco_service *svc, int64_t ms);
void kit_ctx_init(eco_ctx *ctx, eco_service *svc, eco_arena *arena);
void kit_thread_start(pthread_t *thread, void *(*fn)(void *), void *arg, const char *name);

// ---- db_pulse.c ----
ECO_CHECKED eco_status kit_db_pulse_start(eco_service *svc);
// Whether the database answered within the last seconds; any thread, never blocks. NULL: no.
bool kit_db_pulse_good(const kit_db_pulse *p);
void kit_db_pulse_stop(eco_service *svc);  // once the service is stopping and nobody asks any more

// ---- lease.c ----
ECO_CHECKED eco_status kit_leases_start(eco_service *svc);
void kit_leases_stop(eco_service *svc);  // gives every lease back

// ---- relay.c, kv_repair.c ----
ECO_CHECKED eco_status kit_relay_start(eco_service *svc);
void kit_relay_stop(eco_service *svc);
// epoch_out: of the buckets, which every entry put by the relay must carry (kv_epoch.h).
ECO_CHECKED eco_status kit_kv_repair(eco_service *svc, bool bump_generation, int64_t lease_epoch, int64_t *epoch_out);

// ---- rpc ----
ECO_CHECKED eco_status kit_rpc_server_start(eco_service *svc);
void kit_rpc_server_stop(eco_service *svc);  // finishes what runs, within drain_s
ECO_CHECKED eco_status kit_rpc_async_start(eco_service *svc);
ECO_CHECKED eco_status kit_rpc_async_resubscribe(eco_service *svc);  // to answers, on a connection that was made anew
void kit_rpc_async_stop(eco_service *svc);
// Kit's own methods.
eco_status kit_rpc_snapshot(eco_ctx *ctx, const void *request, void *reply);
eco_status kit_rpc_replay_dead_letters(eco_ctx *ctx, const void *request, void *reply);

// ---- idempotency.c ----
typedef enum kit_idem_found { KIT_IDEM_NEW, KIT_IDEM_REPLAY } kit_idem_found;
// What an earlier call with this scope left behind.
typedef struct kit_idem_answer {
  eco_status status;
  uint8_t *reply;
  size_t reply_len;
} kit_idem_answer;
// ECO_RPC_WRITE: inserts the record inside the handler's transaction, waiting for a concurrent one.
ECO_CHECKED eco_status kit_idem_claim(eco_ctx *ctx, eco_tx *tx, kit_idem_found *found, kit_idem_answer *answer);
// ECO_RPC_MANUAL: looks before the saga starts; waits for a running one until the deadline, then IN_PROGRESS.
ECO_CHECKED eco_status kit_idem_wait(eco_ctx *ctx, kit_idem_found *found, kit_idem_answer *answer);

// ---- consumer.c, dead_letter.c ----
ECO_CHECKED eco_status kit_consumers_start(eco_service *svc);
void kit_consumers_stop(eco_service *svc);
void kit_consumer_name(const eco_service_def *def, const eco_consumer_def *c, char out[KIT_NAME_MAX]);
// Applies one event in a transaction of its own: inbox, version, handler.
ECO_CHECKED eco_status kit_apply(eco_service *svc, const eco_consumer_def *c, const Ecolink__V1__Event *event,
                                 const char *verb);
ECO_CHECKED eco_status kit_dead_letter(eco_service *svc, const eco_consumer_def *c, const char *subject,
                                       const char *entity_id, const char *event_id, const void *payload, size_t len,
                                       const char *error);

// ---- timer.c ----
ECO_CHECKED eco_status kit_timers_start(eco_service *svc);
void kit_timers_stop(eco_service *svc);

// ---- permissions.c ----
void kit_print_nats_permissions(const eco_service_def *def);

// ---- handlers.c ----
void kit_print_handlers(const eco_service_def *def);
// The methods that every service has; ends with a zeroed row.
extern const eco_rpc_def kit_rpcs[];

#endif
