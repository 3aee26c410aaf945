// Fuzzes every message as a service receives it: RPC requests through the kit's dispatch, events through its inbox,
// into the handlers themselves, table by table (messages/tables.h). The database and the neighbours are made up
// (messages/world.h). Whatever comes in, each request has one readable answer, and no transaction is left open.
//
// Input: [service and kind][row of its table][caller's role][seed, 2 bytes][message]
#include <stdlib.h>
#include <string.h>

#include "ecolink/id.h"
#include "ecolink/log.h"
#include "ecolink/seal.h"
#include "kit.h"
#include "messages/tables.h"
#include "messages/world.h"
#include "rpc_handle.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { SERVICES = 4, HEAD = 5, ROLES = 5 };

static const eco_service_def *captured;
static eco_service services[SERVICES];

const eco_service_def *table_capture(int (*service_main)(int, char **), const eco_service_def *def) {
  if (def != NULL) {
    captured = def;
  } else if (service_main(0, NULL) != 0) {
    abort();
  }
  return captured;
}

static void require(bool ok) {
  if (!ok) {
    abort();
  }
}

static void load_settings(const eco_service_def *def) {
  const eco_setting *const tables[] = {def->settings, NULL};
  if (def->settings == NULL) {
    return;
  }
  require(eco_ok(eco_config_load(def->name, tables)));
  require(def->check == NULL || eco_ok(def->check()));
}

static void open_services(void) {
  const eco_service_def *const tables[SERVICES] = {table_registry(), table_scheduler(), table_billing(),
                                                   table_health()};
  eco_seal_key public_key;
  eco_seal_key secret_key;
  char text[2 * sizeof public_key + 1];
  eco_seal_keypair(&public_key, &secret_key);
  eco_hex((const uint8_t *)&public_key, sizeof public_key, text);
  (void)setenv("ECOLINK_SCHEDULER_SEAL_PUBLIC_KEY", text, 1);
  eco_hex((const uint8_t *)&secret_key, sizeof secret_key, text);
  (void)setenv("ECOLINK_SCHEDULER_SEAL_SECRET_KEY", text, 1);
  (void)setenv("ECOLINK_SCHEDULER_PUBLIC_URL", "http://127.0.0.1", 1);
  eco_log_init("fuzz", ECO_LOG_JSON, (eco_log_level)(ECO_LOG_ERROR + 1));
  for (int i = 0; i < SERVICES; i++) {
    services[i] = (eco_service){.def = tables[i]};
    load_settings(tables[i]);
  }
}

static size_t count_rpcs(const eco_service_def *def) {
  size_t n = 0;
  while (def->rpcs[n].method != NULL) {
    n++;
  }
  return n;
}

static size_t count_consumers(const eco_service_def *def) {
  size_t n = 0;
  while (def->consumers != NULL && def->consumers[n].owner != NULL) {
    n++;
  }
  return n;
}

static void check_answer(const uint8_t *answer, size_t len, const ProtobufCMessageDescriptor *type) {
  Ecolink__V1__RpcReply *reply = ecolink__v1__rpc_reply__unpack(NULL, len, answer);
  require(reply != NULL && reply->status != NULL);
  if (reply->status->code[0] == '\0') {
    ProtobufCMessage *body = protobuf_c_message_unpack(type, NULL, reply->body.len, reply->body.data);
    require(body != NULL);
    protobuf_c_message_free_unpacked(body, NULL);
  } else {
    require(eco_code_word(eco_code_from_word(reply->status->code)) != NULL);
  }
  ecolink__v1__rpc_reply__free_unpacked(reply, NULL);
}

static void call(eco_service *svc, const eco_rpc_def *def, uint8_t role, const uint8_t *p, size_t n, eco_arena *arena) {
  static const Ecolink__V1__Role AS[ROLES] = {ECOLINK__V1__ROLE__ROLE_UNSPECIFIED, ECOLINK__V1__ROLE__ROLE_OWNER,
                                              ECOLINK__V1__ROLE__ROLE_MEMBER, ECOLINK__V1__ROLE__ROLE_INFERENCE,
                                              ECOLINK__V1__ROLE__ROLE_OPERATOR};
  Ecolink__V1__Caller caller = ECOLINK__V1__CALLER__INIT;
  Ecolink__V1__RequestContext context = ECOLINK__V1__REQUEST_CONTEXT__INIT;
  Ecolink__V1__RpcRequest envelope = ECOLINK__V1__RPC_REQUEST__INIT;
  caller.role = AS[role % ROLES];
  caller.account_id = (char *)(caller.role == ECOLINK__V1__ROLE__ROLE_OPERATOR ? "" : "acc_0123456789");
  caller.operator_id = (char *)(caller.role == ECOLINK__V1__ROLE__ROLE_OPERATOR ? "op_0123456789" : "");
  context.request_id = (char *)"req";
  context.http_method = (char *)"POST";
  context.http_path = (char *)"/fuzz";
  context.idempotency_key = (char *)(role & 128 ? "key" : "");
  context.idempotency_hash = (ProtobufCBinaryData){.data = (uint8_t *)"hash", .len = 4};
  context.caller = &caller;
  envelope.context = &context;
  envelope.body = (ProtobufCBinaryData){.data = (uint8_t *)p, .len = n};
  uint8_t *packed = eco_alloc(arena, ecolink__v1__rpc_request__get_packed_size(&envelope) + 1);
  const size_t packed_len = ecolink__v1__rpc_request__pack(&envelope, packed);
  size_t out_len = 0;
  uint8_t *out = rpc_handle(svc, arena, def->method, packed, packed_len, &out_len);
  check_answer(out, out_len, def->reply);
}

// The envelope itself is the input.
static void call_raw(eco_service *svc, const eco_rpc_def *def, const uint8_t *p, size_t n, eco_arena *arena) {
  size_t out_len = 0;
  uint8_t *out = rpc_handle(svc, arena, def->method, p, n, &out_len);
  check_answer(out, out_len, def->reply);
}

static void deliver(eco_service *svc, const eco_consumer_def *def, uint8_t how, const uint8_t *p, size_t n) {
  Ecolink__V1__Event event = ECOLINK__V1__EVENT__INIT;
  event.id = (char *)(how & 1 ? "event" : "");
  event.entity_id = (char *)(how & 2 ? "7" : how & 4 ? "7-1" : "acc_00000000000000000000000000");
  event.entity_version = how >> 3;
  event.state = (ProtobufCBinaryData){.data = (uint8_t *)p, .len = n};
  const eco_status st = kit_apply(svc, def, &event, how & 1 ? "changed" : "");
  require(eco_ok(st) || eco_code_word(st.code) != NULL);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  static bool ready;
  if (!ready) {
    open_services();
    ready = true;
  }
  if (size < HEAD) {
    return 0;
  }
  eco_service *svc = &services[data[0] % SERVICES];
  const uint8_t *message = data + HEAD;
  const size_t n = size - HEAD;
  world_begin((uint64_t)data[3] << 8 | data[4]);
  eco_arena *arena = eco_arena_new();
  const size_t consumers = count_consumers(svc->def);
  if (data[0] & 64 && consumers > 0) {
    deliver(svc, &svc->def->consumers[data[1] % consumers], data[2], message, n);
  } else {
    const eco_rpc_def *def = &svc->def->rpcs[data[1] % count_rpcs(svc->def)];
    if (data[0] & 128) {
      call_raw(svc, def, message, n, arena);
    } else {
      call(svc, def, data[2], message, n, arena);
    }
  }
  world_end();
  eco_arena_free(arena);
  return 0;
}
