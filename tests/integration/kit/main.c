// A service made for testing the kit: it owns named items, publishes each change as an event and a bucket entry, and
// consumes its own events into a copy. Real PostgreSQL, NATS and kit; only the domain is made up.
//   Put(KeyValue) -> KeyValue   writes; value "boom" is refused by a rule, after the row was written
//   Get(KeyValue) -> KeyValue   reads
//   Secret(KeyValue) -> ApiKey  writes; the answer holds a secret
//   Relay(KeyValue) -> KeyValue no transaction: calls Put by RPC
// Without a bus a timer calls nevertheless, and waits: that is where a service may be when it is told to stop.
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "ecolink/bus.h"
#include "ecolink/log.h"
#include "ecolink/service.h"
#include "ecolink/v1/registry.pb-c.h"

extern const eco_migration probe_migrations[];

static const char SQL_PUT[] =
    "INSERT INTO items AS i (name, value, version) VALUES ($1, $2, 1)"
    " ON CONFLICT (name) DO UPDATE SET value = excluded.value, version = i.version + 1 RETURNING version";
static const char SQL_GET[] = "SELECT value FROM items WHERE name = $1";
static const char SQL_PAGE[] =
    "SELECT name, value, version FROM items WHERE name COLLATE \"C\" > $1 ORDER BY name COLLATE \"C\" LIMIT $2";
static const char SQL_COPY[] =
    "INSERT INTO copies AS c (name, value, applied) VALUES ($1, $2, 1)"
    " ON CONFLICT (name) DO UPDATE SET value = excluded.value, applied = c.applied + 1";

static eco_status write_item(eco_ctx *ctx, const Ecolink__V1__KeyValue *item) {
  eco_rows *rows;
  ECO_TRY(eco_tx_exec(ctx->tx, SQL_PUT, &rows, ECO_PARAMS(eco_p_str(item->name), eco_p_str(item->value))));
  int64_t version = eco_row_i64(rows, 0, 0);
  if (strcmp(item->value, "boom") == 0) {
    return eco_error_param(ECO_INVALID_REQUEST, "value", "boom is refused");
  }
  ECO_TRY(eco_event_publish(ctx, ctx->tx, "item.changed", item->name, version, &item->base));
  const ProtobufCMessage *entry = strcmp(item->value, "gone") == 0 ? NULL : &item->base;
  return eco_kv_publish(ctx, ctx->tx, "probe", item->name, version, entry);
}

static eco_status rpc_put(eco_ctx *ctx, const void *request, void *reply) {
  const Ecolink__V1__KeyValue *item = request;
  Ecolink__V1__KeyValue *out = reply;
  out->name = item->name;
  out->value = item->value;
  return write_item(ctx, item);
}

static eco_status rpc_get(eco_ctx *ctx, const void *request, void *reply) {
  const Ecolink__V1__KeyValue *item = request;
  Ecolink__V1__KeyValue *out = reply;
  eco_rows *rows;
  ECO_TRY(eco_tx_exec(ctx->tx, SQL_GET, &rows, ECO_PARAMS(eco_p_str(item->name))));
  if (eco_rows_count(rows) == 0) {
    return eco_error(ECO_NOT_FOUND, "no item %s", item->name);
  }
  out->name = item->name;
  out->value = eco_strdup(ctx->arena, eco_row_str(rows, 0, 0));
  return eco_success();
}

static eco_status rpc_secret(eco_ctx *ctx, const void *request, void *reply) {
  Ecolink__V1__ApiKey *out = reply;
  Ecolink__V1__Secret *secret = eco_alloc(ctx->arena, sizeof *secret);
  ecolink__v1__secret__init(secret);
  secret->value = eco_strdup(ctx->arena, "the-very-secret");
  out->id = ((const Ecolink__V1__KeyValue *)request)->name;
  out->key = secret;
  return write_item(ctx, request);
}

static eco_status rpc_relay(eco_ctx *ctx, const void *request, void *reply) {
  Ecolink__V1__KeyValue *answer = NULL;
  Ecolink__V1__KeyValue *out = reply;
  ECO_TRY(eco_rpc_call(ctx, "probe.Put", request, &ecolink__v1__key_value__descriptor, 3000, &answer));
  out->name = answer->name;
  out->value = answer->value;
  return eco_success();
}

static eco_status call_without_a_bus(eco_ctx *ctx) {
  Ecolink__V1__KeyValue item = ECOLINK__V1__KEY_VALUE__INIT;
  Ecolink__V1__KeyValue *answer = NULL;
  if (eco_bus_connected(ctx->service)) {
    return eco_success();
  }
  return eco_rpc_call(ctx, "probe.Get", &item.base, &ecolink__v1__key_value__descriptor, 30000, &answer);
}

static eco_status on_item(eco_ctx *ctx, const char *verb, const char *entity_id, const void *state) {
  (void)verb;
  const Ecolink__V1__KeyValue *item = state;
  if (strcmp(item->value, "poison") == 0) {
    return eco_error(ECO_INVALID_REQUEST, "poison is refused by the consumer");
  }
  return eco_tx_exec(ctx->tx, SQL_COPY, NULL, ECO_PARAMS(eco_p_str(entity_id), eco_p_str(item->value)));
}

static eco_status item_pages(eco_ctx *ctx, const char *after_id, int limit, eco_rows **rows) {
  return eco_tx_exec(ctx->tx, SQL_PAGE, rows, ECO_PARAMS(eco_p_str(after_id), eco_p_i64(limit)));
}

static Ecolink__V1__KeyValue *item_of(eco_ctx *ctx, const eco_rows *rows, size_t i) {
  Ecolink__V1__KeyValue *item = eco_alloc(ctx->arena, sizeof *item);
  ecolink__v1__key_value__init(item);
  item->name = eco_strdup(ctx->arena, eco_row_str(rows, i, 0));
  item->value = eco_strdup(ctx->arena, eco_row_str(rows, i, 1));
  return item;
}

static eco_status snapshot_items(eco_ctx *ctx, const char *after_id, int limit, eco_snapshot_sink *sink) {
  eco_rows *rows;
  ECO_TRY(item_pages(ctx, after_id, limit, &rows));
  for (size_t i = 0; i < eco_rows_count(rows); i++) {
    Ecolink__V1__KeyValue *item = item_of(ctx, rows, i);
    eco_snapshot_add(sink, item->name, eco_row_i64(rows, i, 2), &item->base);
  }
  return eco_success();
}

static eco_status bucket_items(eco_ctx *ctx, eco_kv_sink *sink) {
  eco_rows *rows;
  ECO_TRY(item_pages(ctx, "", 100000, &rows));
  for (size_t i = 0; i < eco_rows_count(rows); i++) {
    Ecolink__V1__KeyValue *item = item_of(ctx, rows, i);
    if (strcmp(item->value, "gone") != 0) {
      eco_kv_add(sink, item->name, eco_row_i64(rows, i, 2), &item->base);
    }
  }
  return eco_success();
}

static const eco_rpc_def RPCS[] = {
    {"Put", &ecolink__v1__key_value__descriptor, &ecolink__v1__key_value__descriptor, ECO_RPC_WRITE,
     ECO_ALLOW_SERVICE | ECO_ALLOW_OWNER, rpc_put},
    {"Get", &ecolink__v1__key_value__descriptor, &ecolink__v1__key_value__descriptor, ECO_RPC_READ,
     ECO_ALLOW_SERVICE | ECO_ALLOW_TEAM, rpc_get},
    {"Secret", &ecolink__v1__key_value__descriptor, &ecolink__v1__api_key__descriptor, ECO_RPC_WRITE,
     ECO_ALLOW_SERVICE | ECO_ALLOW_OWNER, rpc_secret},
    {"Relay", &ecolink__v1__key_value__descriptor, &ecolink__v1__key_value__descriptor, ECO_RPC_MANUAL,
     ECO_ALLOW_SERVICE, rpc_relay},
    {.method = NULL},
};
static const eco_consumer_def CONSUMERS[] = {
    {"probe", "item", &ecolink__v1__key_value__descriptor, true, on_item},
    {.owner = NULL},
};
static const eco_snapshot_def SNAPSHOTS[] = {{"item", snapshot_items}, {.entity = NULL}};
static const eco_kv_def BUCKETS[] = {{"probe", bucket_items}, {.bucket = NULL}};
static const eco_timer_def TIMERS[] = {{"call-without-a-bus", 20, NULL, call_without_a_bus}, {.name = NULL}};
static const char *const CALLS[] = {"probe.Put", "probe.Get", NULL};

static void say_exit_handlers(void) {
  (void)!write(STDERR_FILENO, "exit handlers ran\n", 18);
}

static bool fail_start;
static const eco_setting SETTINGS[] = {
    {.name = "FAIL_START",
     .kind = ECO_SET_BOOL,
     .target = &fail_start,
     .fallback = "false",
     .help = "fails to start when everything that comes before it runs already"},
    ECO_SETTING_END,
};

static eco_status start(eco_service *svc) {
  (void)svc;
  return fail_start && atexit(say_exit_handlers) == 0 ? eco_error(ECO_INTERNAL, "told to fail") : eco_success();
}

static const eco_service_def DEF = {
    .name = "probe",
    .summary = "exercises the service kit in tests",
    .settings = SETTINGS,
    .start = start,
    .migrations = probe_migrations,
    .rpcs = RPCS,
    .consumers = CONSUMERS,
    .snapshots = SNAPSHOTS,
    .kv = BUCKETS,
    .timers = TIMERS,
    .calls = CALLS,
};

int main(int argc, char **argv) {
  return eco_service_main(&DEF, argc, argv);
}
