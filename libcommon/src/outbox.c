// The outbox's writing side: a handler decides, the row goes into its transaction, the relay publishes after the
// commit.
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "ecolink/clock.h"
#include "ecolink/crash.h"
#include "ecolink/id.h"
#include "kit.h"

enum { OUTBOX_EVENT = 1, OUTBOX_KV = 2, OUTBOX_NAME_MAX = 200, OUTBOX_PAYLOAD_MAX = 900 * 1024 };

static const char SQL_ADD[] =
    "INSERT INTO outbox (kind, subject, name, payload, created_us) VALUES ($1, $2, $3, $4, $5)";
static const char SQL_NOTIFY[] = "SELECT pg_notify('eco_outbox_' || current_schema(), '')";

// What the bus would refuse for ever must not enter the outbox: it would block everything behind it.
static bool key_is_publishable(const char *key) {
  size_t n = strlen(key);
  static const char allowed[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-/_=.";
  return n > 0 && n <= OUTBOX_NAME_MAX && strspn(key, allowed) == n && key[0] != '.' && key[n - 1] != '.';
}

static eco_status add_row(eco_ctx *ctx, eco_tx *tx, int kind, const char *subject, const char *name,
                          const void *payload, size_t len) {
  if (len > OUTBOX_PAYLOAD_MAX || !key_is_publishable(name) || !key_is_publishable(subject)) {
    return eco_error(ECO_INTERNAL, "%s %.64s (%zu bytes) cannot be published", subject, name, len);
  }
  ECO_TRY(eco_tx_exec(tx, SQL_ADD, NULL,
                      ECO_PARAMS(eco_p_i64(kind), eco_p_str(subject), eco_p_str(name), eco_p_bytes(payload, len),
                                 eco_p_i64(ctx->now_us))));
  return eco_tx_exec(tx, SQL_NOTIFY, NULL, ECO_NO_PARAMS);
}

static void pack(eco_arena *arena, const ProtobufCMessage *m, uint8_t **out, size_t *len) {
  *len = protobuf_c_message_get_packed_size(m);
  *out = eco_alloc(arena, *len + 1);
  protobuf_c_message_pack(m, *out);
}

// Packs the envelope around a state. Strings are borrowed for the call.
static void pack_event(eco_ctx *ctx, const char *id, const char *type, const char *entity_id, int64_t version,
                       const ProtobufCMessage *state, uint8_t **out, size_t *len) {
  Ecolink__V1__Event event = ECOLINK__V1__EVENT__INIT;
  event.id = eco_strdup(ctx->arena, id);
  event.type = eco_strdup(ctx->arena, type);
  event.entity_id = eco_strdup(ctx->arena, entity_id);
  event.entity_version = version;
  event.occurred_at_us = ctx->now_us;
  event.request_id = eco_strdup(ctx->arena, ctx->request_id);
  event.trace_id = eco_strdup(ctx->arena, ctx->trace_id);
  pack(ctx->arena, state, &event.state.data, &event.state.len);
  pack(ctx->arena, &event.base, out, len);
}

eco_status eco_event_publish(eco_ctx *ctx, eco_tx *tx, const char *type, const char *entity_id, int64_t version,
                             const ProtobufCMessage *state) {
  char id[ECO_ID_MAX];
  eco_id_new("evt", id);
  uint8_t *packed;
  size_t len;
  pack_event(ctx, id, type, entity_id, version, state, &packed, &len);
  const char *subject = eco_sprintf(ctx->arena, "ecolink.evt.%s.%s", ctx->service->def->name, type);
  return add_row(ctx, tx, OUTBOX_EVENT, subject, id, packed, len);
}

eco_status eco_kv_publish(eco_ctx *ctx, eco_tx *tx, const char *bucket, const char *key, int64_t version,
                          const ProtobufCMessage *value) {
  // A delete is an entry too: its version bars an older value that arrives late. The repair removes it when it is old.
  Ecolink__V1__KvEntry entry = ECOLINK__V1__KV_ENTRY__INIT;
  entry.version = version;
  entry.deleted = value == NULL;
  if (value != NULL) {
    pack(ctx->arena, value, &entry.value.data, &entry.value.len);
  }
  uint8_t *packed;
  size_t len;
  pack(ctx->arena, &entry.base, &packed, &len);
  return add_row(ctx, tx, OUTBOX_KV, bucket, key, packed, len);
}

eco_status eco_kv_put(eco_service *svc, const char *bucket, const char *key, const ProtobufCMessage *value) {
  eco_arena *arena = eco_arena_new();
  Ecolink__V1__KvEntry entry = ECOLINK__V1__KV_ENTRY__INIT;
  entry.version = eco_wall_us();
  pack(arena, value, &entry.value.data, &entry.value.len);
  uint8_t *packed;
  size_t len;
  pack(arena, &entry.base, &packed, &len);
  eco_status st = kit_kv_put_raw(svc, bucket, key, packed, len);
  ECO_CRASH_POINT("kit.kv.put_direct");
  eco_arena_free(arena);
  return st;
}

eco_status eco_event_publish_direct(eco_service *svc, const char *type, const char *event_id, const char *entity_id,
                                    const ProtobufCMessage *state) {
  eco_ctx *ctx = eco_ctx_new(svc);
  uint8_t *packed;
  size_t len;
  pack_event(ctx, event_id, type, entity_id, 0, state, &packed, &len);
  const char *subject = eco_sprintf(ctx->arena, "ecolink.evt.%s.%s", svc->def->name, type);
  jsPubOptions opts;
  jsPubOptions_Init(&opts);
  opts.MsgId = event_id;
  kit_bus_hold(svc);
  natsStatus s = js_Publish(NULL, svc->js, subject, packed, (int)len, &opts, NULL);
  eco_status st = s == NATS_OK ? eco_success() : kit_nats_error(s, subject);
  if (s == NATS_NO_RESPONDERS) {
    // No stream takes the subject: JetStream's files may be gone. The caller tries again.
    eco_status made = kit_ensure_stream(svc);
    st = eco_ok(made) ? st : made;
  }
  kit_bus_release(svc);
  eco_ctx_free(ctx);
  if (eco_ok(st)) {
    ECO_CRASH_POINT("kit.event.published_direct");
  }
  return st;
}
