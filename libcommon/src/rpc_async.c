// RPC calls with a callback: one inbox subscription for all of them, a table of those under way, a janitor for
// deadlines, and a sender: a caller may be an event loop, and publishing blocks when the bus hangs without being gone.
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "ecolink/clock.h"
#include "ecolink/id.h"
#include "ecolink/log.h"
#include "kit.h"

enum { ASYNC_SLOTS = 4096, ASYNC_SWEEP_MS = 100, ASYNC_PREFIX_MAX = 96, ASYNC_QUEUE_MAX = 64 * 1024 * 1024 };

typedef struct async_call {
  uint64_t token;  // 0: free. Low bits are the slot: an answer finds its call without a search
  int64_t deadline_ms;
  eco_rpc_done_fn done;
  void *arg;
} async_call;

typedef struct outgoing {
  struct outgoing *next;
  uint64_t token;
  size_t len;
  char subject[KIT_SUBJECT_MAX];
  uint8_t data[];
} outgoing;

struct kit_rpc_async {
  eco_service *svc;
  natsSubscription *sub;
  char prefix[ASYNC_PREFIX_MAX];
  pthread_t janitor;
  pthread_mutex_t lock;
  uint64_t next_round;
  size_t hint;                    // where to look for a free slot first
  async_call calls[ASYNC_SLOTS];  // guarded by lock
  size_t under_way;               // of them; this one, too
  pthread_t sender;
  pthread_cond_t queued;
  outgoing *first;  // these four, too
  outgoing *last;
  size_t queue_bytes;
  bool closing;
};

// Takes the call out of the table; false when it was already answered or timed out.
static bool take(kit_rpc_async *a, uint64_t token, async_call *out) {
  async_call *c = &a->calls[token % ASYNC_SLOTS];
  pthread_mutex_lock(&a->lock);
  bool found = token != 0 && c->token == token;
  if (found) {
    *out = *c;
    c->token = 0;
    a->under_way--;
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
      a->under_way++;
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

// The next call whose time is over, looked for from slot *from on; 0: none.
static uint64_t next_overdue(kit_rpc_async *a, size_t *from, int64_t now_ms, bool all) {
  uint64_t token = 0;
  pthread_mutex_lock(&a->lock);
  for (; token == 0 && a->under_way > 0 && *from < ASYNC_SLOTS; (*from)++) {
    const async_call *c = &a->calls[*from];
    token = all || c->deadline_ms <= now_ms ? c->token : 0;
  }
  pthread_mutex_unlock(&a->lock);
  return token;
}

static void expire(kit_rpc_async *a, bool all) {
  size_t slot = 0;
  int64_t now_ms = eco_boottime_ms();
  for (uint64_t token = 0; (token = next_overdue(a, &slot, now_ms, all)) != 0;) {
    async_call call;
    if (take(a, token, &call)) {
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

// ---- the sender ----

static bool enqueue(kit_rpc_async *a, outgoing *o) {
  pthread_mutex_lock(&a->lock);
  bool fits = !a->closing && a->queue_bytes + o->len <= ASYNC_QUEUE_MAX;
  if (fits) {
    *(a->first == NULL ? &a->first : &a->last->next) = o;
    a->last = o;
    a->queue_bytes += o->len;
    pthread_cond_signal(&a->queued);
  }
  pthread_mutex_unlock(&a->lock);
  return fits;
}

// The next message whose call is still waited for; NULL: closing.
static outgoing *dequeue(kit_rpc_async *a) {
  pthread_mutex_lock(&a->lock);
  while (a->first == NULL && !a->closing) {
    pthread_cond_wait(&a->queued, &a->lock);
  }
  outgoing *o = a->closing ? NULL : a->first;
  if (o != NULL) {
    a->first = o->next;
    a->queue_bytes -= o->len;
  }
  pthread_mutex_unlock(&a->lock);
  return o;
}

static bool still_waited_for(kit_rpc_async *a, uint64_t token) {
  pthread_mutex_lock(&a->lock);
  bool waited = a->calls[token % ASYNC_SLOTS].token == token;
  pthread_mutex_unlock(&a->lock);
  return waited;
}

static void *sender_main(void *arg) {
  kit_rpc_async *a = arg;
  for (outgoing *o = dequeue(a); o != NULL; o = dequeue(a)) {
    char reply_to[KIT_SUBJECT_MAX];
    snprintf(reply_to, sizeof reply_to, "%s.%" PRIu64, a->prefix, o->token);
    kit_bus_hold(a->svc);
    natsStatus s = still_waited_for(a, o->token)
                       ? natsConnection_PublishRequest(a->svc->nc, o->subject, reply_to, o->data, (int)o->len)
                       : NATS_OK;
    kit_bus_release(a->svc);
    async_call call;
    if (s != NATS_OK && take(a, o->token, &call)) {
      call.done(call.arg, kit_nats_error(s, "send the request"), NULL, 0);
    }
    free(o);
  }
  nats_ReleaseThreadMemory();
  return NULL;
}

static void sender_stop(kit_rpc_async *a) {
  pthread_mutex_lock(&a->lock);
  a->closing = true;
  pthread_cond_signal(&a->queued);
  pthread_mutex_unlock(&a->lock);
  pthread_join(a->sender, NULL);
  while (a->first != NULL) {
    outgoing *next = a->first->next;
    free(a->first);
    a->first = next;
  }
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
  size_t n = ecolink__v1__rpc_request__get_packed_size(&envelope);
  outgoing *o = malloc(sizeof *o + n);
  if (o != NULL) {
    *o = (outgoing){.token = token, .len = n};
    snprintf(o->subject, sizeof o->subject, "ecolink.rpc.%s", method);
    ecolink__v1__rpc_request__pack(&envelope, o->data);
  }
  if (o != NULL && enqueue(a, o)) {
    return;
  }
  free(o);
  async_call call;
  if (take(a, token, &call)) {
    call.done(call.arg, eco_error(ECO_OVERLOADED, "too many management requests wait for the bus: try again shortly"),
              NULL, 0);
  }
}

eco_status kit_rpc_async_resubscribe(eco_service *svc) {
  kit_rpc_async *a = svc->rpc_async;
  char subject[ASYNC_PREFIX_MAX + 4];
  snprintf(subject, sizeof subject, "%s.*", a->prefix);
  natsSubscription_Destroy(a->sub);
  a->sub = NULL;
  natsStatus s = natsConnection_Subscribe(&a->sub, svc->nc, subject, on_reply, a);
  return s == NATS_OK ? eco_success() : kit_nats_error(s, "subscribe to answers");
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
  eco_id_new("rpc", unique);
  snprintf(a->prefix, sizeof a->prefix, "_INBOX_%s.%s", svc->def->name, unique);
  ECO_TRY(kit_rpc_async_resubscribe(svc));
  pthread_cond_init(&a->queued, NULL);
  kit_thread_start(&a->sender, sender_main, a, "rpc-sender");
  kit_thread_start(&a->janitor, janitor_main, a, "rpc-janitor");
  return eco_success();
}

void kit_rpc_async_stop(eco_service *svc) {
  kit_rpc_async *a = svc->rpc_async;
  if (a == NULL) {
    return;
  }
  pthread_join(a->janitor, NULL);
  sender_stop(a);
  if (eco_bus_connected(svc)) {
    natsSubscription_Drain(a->sub);
    natsSubscription_WaitForDrainCompletion(a->sub, 2000);
  }
  natsSubscription_Destroy(a->sub);
  expire(a, true);
  pthread_mutex_destroy(&a->lock);
  free(a);
  svc->rpc_async = NULL;
}
