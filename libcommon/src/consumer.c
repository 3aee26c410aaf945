// Consumers: one thread per row of the service's table. Each has a durable pull consumer on the event stream, and pulls
// its owner's snapshot at start, after a reconnect, after a dead letter and every 5 minutes.
//
// Only a failure of the message's own counts towards dead-lettering; database, RPC or network trouble pauses the
// consumer with back-off and never counts.
#include <stdlib.h>
#include <string.h>

#include "ecolink/clock.h"
#include "ecolink/crash.h"
#include "ecolink/log.h"
#include "ecolink/metrics.h"
#include "kit.h"

enum {
  CONSUMER_BATCH = 64,
  CONSUMER_FETCH_MS = 500,
  CONSUMER_TRIES = 3,
  CONSUMER_BACKOFF_MIN_MS = 100,
  CONSUMER_BACKOFF_MAX_MS = 5000,
  CONSUMER_ACK_WAIT_S = 5,  // early redelivery is harmless: inbox and versions absorb it
  CONSUMER_CONFIG_MAX = 1024,
  CONSUMER_API_MS = 5000,
  CONSUMER_CHECK_MS = 15000,  // is the durable consumer still there?
  SNAPSHOT_PERIOD_MS = 300000,
  SNAPSHOT_RETRY_MS = 1000,
  SNAPSHOT_PAGE = 200,
  SNAPSHOT_TIMEOUT_MS = 5000,
};

struct kit_consumer {
  eco_service *svc;
  const eco_consumer_def *def;
  char name[KIT_NAME_MAX];
  pthread_t thread;
  natsSubscription *sub;
  unsigned seen_reconnects;
  int64_t check_at_ms;
  int64_t snapshot_at_ms;
  int backoff_ms;
  kit_consumer *next;
};

// The durable consumer, made or found as it is, by the API's subject that names the filter: rights on the bus end where
// this consumer's events do. (libnats' own call names the consumer alone, whose filter could be anything.)
static eco_status ensure_consumer(kit_consumer *c, const char *filter) {
  char subject[2 * KIT_SUBJECT_MAX];
  char config[CONSUMER_CONFIG_MAX];
  snprintf(subject, sizeof subject, "$JS.API.CONSUMER.CREATE." KIT_STREAM ".%s.%s", c->name, filter);
  int n = snprintf(config, sizeof config,
                   "{\"stream_name\":\"" KIT_STREAM
                   "\",\"config\":{\"name\":\"%s\",\"durable_name\":\"%s\","
                   "\"filter_subject\":\"%s\",\"ack_policy\":\"explicit\",\"deliver_policy\":\"all\","
                   "\"replay_policy\":\"instant\",\"ack_wait\":%lld,\"max_ack_pending\":%d}}",
                   c->name, c->name, filter, CONSUMER_ACK_WAIT_S * 1000000000LL, 4 * CONSUMER_BATCH);
  natsMsg *answer = NULL;
  natsStatus s = natsConnection_Request(&answer, c->svc->nc, subject, config, n, CONSUMER_API_MS);
  if (s != NATS_OK) {
    return kit_nats_error(s, c->name);
  }
  const size_t len = (size_t)natsMsg_GetDataLength(answer);
  const char *error = memmem(natsMsg_GetData(answer), len, "\"error\":", sizeof "\"error\":" - 1);
  eco_status st = error == NULL ? eco_success()
                                : eco_error(ECO_CONTROL_PLANE_UNAVAILABLE, "consumer %s: %.*s", c->name,
                                            (int)(natsMsg_GetData(answer) + len - error), error);
  natsMsg_Destroy(answer);
  return st;
}

static eco_status subscribe(kit_consumer *c) {
  char subject[KIT_SUBJECT_MAX];
  snprintf(subject, sizeof subject, KIT_EVENTS_OF, c->def->owner, c->def->entity);
  ECO_TRY(kit_ensure_stream(c->svc));
  ECO_TRY(ensure_consumer(c, subject));
  jsSubOptions opts;
  jsSubOptions_Init(&opts);
  opts.Stream = KIT_STREAM;
  opts.Consumer = c->name;
  opts.ManualAck = true;
  natsStatus s = js_PullSubscribe(&c->sub, c->svc->js, subject, c->name, NULL, &opts, NULL);
  ECO_CRASH_POINT("kit.consumer.subscribed");
  return s == NATS_OK ? eco_success() : kit_nats_error(s, c->name);
}

static void unsubscribe(kit_consumer *c) {
  kit_bus_unsubscribe(c->svc, c->sub);
  c->sub = NULL;
}

static void back_off(kit_consumer *c) {
  c->backoff_ms = c->backoff_ms == 0 ? CONSUMER_BACKOFF_MIN_MS : c->backoff_ms * 2;
  if (c->backoff_ms > CONSUMER_BACKOFF_MAX_MS) {
    c->backoff_ms = CONSUMER_BACKOFF_MAX_MS;
  }
  kit_sleep(c->svc, c->backoff_ms);
}

// Applies with patience: transient trouble is waited out here, as long as the service runs.
static eco_status apply_patiently(kit_consumer *c, natsMsg *msg, const Ecolink__V1__Event *event, const char *verb) {
  eco_status st = eco_success();
  for (int tries = 0; tries < CONSUMER_TRIES;) {
    st = kit_apply(c->svc, c->def, event, verb);
    if (eco_ok(st)) {
      c->backoff_ms = 0;
      return st;
    }
    if (!eco_code_is_transient(st.code)) {
      tries++;
      continue;
    }
    eco_log(ECO_LOG_WARN, "event waits", ECO_F_STR("consumer", c->name), ECO_F_STATUS(st));
    if (msg != NULL) {
      natsMsg_InProgress(msg, NULL);
    }
    back_off(c);
    if (eco_service_stopping(c->svc)) {
      return st;
    }
  }
  return st;
}

// True when the message is done with and is to be acknowledged.
static bool consume(kit_consumer *c, natsMsg *msg) {
  const uint8_t *data = (const uint8_t *)natsMsg_GetData(msg);
  size_t len = (size_t)natsMsg_GetDataLength(msg);
  eco_arena *arena = eco_arena_new();
  Ecolink__V1__Event *event = ecolink__v1__event__unpack(eco_arena_pb(arena), len, data);
  eco_status st;
  if (event == NULL) {
    st = eco_error(ECO_INVALID_REQUEST, "the event envelope cannot be read");
  } else {
    const char *dot = strchr(event->type, '.');
    st = apply_patiently(c, msg, event, dot != NULL ? dot + 1 : "");
  }
  if (!eco_ok(st) && !eco_code_is_transient(st.code)) {
    st = kit_dead_letter(c->svc, c->def, natsMsg_GetSubject(msg), event != NULL ? event->entity_id : "",
                         event != NULL ? event->id : "", data, len, st.message);
    ECO_CRASH_POINT("kit.dead_letter.set_aside");
    c->snapshot_at_ms = 0;  // repair from the owner at once
  }
  eco_arena_free(arena);
  return eco_ok(st);
}

static void fetch_and_consume(kit_consumer *c) {
  natsMsgList list = {.Msgs = NULL, .Count = 0};
  natsStatus s = natsSubscription_Fetch(&list, c->sub, CONSUMER_BATCH, CONSUMER_FETCH_MS, NULL);
  if (s != NATS_OK && s != NATS_TIMEOUT) {
    eco_log(ECO_LOG_INFO, "subscribing anew", ECO_F_STR("consumer", c->name),
            ECO_F_STR("error", natsStatus_GetText(s)));
    unsubscribe(c);
    back_off(c);
  }
  for (int i = 0; i < list.Count; i++) {
    if (eco_service_stopping(c->svc)) {
      natsMsg_Nak(list.Msgs[i], NULL);  // at once to another copy, or to the next start
    } else if (consume(c, list.Msgs[i])) {
      natsMsg_Ack(list.Msgs[i], NULL);
      ECO_CRASH_POINT("kit.event.acknowledged");
    }
  }
  natsMsgList_Destroy(&list);
}

// ---- snapshots ----

static eco_status apply_page(kit_consumer *c, const Ecolink__V1__SnapshotPage *page) {
  for (size_t i = 0; i < page->n_entities && !eco_service_stopping(c->svc); i++) {
    const Ecolink__V1__SnapshotEntity *e = page->entities[i];
    Ecolink__V1__Event event = ECOLINK__V1__EVENT__INIT;
    event.entity_id = e->entity_id;
    event.entity_version = e->version;
    event.state = e->state;
    eco_status st = kit_apply(c->svc, c->def, &event, "");
    if (eco_code_is_transient(st.code)) {
      return st;
    }
    if (!eco_ok(st)) {
      eco_log(ECO_LOG_ERROR, "snapshot entity refused", ECO_F_STR("consumer", c->name),
              ECO_F_STR("entity", e->entity_id), ECO_F_STATUS(st));
    }
  }
  return eco_success();
}

static eco_status pull_page(kit_consumer *c, char *after, size_t after_size, bool *done) {
  eco_ctx *ctx = eco_ctx_new(c->svc);
  Ecolink__V1__SnapshotRequest request = ECOLINK__V1__SNAPSHOT_REQUEST__INIT;
  Ecolink__V1__SnapshotPage *page = NULL;
  request.entity = eco_strdup(ctx->arena, c->def->entity);
  request.after_id = after;
  request.limit = SNAPSHOT_PAGE;
  eco_status st = eco_rpc_call(ctx, eco_sprintf(ctx->arena, "%s.Snapshot", c->def->owner), &request.base,
                               &ecolink__v1__snapshot_page__descriptor, SNAPSHOT_TIMEOUT_MS, &page);
  if (eco_ok(st)) {
    st = apply_page(c, page);
    ECO_CRASH_POINT("kit.snapshot.page_applied");
    *done = page->done || page->n_entities == 0;
    snprintf(after, after_size, "%s", page->next_after_id);
  }
  eco_ctx_free(ctx);
  return st;
}

static eco_status pull_snapshot(kit_consumer *c) {
  char after[KIT_NAME_MAX] = "";
  bool done = false;
  while (!done && !eco_service_stopping(c->svc)) {
    ECO_TRY(pull_page(c, after, sizeof after, &done));
  }
  return eco_success();
}

static void snapshot_when_due(kit_consumer *c) {
  if (!c->def->snapshot || eco_boottime_ms() < c->snapshot_at_ms) {
    return;
  }
  eco_status st = pull_snapshot(c);
  c->snapshot_at_ms = eco_boottime_ms() + (eco_ok(st) ? SNAPSHOT_PERIOD_MS : SNAPSHOT_RETRY_MS);
  if (!eco_ok(st)) {
    eco_log(ECO_LOG_DEBUG, "snapshot not pulled: trying again", ECO_F_STR("consumer", c->name), ECO_F_STATUS(st));
  }
}

// ---- the thread ----

// After a reconnect, and now and then: the durable consumer may be gone with JetStream's files.
static void check_subscription(kit_consumer *c) {
  unsigned reconnects = atomic_load(&c->svc->reconnects);
  if (reconnects != c->seen_reconnects) {
    c->seen_reconnects = reconnects;
    c->snapshot_at_ms = 0;
    unsubscribe(c);
  }
  if (c->sub != NULL && eco_boottime_ms() >= c->check_at_ms) {
    jsConsumerInfo *info = NULL;
    natsStatus s = natsSubscription_GetConsumerInfo(&info, c->sub, NULL, NULL);
    jsConsumerInfo_Destroy(info);
    c->check_at_ms = eco_boottime_ms() + CONSUMER_CHECK_MS;
    if (s == NATS_NOT_FOUND) {
      c->snapshot_at_ms = 0;
      unsubscribe(c);
    }
  }
}

static void *consumer_main(void *arg) {
  kit_consumer *c = arg;
  while (!eco_service_stopping(c->svc)) {
    if (!eco_bus_connected(c->svc)) {
      kit_sleep(c->svc, CONSUMER_BACKOFF_MIN_MS);
      continue;
    }
    check_subscription(c);
    if (c->sub == NULL) {
      eco_status st = subscribe(c);
      if (!eco_ok(st)) {
        eco_log(ECO_LOG_INFO, "not subscribed: trying again", ECO_F_STR("consumer", c->name), ECO_F_STATUS(st));
        back_off(c);
        continue;
      }
      c->backoff_ms = 0;
      c->check_at_ms = eco_boottime_ms() + CONSUMER_CHECK_MS;
    }
    snapshot_when_due(c);
    fetch_and_consume(c);
  }
  unsubscribe(c);
  nats_ReleaseThreadMemory();
  return NULL;
}

eco_status kit_consumers_start(eco_service *svc) {
  for (const eco_consumer_def *def = svc->def->consumers; def != NULL && def->owner != NULL; def++) {
    kit_consumer *c = calloc(1, sizeof *c);
    if (c == NULL) {
      return eco_error(ECO_INTERNAL, "consumers: out of memory");
    }
    c->svc = svc;
    c->def = def;
    c->next = svc->consumers;
    kit_consumer_name(svc->def, def, c->name);
    svc->consumers = c;
    kit_thread_start(&c->thread, consumer_main, c, "consumer");
  }
  return eco_success();
}

void kit_consumers_stop(eco_service *svc) {
  while (svc->consumers != NULL) {
    kit_consumer *c = svc->consumers;
    pthread_join(c->thread, NULL);
    svc->consumers = c->next;
    free(c);
  }
}
