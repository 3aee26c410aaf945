// The RPC server: a NATS queue subscription feeds two bounded queues, worker threads take from them.
// Subject ecolink.rpc.<service>.<Method>, queue group = service; envelope RpcRequest -> RpcReply.
//
// Sagas wait for other services, as long as these take: they have a queue of their own and never all of the workers, so
// that launches which hang keep nobody from reading, stopping or settling.
#include <stdlib.h>
#include <string.h>

#include "ecolink/clock.h"
#include "ecolink/crash.h"
#include "ecolink/log.h"
#include "ecolink/metrics.h"
#include "kit.h"
#include "rpc_handle.h"

enum {
  RPC_QUEUE_MAX = 1024,
  RPC_WORKERS_MAX = 64,
  RPC_RESERVED = 2,  // workers that no saga gets, where there are more than these
};

typedef struct rpc_queue {
  natsMsg *ring[RPC_QUEUE_MAX];
  size_t head, count;
} rpc_queue;

struct kit_rpc_server {
  eco_service *svc;
  natsSubscription *sub;
  pthread_mutex_t lock;
  pthread_cond_t filled;
  rpc_queue quick;  // this and all that follows up to closing: guarded by lock
  rpc_queue sagas;
  int sagas_running;
  int sagas_max;
  bool closing;
  int worker_count;
  pthread_t workers[RPC_WORKERS_MAX];
};

static void reply_bytes(eco_service *svc, const char *subject, const void *p, size_t n) {
  natsStatus s = natsConnection_Publish(svc->nc, subject, p, (int)n);
  if (s != NATS_OK) {
    eco_log(ECO_LOG_WARN, "answer not sent", ECO_F_STR("error", natsStatus_GetText(s)));
  }
}

static void refuse(eco_service *svc, natsMsg *msg) {
  eco_arena *arena = eco_arena_new();
  size_t n;
  uint8_t *packed = rpc_pack_failure(
      arena, eco_error(ECO_OVERLOADED, "%s has %d requests waiting: try again", svc->def->name, RPC_QUEUE_MAX), &n);
  reply_bytes(svc, natsMsg_GetReply(msg), packed, n);
  eco_arena_free(arena);
}

// Who asks names the subject of the answer, and the bus lets a responder publish there whatever its rights are. So a
// caller could have its words published by this service, say to a bucket or to JetStream's API: only inboxes are
// answered.
static bool is_inbox(const char *subject) {
  static const char PREFIX[] = "_INBOX";
  return subject != NULL && strncmp(subject, PREFIX, sizeof PREFIX - 1) == 0;
}

static void on_request(natsConnection *nc, natsSubscription *sub, natsMsg *msg, void *arg) {
  (void)nc;
  (void)sub;
  kit_rpc_server *s = arg;
  if (!is_inbox(natsMsg_GetReply(msg))) {
    if (natsMsg_GetReply(msg) != NULL) {
      eco_log(ECO_LOG_WARN, "request refused: its answer would go to no inbox",
              ECO_F_STR("subject", natsMsg_GetSubject(msg)), ECO_F_STR("reply", natsMsg_GetReply(msg)));
    }
    natsMsg_Destroy(msg);
    return;
  }
  rpc_queue *q = rpc_is_saga(s->svc->def, natsMsg_GetSubject(msg)) ? &s->sagas : &s->quick;
  pthread_mutex_lock(&s->lock);
  bool taken = q->count < RPC_QUEUE_MAX && !s->closing;
  if (taken) {
    q->ring[(q->head + q->count) % RPC_QUEUE_MAX] = msg;
    q->count++;
    pthread_cond_signal(&s->filled);
  }
  pthread_mutex_unlock(&s->lock);
  if (!taken) {
    refuse(s->svc, msg);
    natsMsg_Destroy(msg);
  }
}

static natsMsg *pop(rpc_queue *q) {
  natsMsg *msg = q->ring[q->head];
  q->head = (q->head + 1) % RPC_QUEUE_MAX;
  q->count--;
  return msg;
}

static bool saga_may_begin(const kit_rpc_server *s) {
  return s->sagas.count > 0 && s->sagas_running < s->sagas_max;
}

// The next message, or NULL when the server closes and its queues are empty.
static natsMsg *next_message(kit_rpc_server *s, bool *saga) {
  pthread_mutex_lock(&s->lock);
  while (s->quick.count == 0 && !saga_may_begin(s) && !(s->closing && s->sagas.count == 0)) {
    pthread_cond_wait(&s->filled, &s->lock);
  }
  natsMsg *msg = NULL;
  *saga = false;
  if (s->quick.count > 0) {
    msg = pop(&s->quick);
  } else if (saga_may_begin(s)) {
    msg = pop(&s->sagas);
    *saga = true;
    s->sagas_running++;
  }
  pthread_mutex_unlock(&s->lock);
  return msg;
}

static void saga_ended(kit_rpc_server *s) {
  pthread_mutex_lock(&s->lock);
  s->sagas_running--;
  pthread_cond_broadcast(&s->filled);
  pthread_mutex_unlock(&s->lock);
}

static void *worker_main(void *arg) {
  kit_rpc_server *s = arg;
  bool saga;
  for (natsMsg *msg = next_message(s, &saga); msg != NULL; msg = next_message(s, &saga)) {
    eco_arena *arena = eco_arena_new();
    size_t n;
    uint8_t *packed = rpc_handle(s->svc, arena, natsMsg_GetSubject(msg), (const uint8_t *)natsMsg_GetData(msg),
                                 (size_t)natsMsg_GetDataLength(msg), &n);
    ECO_CRASH_POINT("kit.rpc.handled");
    reply_bytes(s->svc, natsMsg_GetReply(msg), packed, n);
    ECO_CRASH_POINT("kit.rpc.replied");
    eco_log_set_context(NULL, NULL);
    eco_arena_free(arena);
    natsMsg_Destroy(msg);
    if (saga) {
      saga_ended(s);
    }
  }
  nats_ReleaseThreadMemory();
  return NULL;
}

eco_status kit_rpc_server_start(eco_service *svc) {
  if (svc->def->rpcs == NULL && svc->def->snapshots == NULL) {
    return eco_success();
  }
  kit_rpc_server *s = calloc(1, sizeof *s);
  if (s == NULL) {
    return eco_error(ECO_INTERNAL, "RPC server: out of memory");
  }
  s->svc = svc;
  s->worker_count = (int)svc->set.workers;
  s->sagas_max = s->worker_count > RPC_RESERVED ? s->worker_count - RPC_RESERVED : 1;
  pthread_mutex_init(&s->lock, NULL);
  pthread_cond_init(&s->filled, NULL);
  svc->rpc_server = s;
  char subject[KIT_SUBJECT_MAX];
  snprintf(subject, sizeof subject, "ecolink.rpc.%s.*", svc->def->name);
  natsStatus ns = natsConnection_QueueSubscribe(&s->sub, svc->nc, subject, svc->def->name, on_request, s);
  if (ns != NATS_OK) {
    return kit_nats_error(ns, "subscribe to requests");
  }
  // Readiness follows: the server must know of the subscription by then. Without a connection the library subscribes
  // later.
  (void)natsConnection_FlushTimeout(svc->nc, 1000);
  for (int i = 0; i < s->worker_count; i++) {
    kit_thread_start(&s->workers[i], worker_main, s, "rpc");
  }
  return eco_success();
}

// New requests go to the other copies; what is queued or runs is finished.
void kit_rpc_server_stop(eco_service *svc) {
  kit_rpc_server *s = svc->rpc_server;
  if (s == NULL) {
    return;
  }
  if (eco_bus_connected(svc)) {  // without a bus nothing comes any more
    natsSubscription_Drain(s->sub);
    natsSubscription_WaitForDrainCompletion(s->sub, svc->set.drain_s * 1000);
  }
  pthread_mutex_lock(&s->lock);
  s->closing = true;
  pthread_cond_broadcast(&s->filled);
  pthread_mutex_unlock(&s->lock);
  for (int i = 0; i < s->worker_count; i++) {
    pthread_join(s->workers[i], NULL);
  }
  natsSubscription_Destroy(s->sub);
  pthread_cond_destroy(&s->filled);
  pthread_mutex_destroy(&s->lock);
  free(s);
  svc->rpc_server = NULL;
}
