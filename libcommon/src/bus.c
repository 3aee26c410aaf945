// The NATS connection: reconnects for ever, tells the kit's threads by a counter, and makes stream and buckets when
// they are not there (first start, or JetStream's files were lost).
#include <signal.h>
#include <sodium.h>
#include <string.h>
#include <unistd.h>

#include "ecolink/clock.h"
#include "ecolink/crash.h"
#include "ecolink/log.h"
#include "kit.h"

enum {
  BUS_REQUEST_WAIT_MS = 5000,
  BUS_RECONNECT_WAIT_MS = 250,
  BUS_RECONNECT_JITTER_MS = 100,
  BUS_PING_INTERVAL_MS = 10000,
  BUS_FLUSH_MS = 1000,
  BUS_FIRST_ATTEMPTS = 40,  // ten seconds
};

// What became of a connection's first attempt.
enum { BUS_UNDECIDED, BUS_GOES_ON, BUS_GIVEN_UP };

eco_status kit_nats_error(natsStatus s, const char *what) {
  return eco_error(ECO_CONTROL_PLANE_UNAVAILABLE, "bus: %s: %s", what, natsStatus_GetText(s));
}

static void on_connected(natsConnection *nc, void *arg) {
  (void)nc;
  eco_service *svc = arg;
  atomic_store(&svc->bus_attempt, BUS_GOES_ON);
  atomic_store(&svc->connected, true);
  atomic_fetch_add(&svc->reconnects, 1);
  eco_log(ECO_LOG_INFO, "bus connected");
}

static void on_disconnected(natsConnection *nc, void *arg) {
  (void)nc;
  eco_service *svc = arg;
  if (atomic_exchange(&svc->connected, false) && !eco_pace_ended(&svc->pace)) {
    eco_log(ECO_LOG_WARN, "bus disconnected: reconnecting");
  }
}

static void on_error(natsConnection *nc, natsSubscription *sub, natsStatus err, void *arg) {
  (void)nc;
  (void)sub;
  eco_service *svc = arg;
  if (err == NATS_MISSED_HEARTBEAT) {
    atomic_fetch_add(&svc->silences, 1);
  }
  eco_log(ECO_LOG_WARN, "bus error", ECO_F_STR("error", natsStatus_GetText(err)));
}

static int64_t on_next_attempt(natsConnection *nc, int attempts, void *arg) {
  (void)nc;
  (void)attempts;
  eco_service *svc = arg;
  atomic_store(&svc->bus_attempt, BUS_GOES_ON);
  return BUS_RECONNECT_WAIT_MS + (int64_t)randombytes_uniform(BUS_RECONNECT_JITTER_MS);
}

// "For ever" is not quite what the library means: it gives a connection up when the same refusal of our password comes
// twice, and on any error of the server's that it does not know. A service that needs the bus ends then, for a new
// start to make another one; the gateway serves on, and makes another one in its place (bus_renew.c).
static void on_closed(natsConnection *nc, void *arg) {
  eco_service *svc = arg;
  const char *why = NULL;
  (void)natsConnection_GetLastError(nc, &why);
  atomic_store(&svc->connected, false);
  int undecided = BUS_UNDECIDED;
  if (atomic_compare_exchange_strong(&svc->bus_attempt, &undecided, BUS_GIVEN_UP) || eco_pace_ended(&svc->pace)) {
    return;
  }
  if (svc->def->migrations == NULL) {
    eco_log(ECO_LOG_ERROR, "bus connection given up: making another one", ECO_F_STR("error", why ? why : ""));
    atomic_store(&svc->bus_given_up, true);
    return;
  }
  eco_log(ECO_LOG_ERROR, "bus connection given up: ending, so that a new start makes another one",
          ECO_F_STR("error", why ? why : ""));
  (void)kill(getpid(), SIGTERM);
}

static natsStatus set_options(eco_service *svc, natsOptions *opts) {
  char inbox[KIT_NAME_MAX];
  snprintf(inbox, sizeof inbox, "_INBOX_%s", svc->def->name);
  natsStatus s = natsOptions_SetURL(opts, svc->set.nats_url);
  if (s == NATS_OK && svc->set.nats_user[0] != '\0') {
    s = natsOptions_SetUserInfo(opts, svc->set.nats_user, svc->set.nats_password);
  }
  if (s == NATS_OK) {
    s = natsOptions_SetName(opts, svc->instance);
  }
  if (s == NATS_OK) {
    s = natsOptions_SetCustomInboxPrefix(opts, inbox);
  }
  if (s == NATS_OK) {
    s = natsOptions_SetMaxReconnect(opts, -1);
  }
  if (s == NATS_OK) {
    s = natsOptions_SetCustomReconnectDelay(opts, on_next_attempt, svc);
  }
  if (s == NATS_OK) {
    s = natsOptions_SetPingInterval(opts, BUS_PING_INTERVAL_MS);
  }
  if (s == NATS_OK) {
    s = natsOptions_SetFailRequestsOnDisconnect(opts, true);
  }
  if (s == NATS_OK) {
    s = natsOptions_SetRetryOnFailedConnect(opts, true, on_connected, svc);
  }
  if (s == NATS_OK) {
    s = natsOptions_SetReconnectedCB(opts, on_connected, svc);
  }
  if (s == NATS_OK) {
    s = natsOptions_SetDisconnectedCB(opts, on_disconnected, svc);
  }
  if (s == NATS_OK) {
    s = natsOptions_SetClosedCB(opts, on_closed, svc);
  }
  if (s == NATS_OK) {
    s = natsOptions_SetErrorHandler(opts, on_error, svc);
  }
  return s;
}

// Connected, or trying on in the background (NATS_NOT_YET_CONNECTED). Where the first attempt ends between the server's
// accepting and its welcome, libnats gives up instead of trying on (mended by its pull request 926, later than what we
// get): once more then.
static natsStatus connect_for_good(eco_service *svc, natsOptions *opts, natsConnection **out) {
  for (int i = 0; i < BUS_FIRST_ATTEMPTS && !eco_service_stopping(svc); i++) {
    atomic_store(&svc->bus_attempt, BUS_UNDECIDED);
    natsStatus s = natsConnection_Connect(out, opts);
    int undecided = BUS_UNDECIDED;
    if (s == NATS_OK) {
      atomic_compare_exchange_strong(&svc->bus_attempt, &undecided, BUS_GOES_ON);
    } else if (s != NATS_NOT_YET_CONNECTED) {
      return s;
    }
    while (atomic_load(&svc->bus_attempt) == BUS_UNDECIDED) {
      (void)kit_sleep(svc, 1);  // one of the three callbacks comes, whatever happens
    }
    if (atomic_load(&svc->bus_attempt) == BUS_GOES_ON) {
      return s;
    }
    natsConnection_Destroy(*out);
    *out = NULL;
    (void)kit_sleep(svc, BUS_RECONNECT_WAIT_MS);
  }
  // Asked plainly the library says why; of what it gave up it has forgotten it.
  atomic_store(&svc->bus_attempt, BUS_UNDECIDED);
  natsStatus s = natsOptions_SetRetryOnFailedConnect(opts, false, NULL, NULL);
  if (s == NATS_OK && !eco_service_stopping(svc)) {
    s = natsConnection_Connect(out, opts);
  }
  int undecided = BUS_UNDECIDED;
  bool given_up = !atomic_compare_exchange_strong(&svc->bus_attempt, &undecided, BUS_GOES_ON);
  if (s == NATS_OK && (given_up || *out == NULL)) {
    natsConnection_Destroy(*out);
    *out = NULL;
    s = NATS_CONNECTION_CLOSED;
  }
  return s;
}

eco_status kit_bus_connect(eco_service *svc, natsConnection **nc, jsCtx **js) {
  *nc = NULL;
  *js = NULL;
  natsOptions *opts = NULL;
  natsStatus s = natsOptions_Create(&opts);
  if (s == NATS_OK) {
    s = set_options(svc, opts);
  }
  if (s == NATS_OK) {
    s = connect_for_good(svc, opts, nc);
  }
  natsOptions_Destroy(opts);
  if (s != NATS_OK && s != NATS_NOT_YET_CONNECTED) {
    return kit_nats_error(s, "connect");
  }
  bool connected = s == NATS_OK;
  jsOptions wanted;
  jsOptions_Init(&wanted);
  wanted.Wait = BUS_REQUEST_WAIT_MS;
  s = natsConnection_JetStream(js, *nc, &wanted);
  if (s != NATS_OK) {
    natsConnection_Destroy(*nc);
    *nc = NULL;
    return kit_nats_error(s, "jetstream");
  }
  if (!connected) {
    eco_log(ECO_LOG_WARN, "bus not reachable yet: trying on", ECO_F_STR("url", svc->set.nats_url));
  }
  return eco_success();
}

void kit_bus_connected(eco_service *svc) {
  if (natsConnection_Status(svc->nc) == NATS_CONN_STATUS_CONNECTED && !eco_bus_connected(svc)) {
    on_connected(svc->nc, svc);
  }
}

eco_status kit_bus_open(eco_service *svc) {
  ECO_TRY(kit_bus_connect(svc, &svc->nc, &svc->js));
  kit_bus_connected(svc);
  return eco_success();
}

void kit_bus_give_up_absent(eco_service *svc) {
  if (svc->nc != NULL && !eco_bus_connected(svc)) {
    natsConnection_Close(svc->nc);  // requests under way end with NATS_CONNECTION_CLOSED
  }
}

void kit_bus_close(eco_service *svc) {
  for (int i = 0; i < KIT_KV_BUCKETS_MAX; i++) {
    kvStore_Destroy(svc->kv[i].kv);
    svc->kv[i].kv = NULL;
  }
  jsCtx_Destroy(svc->js);
  if (svc->nc != NULL) {
    if (eco_bus_connected(svc)) {
      natsConnection_FlushTimeout(svc->nc, BUS_FLUSH_MS);
    }
    natsConnection_Close(svc->nc);
  }
  natsConnection_Destroy(svc->nc);
  svc->js = NULL;
  svc->nc = NULL;
}

// libnats before 3.6 does not hold the subscription to which it hands a message (its issue 637), so that one must not
// be freed meanwhile. The answer to a flush comes behind everything that the server had sent before.
void kit_bus_unsubscribe(eco_service *svc, natsSubscription *sub) {
  if (sub != NULL && eco_bus_connected(svc)) {
    natsSubscription_Unsubscribe(sub);
    kit_bus_hold(svc);
    natsConnection_FlushTimeout(svc->nc, BUS_FLUSH_MS);
    kit_bus_release(svc);
  }
  natsSubscription_Destroy(sub);
}

bool eco_bus_connected(const eco_service *svc) {
  return atomic_load(&svc->connected);
}

eco_status kit_ensure_stream(eco_service *svc) {
  jsStreamInfo *info = NULL;
  jsErrCode code = 0;
  natsStatus s = js_GetStreamInfo(&info, svc->js, KIT_STREAM, NULL, &code);
  jsStreamInfo_Destroy(info);
  if (s == NATS_OK) {
    return eco_success();
  }
  if (code != JSStreamNotFoundErr) {
    return kit_nats_error(s, "look up the event stream");
  }
  jsStreamConfig cfg;
  jsStreamConfig_Init(&cfg);
  const char *subjects[] = {"ecolink.evt.>"};
  cfg.Name = KIT_STREAM;
  cfg.Subjects = subjects;
  cfg.SubjectsLen = 1;
  cfg.Storage = js_FileStorage;
  cfg.MaxAge = (int64_t)KIT_STREAM_MAX_AGE_S * 1000000000LL;
  cfg.MaxBytes = 1LL << 30;
  cfg.Duplicates = 120LL * 1000000000LL;
  s = js_AddStream(NULL, svc->js, &cfg, NULL, &code);
  // Another service was faster.
  if (s != NATS_OK && code != JSStreamNameExistErr) {
    return kit_nats_error(s, "create the event stream");
  }
  ECO_CRASH_POINT("kit.bus.stream_created");
  eco_log(ECO_LOG_INFO, "event stream created");
  return eco_success();
}

eco_status kit_kv_open(eco_service *svc, const char *bucket, bool create, kvStore **out) {
  *out = NULL;
  natsStatus s = js_KeyValue(out, svc->js, bucket);
  if (s == NATS_NOT_FOUND && create) {
    kvConfig cfg;
    kvConfig_Init(&cfg);
    cfg.Bucket = bucket;
    cfg.History = 1;
    cfg.StorageType = js_FileStorage;
    s = js_CreateKeyValue(out, svc->js, &cfg);
    if (s == NATS_OK) {
      ECO_CRASH_POINT("kit.bus.bucket_created");
      eco_log(ECO_LOG_INFO, "bucket created", ECO_F_STR("bucket", bucket));
    }
  }
  return s == NATS_OK ? eco_success() : kit_nats_error(s, bucket);
}

static kit_kv_handle *kv_handle(eco_service *svc, const char *bucket) {
  for (int i = 0; i < KIT_KV_BUCKETS_MAX; i++) {
    if (svc->kv[i].bucket == NULL) {
      svc->kv[i].bucket = bucket;
    }
    if (strcmp(svc->kv[i].bucket, bucket) == 0) {
      return &svc->kv[i];
    }
  }
  return NULL;
}

static const char *owned_bucket_name(const eco_service *svc, const char *bucket) {
  for (const eco_kv_def *k = svc->def->kv; k != NULL && k->bucket != NULL; k++) {
    if (strcmp(k->bucket, bucket) == 0) {
      return k->bucket;  // static storage: the cache keeps the pointer
    }
  }
  return NULL;
}

eco_status kit_kv_put_raw(eco_service *svc, const char *bucket, const char *key, const void *p, size_t n) {
  const char *name = owned_bucket_name(svc, bucket);
  if (name == NULL) {
    return eco_error(ECO_INTERNAL, "bucket %s is not in this service's table", bucket);
  }
  pthread_mutex_lock(&svc->kv_lock);
  eco_status st = eco_success();
  kit_kv_handle *h = kv_handle(svc, name);
  if (h == NULL) {
    st = eco_error(ECO_INTERNAL, "more than %d buckets", KIT_KV_BUCKETS_MAX);
  } else if (h->kv == NULL) {
    st = kit_kv_open(svc, name, true, &h->kv);
  }
  if (eco_ok(st) && h != NULL) {
    natsStatus s = kvStore_Put(NULL, h->kv, key, p, (int)n);
    if (s != NATS_OK) {
      st = kit_nats_error(s, bucket);
      kvStore_Destroy(h->kv);  // the bucket may be gone: look again next time
      h->kv = NULL;
    }
  }
  pthread_mutex_unlock(&svc->kv_lock);
  return st;
}
