// RPC calls with a callback: one inbox subscription for all of them, a table of those under way, a janitor for
// deadlines.
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "ecolink/clock.h"
#include "ecolink/id.h"
#include "ecolink/log.h"
#include "kit.h"

enum { ASYNC_SLOTS = 4096, ASYNC_SWEEP_MS = 100, ASYNC_PREFIX_MAX = 96 };

typedef struct async_call {
  uint64_t token;  // 0: free. Low bits are the slot: an answer finds its call without a search
  int64_t deadline_ms;
  eco_rpc_done_fn done;
  void *arg;
} async_call;

struct kit_rpc_async {
  eco_service *svc;
  natsSubscription *sub;
  char prefix[ASYNC_PREFIX_MAX];
  pthread_t janitor;
  pthread_mutex_t lock;
  uint64_t next_round;
  size_t hint;                    // where to look for a free slot first
  async_call calls[ASYNC_SLOTS];  // guarded by lock
};

// Takes the call out of the table; false when it was already answered or timed out.
static bool take(kit_rpc_async *a, uint64_t token, async_call *out) {
  async_call *c = &a->calls[token % ASYNC_SLOTS];
  pthread_mutex_lock(&a->lock);
  bool found = token != 0 && c->token == token;
  if (found) {
    *out = *c;
    c->token = 0;
  }
  pthread_mutex_unlock(&a->lock);
  return found;
}

static uint64_t put(kit_rpc_async *a, eco_rpc_done_fn done, void *arg, int timeout_ms) {
  uint64_t token = 0;
  pthread_mutex_lock(&a->lock);
  for (size_t i = 0; i < ASYNC_SLOTS && token == 0; i++) {
    size_t slot = (a->hint + i) % ASYNC_SLOTS;
    if (a->calls[slot].token == 0) {
      token = ++a->next_round * ASYNC_SLOTS + slot;
      a->calls[slot] =
          (async_call){.token = token, .deadline_ms = eco_boottime_ms() + timeout_ms, .done = done, .arg = arg};
      a->hint = slot + 1;
    }
  }
  pthread_mutex_unlock(&a->lock);
  return token;
}

static void deliver(const async_call *c, natsMsg *msg) {
  if (natsMsg_IsNoResponders(msg)) {
    c->done(c->arg,
            eco_error(ECO_CONTROL_PLANE_UNAVAILABLE, "the service that answers this is not running: try again shortly"),
            NULL, 0);
    return;
  }
  eco_arena *arena = eco_arena_new();
  Ecolink__V1__RpcReply *reply = ecolink__v1__rpc_reply__unpack(eco_arena_pb(arena), (size_t)natsMsg_GetDataLength(msg),
                                                                (const uint8_t *)natsMsg_GetData(msg));
  if (reply == NULL) {
    c->done(c->arg, eco_error(ECO_CONTROL_PLANE_UNAVAILABLE, "the service's answer cannot be read"), NULL, 0);
  } else if (reply->status != NULL && reply->status->code[0] != '\0') {
    c->done(
        c->arg,
        eco_error_param(eco_code_from_word(reply->status->code), reply->status->param, "%s", reply->status->message),
        NULL, 0);
  } else {
    c->done(c->arg, eco_success(), reply->body.data, reply->body.len);
  }
  eco_arena_free(arena);
}

static void on_reply(natsConnection *nc, natsSubscription *sub, natsMsg *msg, void *arg) {
  (void)nc;
  (void)sub;
  const char *dot = strrchr(natsMsg_GetSubject(msg), '.');
  async_call call;
  if (dot != NULL && take(arg, strtoull(dot + 1, NULL, 10), &call)) {
    deliver(&call, msg);
  }
  natsMsg_Destroy(msg);
}

static void expire(kit_rpc_async *a, bool all) {
  int64_t now = eco_boottime_ms();
  for (size_t i = 0; i < ASYNC_SLOTS; i++) {
    pthread_mutex_lock(&a->lock);
    uint64_t token = a->calls[i].token != 0 && (all || a->calls[i].deadline_ms <= now) ? a->calls[i].token : 0;
    pthread_mutex_unlock(&a->lock);
    async_call call;
    if (token != 0 && take(a, token, &call)) {
      call.done(call.arg,
                eco_error(ECO_CONTROL_PLANE_UNAVAILABLE, "no answer in time: the request may still take effect"), NULL,
                0);
    }
  }
}

static void *janitor_main(void *arg) {
  kit_rpc_async *a = arg;
  while (!kit_sleep(a->svc, ASYNC_SWEEP_MS)) {
    expire(a, false);
  }
  return NULL;
}

void eco_rpc_call_async(eco_service *svc, const char *method, const Ecolink__V1__RequestContext *context,
                        const uint8_t *request, size_t request_len, int timeout_ms, eco_rpc_done_fn done, void *arg) {
  kit_rpc_async *a = svc->rpc_async;
  if (!eco_bus_connected(svc)) {
    done(arg, eco_error(ECO_CONTROL_PLANE_UNAVAILABLE, "the message bus is not reachable: try again shortly"), NULL, 0);
    return;
  }
  uint64_t token = put(a, done, arg, timeout_ms);
  if (token == 0) {
    done(arg, eco_error(ECO_OVERLOADED, "%d management requests are under way: try again shortly", ASYNC_SLOTS), NULL,
         0);
    return;
  }
  Ecolink__V1__RequestContext with_deadline = *context;
  with_deadline.deadline_us = eco_wall_us() + (int64_t)timeout_ms * 1000;
  Ecolink__V1__RpcRequest envelope = ECOLINK__V1__RPC_REQUEST__INIT;
  envelope.context = &with_deadline;
  envelope.body.data = (uint8_t *)(uintptr_t)request;  // only read while packing
  envelope.body.len = request_len;
  eco_arena *arena = eco_arena_new();
  size_t n = ecolink__v1__rpc_request__get_packed_size(&envelope);
  uint8_t *packed = eco_alloc(arena, n + 1);
  ecolink__v1__rpc_request__pack(&envelope, packed);
  char subject[KIT_SUBJECT_MAX];
  char reply_to[KIT_SUBJECT_MAX];
  snprintf(subject, sizeof subject, "ecolink.rpc.%s", method);
  snprintf(reply_to, sizeof reply_to, "%s.%" PRIu64, a->prefix, token);
  natsStatus s = natsConnection_PublishRequest(svc->nc, subject, reply_to, packed, (int)n);
  eco_arena_free(arena);
  async_call call;
  if (s != NATS_OK && take(a, token, &call)) {
    call.done(call.arg, kit_nats_error(s, "send the request"), NULL, 0);
  }
}

eco_status kit_rpc_async_start(eco_service *svc) {
  kit_rpc_async *a = calloc(1, sizeof *a);
  if (a == NULL) {
    return eco_error(ECO_INTERNAL, "RPC client: out of memory");
  }
  a->svc = svc;
  pthread_mutex_init(&a->lock, NULL);
  svc->rpc_async = a;
  char unique[ECO_ID_MAX];
  char subject[ASYNC_PREFIX_MAX + 4];
  eco_id_new("rpc", unique);
  snprintf(a->prefix, sizeof a->prefix, "_INBOX_%s.%s", svc->def->name, unique);
  snprintf(subject, sizeof subject, "%s.*", a->prefix);
  natsStatus s = natsConnection_Subscribe(&a->sub, svc->nc, subject, on_reply, a);
  if (s != NATS_OK) {
    return kit_nats_error(s, "subscribe to answers");
  }
  kit_thread_start(&a->janitor, janitor_main, a, "rpc-janitor");
  return eco_success();
}

void kit_rpc_async_stop(eco_service *svc) {
  kit_rpc_async *a = svc->rpc_async;
  if (a == NULL) {
    return;
  }
  pthread_join(a->janitor, NULL);
  natsSubscription_Drain(a->sub);
  natsSubscription_WaitForDrainCompletion(a->sub, 2000);
  natsSubscription_Destroy(a->sub);
  expire(a, true);
  pthread_mutex_destroy(&a->lock);
  free(a);
  svc->rpc_async = NULL;
}
