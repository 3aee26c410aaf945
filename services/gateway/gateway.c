// Order of start and stop of the gateway's parts; see gateway.h.
#include "gateway.h"

#include <arpa/inet.h>
#include <signal.h>
#include <stdlib.h>
#include <unistd.h>

#include "bus.h"
#include "config.h"
#include "ecolink/bus.h"
#include "ecolink/log.h"
#include "handover.h"
#include "metrics.h"

static struct {
  gw_store *store;
  gw_mgmt *mgmt;
  gw_loop **loops;
  size_t n_loops;
  size_t running;
  gw_bus *bus;
  gw_sockets sockets;  // what a successor gets: each is served, and closed, by its part
  int before;          // the conversation with the gateway that we take over from; -1: there is none
  gw_handover *holder;
  // Read by the kit's admin thread at any time, before the start and during the stop.
  _Atomic bool known;  // keys and routes: from the bus or from the file
  _Atomic bool stopping;
} process = {.sockets = {.path_fd = -1, .admin_fd = -1}, .before = -1};

static void load_file(void) {
  size_t keys = 0;
  size_t routes = 0;
  if (!gw_cfg.snapshot_file[0]) {
    return;
  }
  eco_status st = gw_snapshot_load(process.store, gw_cfg.snapshot_file, &keys, &routes);
  if (eco_ok(st)) {
    gw_store_publish(process.store);
    atomic_store(&process.known, true);
    eco_log(ECO_LOG_INFO, "started from the snapshot file", ECO_F_I64("keys", keys), ECO_F_I64("routes", routes));
  } else if (st.code != ECO_NOT_FOUND) {
    eco_log(ECO_LOG_ERROR, "snapshot file not used", ECO_F_STATUS(st));
  }
}

// ---- sockets ----

// Those of the gateway before, if HANDOVER_SOCKET leads to one; what it has of admin's waits until it lets go.
static eco_status take_over(eco_service *svc, struct sockaddr_storage *address) {
  gw_sockets *s = &process.sockets;
  if (gw_cfg.handover_socket[0]) {
    ECO_TRY(gw_handover_take(gw_cfg.handover_socket, s, &process.before));
  }
  for (size_t i = 0; i < s->listeners.n; i++) {
    if (!gw_listener_fits(s->listeners.fd[i], address)) {
      return eco_error(ECO_INVALID_REQUEST, "the gateway that holds %s listens elsewhere than on %s: stop it first",
                       gw_cfg.handover_socket, gw_cfg.listen);
    }
  }
  if (s->listeners.n > 0) {
    socklen_t len = sizeof *address;
    (void)getsockname(s->listeners.fd[0], (struct sockaddr *)address, &len);  // its port, where ours was 0
  }
  if (s->admin_fd >= 0 && !eco_service_admin_fits(svc, s->admin_fd)) {  // ADMIN_LISTEN has changed: a port of our own
    close(s->admin_fd);
    s->admin_fd = -1;
  }
  if (s->admin_fd < 0) {
    ECO_TRY(eco_service_admin_start(svc, -1));
  }
  return eco_success();
}

static eco_status make_loops(struct sockaddr_storage *address) {
  ECO_TRY(gw_listeners_fill(&process.sockets.listeners, process.n_loops, address));
  for (size_t i = 0; i < process.n_loops; i++) {
    ECO_TRY(gw_loop_new((unsigned)i, process.store, process.mgmt, &process.loops[i]));
  }
  return eco_success();
}

// Every socket has a loop and every loop has one: of a gateway with more loops none is closed, since connections may
// wait in it. Sockets of our own begin to listen here, no sooner: whatever waits in them is lost with this process.
static eco_status start_loops(void) {
  const gw_listeners *l = &process.sockets.listeners;
  for (size_t i = 0; i < l->n; i++) {
    ECO_TRY(gw_loop_listen(process.loops[i % process.n_loops], l->fd[i]));
  }
  for (; process.running < process.n_loops; process.running++) {
    ECO_TRY(gw_loop_start(process.loops[process.running]));
  }
  return eco_success();
}

static bool may_take_over(void *arg) {
  (void)arg;
  return atomic_load(&process.known) && !gw_store_is_behind(process.store);
}

static void given_away(void *arg) {
  eco_service_admin_stop(arg);
  for (size_t i = 0; i < process.running; i++) {
    gw_loop_retire(process.loops[i]);
  }
}

// From here on this process accepts.
static eco_status open_doors(eco_service *svc, const struct sockaddr_storage *address) {
  if (process.before >= 0) {
    ECO_TRY(gw_handover_finish(process.before, may_take_over, NULL));
    process.before = -1;
  }
  ECO_TRY(start_loops());
  if (process.sockets.admin_fd >= 0) {
    ECO_TRY(eco_service_admin_start(svc, process.sockets.admin_fd));
  }
  process.sockets.admin_fd = eco_service_admin_fd(svc);
  // The port stands at the same place in both address families.
  eco_log(ECO_LOG_INFO, "listening", ECO_F_STR("listen", gw_cfg.listen),
          ECO_F_I64("port", ntohs(((const struct sockaddr_in *)address)->sin_port)),
          ECO_F_I64("loops", process.n_loops));
  return process.sockets.path_fd >= 0 ? gw_handover_hold(&process.sockets, given_away, svc, &process.holder)
                                      : eco_success();
}

// ---- start and stop ----

eco_status gw_process_start(eco_service *svc) {
  struct sockaddr_storage address;
  signal(SIGPIPE, SIG_IGN);
  gw_metrics_init();
  process.n_loops = (size_t)gw_cfg.loops;
  process.loops = calloc(process.n_loops, sizeof *process.loops);
  process.store = gw_store_new((unsigned)process.n_loops + 1);
  if (!process.loops) {
    abort();
  }
  ECO_TRY(gw_config_listen_address(&address));
  ECO_TRY(take_over(svc, &address));
  gw_store_start(process.store);
  load_file();
  gw_store_set_behind(process.store, eco_bus_connected(svc) || !atomic_load(&process.known));
  ECO_TRY(gw_mgmt_new(svc, &process.mgmt));
  ECO_TRY(make_loops(&address));
  ECO_TRY(gw_bus_start(svc, process.store, process.loops, process.n_loops, (unsigned)process.n_loops, &process.known,
                       &process.bus));
  return open_doors(svc, &address);
}

void gw_process_stop(eco_service *svc) {
  (void)svc;
  atomic_store(&process.stopping, true);
  gw_handover_end(process.holder);
  process.holder = NULL;
  if (process.sockets.path_fd >= 0) {
    close(process.sockets.path_fd);
    process.sockets.path_fd = -1;
  }
  for (size_t i = 0; i < process.running; i++) {
    gw_loop_stop(process.loops[i]);
  }
  for (size_t i = 0; i < process.running; i++) {
    gw_loop_join(process.loops[i]);
  }
  if (process.bus) {
    gw_bus_stop(process.bus);
    process.bus = NULL;
  }
  for (size_t i = 0; i < process.running; i++) {
    gw_loop_free(process.loops[i]);
  }
  process.running = 0;
  gw_mgmt_free(process.mgmt);
  gw_store_stop(process.store);
  gw_store_free(process.store);
  free(process.loops);
  process.mgmt = NULL;
  process.store = NULL;
  process.loops = NULL;
}

bool gw_process_ready(eco_service *svc, eco_buf *why) {
  (void)svc;
  bool stopping = atomic_load(&process.stopping);
  if (atomic_load(&process.known) && !stopping) {
    return true;
  }
  (void)eco_buf_puts(why, stopping ? "stopping" : "keys and routes have not been read yet");
  return false;
}
