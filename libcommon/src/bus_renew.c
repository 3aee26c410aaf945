// A service that serves without the bus (the gateway) outlives its connection: where the library has given it up,
// another one is made in its place, with the password as its file has it now. What was known serves on meanwhile, but
// it must not grow old: a key may be revoked.
#include "ecolink/log.h"
#include "kit.h"

enum { RENEW_LOOK_MS = 250, RENEW_PAUSE_MS = 2000 };

void kit_bus_hold(eco_service *svc) {
  pthread_rwlock_rdlock(&svc->bus_lock);
}

void kit_bus_release(eco_service *svc) {
  pthread_rwlock_unlock(&svc->bus_lock);
}

// The old connection is closed already: whoever uses it is told so at once, and subscriptions that are left keep what
// they need of it.
static eco_status renew(eco_service *svc) {
  natsConnection *nc = NULL;
  jsCtx *js = NULL;
  ECO_TRY(kit_reread_bus_password(svc));
  ECO_TRY(kit_bus_connect(svc, &nc, &js));
  pthread_rwlock_wrlock(&svc->bus_lock);
  natsConnection *old_nc = svc->nc;
  jsCtx *old_js = svc->js;
  svc->nc = nc;
  svc->js = js;
  eco_status st = kit_rpc_async_resubscribe(svc);
  pthread_rwlock_unlock(&svc->bus_lock);
  jsCtx_Destroy(old_js);
  natsConnection_Destroy(old_nc);
  if (eco_ok(st)) {
    kit_bus_connected(svc);
  }
  return st;
}

static void *renewer_main(void *arg) {
  eco_service *svc = arg;
  while (!kit_sleep(svc, RENEW_LOOK_MS)) {
    if (!atomic_exchange(&svc->bus_given_up, false)) {
      continue;
    }
    eco_status st = renew(svc);
    if (!eco_ok(st) && !eco_service_stopping(svc)) {
      eco_log(ECO_LOG_ERROR, "no other bus connection yet: nothing new is learned", ECO_F_STATUS(st));
      atomic_store(&svc->bus_given_up, true);
      kit_sleep(svc, RENEW_PAUSE_MS);
    }
  }
  nats_ReleaseThreadMemory();
  return NULL;
}

void kit_bus_renewer_start(eco_service *svc) {
  kit_thread_start(&svc->bus_renewer, renewer_main, svc, "bus-renewer");
  svc->renews = true;
}

void kit_bus_renewer_stop(eco_service *svc) {
  if (svc->renews) {
    pthread_join(svc->bus_renewer, NULL);
    svc->renews = false;
  }
}
