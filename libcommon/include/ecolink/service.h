// The service kit's front door: a control-plane service is a table, and its main() hands the table to eco_service_main.
//
// The kit brings configuration, logs, the database pool, NATS, outbox relay, inbox, consumers, snapshots, RPC server
// and client, leases, timers, KV publish and repair, dead letters, metrics, /healthz and /readyz, signals and drain.
// Handlers are plain sequential functions on worker threads. No handler makes a call (RPC, HTTP, Kubernetes) inside a
// transaction: intent commits, the call is made with a key derived from the intent, the outcome commits.
#ifndef ECOLINK_SERVICE_H
#define ECOLINK_SERVICE_H

#include <protobuf-c/protobuf-c.h>
#include <stdbool.h>
#include <stdint.h>

#include "ecolink/arena.h"
#include "ecolink/buf.h"
#include "ecolink/config.h"
#include "ecolink/db.h"
#include "ecolink/status.h"
#include "ecolink/v1/common.pb-c.h"

typedef struct eco_service eco_service;

typedef struct eco_caller {
  const char *account_id;  // "" for calls between services
  const char *key_id;
  const char *member_id;
  const char *operator_id;
  Ecolink__V1__Role role;
} eco_caller;

// What a handler gets. Everything in it is borrowed for the length of the call.
typedef struct eco_ctx {
  eco_service *service;
  eco_db *db;
  eco_arena *arena;  // the message's arena: replies are built in it
  eco_tx *tx;        // the message's transaction; NULL for ECO_RPC_MANUAL and for timers
  int64_t now_us;    // business time, read once per message
  const char *request_id;
  const char *trace_id;
  eco_caller caller;
  int64_t deadline_ms;     // on eco_boottime_ms; 0: none
  const char *idem_scope;  // "" when the call is not replayable
  const uint8_t *idem_hash;
  size_t idem_hash_len;
  bool idem_taken;  // eco_idem_begin found the key taken: the kit waits for that call's answer and gives it
} eco_ctx;

// ---- RPC ----
typedef enum eco_rpc_mode {
  ECO_RPC_READ,    // read-only transaction, rolled back at the end
  ECO_RPC_WRITE,   // one transaction; success commits, failure rolls back; idempotent replay by the kit
  ECO_RPC_MANUAL,  // no transaction: a saga. It calls eco_idem_begin/finish itself inside its transactions
} eco_rpc_mode;

typedef enum eco_allow {  // who may call: checked by the kit before the handler
  ECO_ALLOW_SERVICE = 1,  // another service (no caller role); kept from gateways by NATS permissions
  ECO_ALLOW_OPERATOR = 2,
  ECO_ALLOW_OWNER = 4,
  ECO_ALLOW_MEMBER = 8,
  ECO_ALLOW_INFERENCE = 16,
  ECO_ALLOW_PUBLIC = 32,  // no key at all
  ECO_ALLOW_TEAM = ECO_ALLOW_OWNER | ECO_ALLOW_MEMBER,
} eco_allow;

// The bit of a role; 0 for UNSPECIFIED, which is a service on the bus (no caller role) and nobody at the gateway.
unsigned eco_allow_bit(Ecolink__V1__Role role);

// `request` is the unpacked message, `reply` an initialised message of the row's type whose fields the handler fills
// with arena memory. On failure the reply is ignored.
typedef eco_status (*eco_rpc_fn)(eco_ctx *ctx, const void *request, void *reply);

typedef struct eco_rpc_def {
  const char *method;  // subject ecolink.rpc.<service>.<method>
  const ProtobufCMessageDescriptor *request;
  const ProtobufCMessageDescriptor *reply;
  eco_rpc_mode mode;
  unsigned allow;  // eco_allow bits
  eco_rpc_fn fn;
} eco_rpc_def;

// ---- events consumed: ecolink.evt.<owner>.<entity>.* ----
// `verb` is "" when the state came from the owner's snapshot: handlers act on the state, not on the verb. Runs inside
// ctx->tx together with the inbox row. For a versioned entity it is called with strictly rising versions only.
typedef eco_status (*eco_event_fn)(eco_ctx *ctx, const char *verb, const char *entity_id, const void *state);

typedef struct eco_consumer_def {
  const char *owner;
  const char *entity;
  const ProtobufCMessageDescriptor *state;
  bool snapshot;  // versioned: also pulled from the owner at start, after reconnect and every 5 minutes
  eco_event_fn fn;
} eco_consumer_def;

// ---- snapshots served: pages by ascending entity id ----
typedef struct eco_snapshot_sink eco_snapshot_sink;
void eco_snapshot_add(eco_snapshot_sink *sink, const char *entity_id, int64_t version, const ProtobufCMessage *state);
typedef eco_status (*eco_snapshot_fn)(eco_ctx *ctx, const char *after_id, int limit, eco_snapshot_sink *sink);
typedef struct eco_snapshot_def {
  const char *entity;
  eco_snapshot_fn fn;  // adds at most `limit` entities with id > after_id (bytewise, COLLATE "C"); fewer means the end
} eco_snapshot_def;

// ---- KV buckets owned ----
// Lists what the bucket should hold: used at take-over, reconnect and every 60 s to repair it.
typedef struct eco_kv_sink eco_kv_sink;
// Copies what it is given.
void eco_kv_add(eco_kv_sink *sink, const char *key, int64_t version, const ProtobufCMessage *value);
typedef eco_status (*eco_kv_source_fn)(eco_ctx *ctx, eco_kv_sink *sink);  // ctx->tx is read-only
typedef struct eco_kv_def {
  const char *bucket;
  eco_kv_source_fn source;  // NULL: values are put directly (eco_kv_put), nothing to repair from
} eco_kv_def;

// ---- timers ----
typedef eco_status (*eco_timer_fn)(eco_ctx *ctx);  // ctx->tx is NULL; failures are logged and counted
typedef struct eco_timer_def {
  const char *name;
  int interval_ms;    // from end to start: runs never overlap
  const char *lease;  // run only while this service instance holds the lease; NULL: always
  eco_timer_fn fn;
} eco_timer_def;

typedef struct eco_service_def {
  const char *name;     // "registry": schema, NATS user, prefix of settings, RPC subjects
  const char *summary;  // one line for --help
  const eco_setting *settings;
  const eco_migration *migrations;  // NULL: the service has no database
  const eco_rpc_def *rpcs;          // each table ends with a zeroed row; NULL: none
  const eco_consumer_def *consumers;
  const eco_snapshot_def *snapshots;
  const eco_kv_def *kv;
  const eco_timer_def *timers;
  const char *const
      *calls;  // "registry.AcquireModel": RPCs this service makes; NULL-terminated. NATS rights come from here
  const char *const *publishes;  // event subjects published beside the outbox's (gateway): "gateway.usage.recorded"
  const char *const *reads_kv;   // buckets it watches
  eco_status (*check)(void);     // after loading settings: refuse bad combinations; may be NULL
  eco_status (*start)(eco_service *svc);  // after everything is connected or connecting; may be NULL
  void (*stop)(eco_service *svc);         // on SIGTERM/SIGINT, before the kit closes; bounded by DRAIN_S; may be NULL
  bool (*ready)(eco_service *svc, eco_buf *why);  // further readiness conditions; may be NULL
  bool own_admin;  // `start` starts the admin endpoint: a service that may take its socket over from another process
} eco_service_def;

// Subcommands: (none) runs; `migrate`; `check-config` (--check-config); `nats-permissions` prints the user's NATS
// permissions as JSON {"publish":{"allow":[...]},"subscribe":{"allow":[...]}}; `handlers` prints the tables as JSON;
// --help; --version; --list-crash-points.
int eco_service_main(const eco_service_def *def, int argc, char **argv);

eco_db *eco_service_db(eco_service *svc);
const char *eco_service_instance(const eco_service *svc);  // unique name of this process: "<service>-<host>-<random>"
bool eco_service_stopping(const eco_service *svc);
// ---- with own_admin ----
bool eco_service_admin_fits(const eco_service *svc, int fd);  // whether it is bound to ADMIN_LISTEN
// On the socket `fd`, which becomes the endpoint's own; -1: on ADMIN_LISTEN. Within `start`.
ECO_CHECKED eco_status eco_service_admin_start(eco_service *svc, int fd);
int eco_service_admin_fd(const eco_service *svc);  // its socket, to be handed over; borrowed until its end
void eco_service_admin_stop(eco_service *svc);     // before `stop` returns; without it the kit does at the end

// ---- inside handlers: outbox ----
// Both add a row in `tx`, published after its commit, in commit order per entity. The caller holds the entity's row
// lock. type: "<entity>.<verb>", e.g. "model.created" -> subject ecolink.evt.<service>.model.created.
ECO_CHECKED eco_status eco_event_publish(eco_ctx *ctx, eco_tx *tx, const char *type, const char *entity_id,
                                         int64_t version, const ProtobufCMessage *state);
// value NULL deletes the key.
ECO_CHECKED eco_status eco_kv_publish(eco_ctx *ctx, eco_tx *tx, const char *bucket, const char *key, int64_t version,
                                      const ProtobufCMessage *value);
// Puts at once, without the outbox: for observations that are worthless later (health). Version = wall clock in
// microseconds.
ECO_CHECKED eco_status eco_kv_put(eco_service *svc, const char *bucket, const char *key, const ProtobufCMessage *value);
// Publishes an unversioned event straight to JetStream with the given event id (health, gateway: nothing in
// PostgreSQL).
ECO_CHECKED eco_status eco_event_publish_direct(eco_service *svc, const char *type, const char *event_id,
                                                const char *entity_id, const ProtobufCMessage *state);

// ---- inside handlers: idempotency for ECO_RPC_MANUAL ----
// Inserts the `running` record in the saga's first transaction. `scope` may be stored with the intent for recovery.
ECO_CHECKED eco_status eco_idem_begin(eco_ctx *ctx, eco_tx *tx);
// Stores the final answer in the saga's last transaction (secrets stripped). Transient failures remove the record
// instead.
ECO_CHECKED eco_status eco_idem_finish(eco_tx *tx, const char *scope, eco_status outcome,
                                       const ProtobufCMessage *reply);

// ---- RPC client: blocking, from worker or timer threads, never inside a transaction ----
// method: "registry.AcquireModel". The reply is unpacked into the arena. `ctx` gives request and trace id. No
// responders or no answer in time: CONTROL_PLANE_UNAVAILABLE. A failure answered by the server comes back as its own
// status.
ECO_CHECKED eco_status eco_rpc_call(eco_ctx *ctx, const char *method, const ProtobufCMessage *request,
                                    const ProtobufCMessageDescriptor *reply_type, int timeout_ms, void *reply_out_ptr);

// ---- leases: rows (name, holder, epoch, expiry by the database's clock) ----
// True while this process holds `name`; asks for it when it does not, renews in the background from then on. The epoch
// grows with each change of holder.
bool eco_lease_held(eco_service *svc, const char *name, int64_t *epoch_out);
// Fails with WRONG_STATE, before anything is written, when the epoch is no longer the lease's. Row-locks the lease FOR
// SHARE, so that a new holder waits for this commit.
ECO_CHECKED eco_status eco_lease_check(eco_tx *tx, const char *name, int64_t epoch);

// A ctx of the caller's own, for threads of a service that are no handlers (a driver's, the probes'). The arena is
// fresh.
eco_ctx *eco_ctx_new(eco_service *svc);
void eco_ctx_free(eco_ctx *ctx);

#endif
