// Order of start and stop of the gateway's parts; see gateway.h.
#include "gateway.h"

#include <arpa/inet.h>
#include <signal.h>
#include <stdlib.h>

#include "bus.h"
#include "config.h"
#include "ecolink/bus.h"
#include "ecolink/log.h"
#include "metrics.h"

static struct {
  gw_store *store;
  gw_mgmt *mgmt;
  gw_loop **loops;
  size_t n_loops;
  size_t running;
  gw_bus *bus;
  // Read by the kit's admin thread at any time, before the start and during the stop.
  _Atomic bool known;  // keys and routes: from the bus or from the file
  _Atomic bool stopping;
} process;

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

static eco_status start_loops(void) {
  struct sockaddr_storage address;
  ECO_TRY(gw_config_listen_address(&address));
  for (size_t i = 0; i < process.n_loops; i++) {
    ECO_TRY(gw_loop_new((unsigned)i, process.store, process.mgmt, &address, &process.loops[i]));
  }
  for (; process.running < process.n_loops; process.running++) {
    ECO_TRY(gw_loop_start(process.loops[process.running]));
  }
  // The port stands at the same place in both address families.
  eco_log(ECO_LOG_INFO, "listening", ECO_F_STR("listen", gw_cfg.listen),
          ECO_F_I64("port", ntohs(((struct sockaddr_in *)&address)->sin_port)), ECO_F_I64("loops", process.n_loops));
  return eco_success();
}

eco_status gw_process_start(eco_service *svc) {
  signal(SIGPIPE, SIG_IGN);
  gw_metrics_init();
  process.n_loops = (size_t)gw_cfg.loops;
  process.loops = calloc(process.n_loops, sizeof *process.loops);
  process.store = gw_store_new((unsigned)process.n_loops + 1);
  if (!process.loops) {
    abort();
  }
  load_file();
  gw_store_set_behind(process.store, eco_bus_connected(svc) || !atomic_load(&process.known));
  ECO_TRY(gw_mgmt_new(svc, &process.mgmt));
  ECO_TRY(start_loops());
  return gw_bus_start(svc, process.store, process.loops, process.n_loops, (unsigned)process.n_loops, &process.known,
                      &process.bus);
}

void gw_process_stop(eco_service *svc) {
  (void)svc;
  atomic_store(&process.stopping, true);
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
