// Settings, drivers, start and stop.
#include "app.h"

#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#include "ecolink/log.h"
#include "janitor.h"
#include "readiness.h"
#include "regions.h"
#include "rpc_regions.h"
#include "scheduler_limits.h"
#include "store.h"

scheduler_app app;

const eco_setting scheduler_settings[] = {
    {.name = "SEAL_PUBLIC_KEY",
     .kind = ECO_SET_SECRET,  // no secret, but made with one: it may come as a file too
     .target = &app.seal_public_hex,
     .fallback = "",
     .help = "public key that secrets are sealed to (64 hex digits); needed to run"},
    {.name = "SEAL_SECRET_KEY",
     .kind = ECO_SET_SECRET,
     .target = &app.seal_secret_hex,
     .fallback = "",
     .help = "its secret half: the scheduler alone opens sealed secrets"},
    {.name = "PUBLIC_URL",
     .kind = ECO_SET_STR,
     .target = &app.public_url,
     .fallback = "http://localhost:8080",
     .help = "where clients reach the gateway; the base of proxy_url"},
    {.name = "SEED_FILE",
     .kind = ECO_SET_STR,
     .target = &app.seed_file,
     .fallback = "",
     .help = "JSON file of regions and GPU types, created at start when absent"},
    {.name = "PROCESS_STATE_DIR",
     .kind = ECO_SET_STR,
     .target = &app.process.state_dir,
     .fallback = "",
     .help = "state of the process driver; empty: no process driver here"},
    {.name = "PROCESS_RUN_DIR",
     .kind = ECO_SET_STR,
     .target = &app.process.run_dir,
     .fallback = "",
     .help = "where <instance>-<replica>.pid names each live replica; empty: under the state directory"},
    {.name = "PROCESS_BIND_HOST",
     .kind = ECO_SET_STR,
     .target = &app.process.bind_host,
     .fallback = "127.0.0.1",
     .help = "address that replicas listen on, or a name of this machine (IPv4)"},
    {.name = "PROCESS_ALLOW_COMMANDS",
     .kind = ECO_SET_BOOL,
     .target = &app.process.allow_commands,
     .fallback = "false",
     .help = "whether a launch may name any command of this machine"},
    {.name = "PROCESS_SIMULATOR",
     .kind = ECO_SET_STR,
     .target = &app.process.simulator_path,
     .fallback = "",
     .help = "binary of the simulator preset; empty: not offered"},
    {.name = "PROCESS_LLAMA_CPP",
     .kind = ECO_SET_STR,
     .target = &app.process.llama_cpp_path,
     .fallback = "",
     .help = "llama.cpp's server binary; empty: not offered"},
    {.name = "PROCESS_RUN_AS",
     .kind = ECO_SET_STR,
     .target = &app.process.run_as_user,
     .fallback = "",
     .help =
         "unprivileged user that replicas run as when the scheduler is root; <first>-<last>: a user number for each "
         "instance, so that tenants' containers are strangers to each other"},
    {.name = "PROCESS_PORTS",
     .kind = ECO_SET_STR,
     .target = &app.process.ports,
     .fallback = "20000-31999",
     .help = "ports that replicas listen on, <first>-<last>: outside of those that outgoing connections are given"},
    {.name = "KUBECONFIG_DIR",
     .kind = ECO_SET_STR,
     .target = &app.kubeconfig_dir,
     .fallback = "",
     .help = "where the kubeconfig files lie that regions of driver kubernetes name"},
    {.name = "SERVICE_ACCOUNT_DIR",
     .kind = ECO_SET_STR,
     .target = &app.service_account_dir,
     .fallback = "/var/run/secrets/kubernetes.io/serviceaccount",
     .help = "token and authority for regions that say in_cluster"},
    {.name = "KUBERNETES_SIMULATOR",
     .kind = ECO_SET_BOOL,
     .target = &app.kubernetes_simulator,
     .fallback = "false",
     .help = "offer the simulator in Kubernetes regions too: for test clusters"},
    {.name = "KUBERNETES_HEARTBEAT_MS",
     .kind = ECO_SET_I64,
     .target = &app.kubernetes_heartbeat_ms,
     .fallback = "5000",
     .min = 100,
     .max = 60000,
     .help =
         "how often each API server is asked whether it is there; after three unanswered ones nothing is concluded"},
    {.name = "READY_INTERVAL_MS",
     .kind = ECO_SET_I64,
     .target = &app.ready_interval_ms,
     .fallback = "1000",
     .min = 50,
     .max = 60000,
     .help = "how often each region is observed and its replicas are probed"},
    {.name = "STARTUP_DEADLINE_S",
     .kind = ECO_SET_I64,
     .target = &app.startup_deadline_s,
     .fallback = "900",
     .min = 1,
     .max = 14400,
     .help = "seconds without progress after which a start has failed"},
    {.name = "METER_INTERVAL_MS",
     .kind = ECO_SET_I64,
     .target = &app.meter_interval_ms,
     .fallback = "5000",
     .min = 100,
     .max = 60000,
     .help = "how often the proved uptime of a region is written down"},
    {.name = "DRAIN_DEFAULT_S",
     .kind = ECO_SET_I64,
     .target = &app.drain_default_s,
     .fallback = "30",
     .min = 0,
     .max = 3600,
     .help = "seconds that requests in flight get when a replica ends"},
    {.name = "HOLD_GRACE_S",
     .kind = ECO_SET_I64,
     .target = &app.hold_grace_s,
     .fallback = "21600",
     .min = 1,
     .max = 604800,
     .help = "seconds that an instance runs on after its hold has expired unrenewed, billing being out of reach"},
    {.name = "WEIGHTS_IMAGE",
     .kind = ECO_SET_STR,
     .target = &app.weights_image,
     .fallback = "",
     .help = "image that brings weights to Kubernetes regions which name none; empty: engines download for themselves"},
    {.name = "WEIGHTS_KEEP_S",
     .kind = ECO_SET_I64,
     .target = &app.weights_keep_s,
     .fallback = "1209600",
     .min = 1,
     .max = 31536000,
     .help = "seconds that a region's volume of weights is kept while no replica uses it"},
    {.name = "LOG_KEEP_S",
     .kind = ECO_SET_I64,
     .target = &app.log_keep_s,
     .fallback = "604800",
     .min = 0,
     .max = 31536000,
     .help = "seconds that logs of an ended instance are kept"},
    ECO_SETTING_END,
};

eco_status app_check(void) {
  ECO_TRY(eco_context(eco_seal_key_parse(app.seal_public_hex, &app.seal_public), "ECOLINK_SCHEDULER_SEAL_PUBLIC_KEY"));
  ECO_TRY(eco_context(eco_seal_key_parse(app.seal_secret_hex, &app.seal_secret), "ECOLINK_SCHEDULER_SEAL_SECRET_KEY"));
  size_t n = strlen(app.public_url);
  if (n == 0 || app.public_url[n - 1] == '/') {
    return eco_error(ECO_INVALID_REQUEST, "ECOLINK_SCHEDULER_PUBLIC_URL must not be empty nor end with /");
  }
  return eco_success();
}

static _Atomic(driver *) kube_driver;

driver *app_driver(const char *name) {
  if (strcmp(name, "kubernetes") == 0) {
    return atomic_load(&kube_driver);
  }
  return strcmp(name, "process") == 0 ? app.process_driver : NULL;
}

static bool may_write(void *arg, const char *region) {
  char lease[SCHED_REGION_MAX + 16];
  int64_t epoch = 0;
  (void)snprintf(lease, sizeof(lease), "region:%s", region);
  return eco_lease_held(arg, lease, &epoch);
}

static void on_change(void *arg, const char *region) {
  (void)arg;
  regions_wake_one(region);
}

static void keep_log(void *arg, int64_t instance_id, int replica_id, const char *lines) {
  eco_ctx *ctx = eco_ctx_new(arg);
  eco_tx *tx = NULL;
  eco_status st = eco_tx_begin(ctx->db, &tx);
  if (eco_ok(st)) {
    st = store_logs_keep(tx, instance_id, replica_id, lines);
    if (eco_ok(st)) {
      st = eco_tx_commit(tx);
    } else {
      eco_tx_rollback(tx);
    }
  }
  eco_ctx_free(ctx);
  if (!eco_ok(st)) {
    eco_log(ECO_LOG_WARN, "the last lines of a replica are lost", ECO_F_I64("instance", instance_id),
            ECO_F_I64("replica", replica_id), ECO_F_STATUS(st));
  }
}

eco_status app_open_kubernetes(eco_ctx *ctx) {
  const char *installation = NULL;
  driver *d = NULL;
  eco_tx *tx = NULL;
  if (atomic_load(&kube_driver) || eco_service_stopping(ctx->service)) {
    return eco_success();
  }
  ECO_TRY(eco_tx_begin(ctx->db, &tx));
  eco_status st = store_installation(tx, ctx->arena, &installation);
  eco_tx_rollback(tx);
  ECO_TRY(st);
  const kube_driver_options options = {
      .installation = installation,
      .kubeconfig_dir = app.kubeconfig_dir,
      .service_account_dir = app.service_account_dir,
      .weights_image = app.weights_image,
      .offer_simulator = app.kubernetes_simulator,
      .heartbeat_ms = app.kubernetes_heartbeat_ms,
      .weights_keep_s = app.weights_keep_s,
      .host = {.may_write = may_write, .changed = on_change, .keep_log = keep_log, .arg = ctx->service}};
  ECO_TRY(kube_driver_open(&options, &d));
  atomic_store(&kube_driver, d);
  return eco_success();
}

static atomic_bool standing_by;
static atomic_bool seeded;
static atomic_bool configured;  // every region was told to its driver once

// The process driver's state belongs to one process at a time. Whoever comes second stands by until the first has
// ended.
static eco_status open_process_driver(void) {
  for (;;) {
    eco_status st = process_driver_open(&app.process, &app.process_driver);
    if (st.code != ECO_CONTROL_PLANE_UNAVAILABLE) {
      return st;
    }
    if (!atomic_exchange(&standing_by, true)) {
      eco_log(ECO_LOG_INFO, "another scheduler runs this machine's replicas: standing by", ECO_F_STATUS(st));
    }
    sigset_t pending;
    sigpending(&pending);
    if (sigismember(&pending, SIGTERM) == 1 || sigismember(&pending, SIGINT) == 1) {
      return eco_success();  // asked to end meanwhile: the kit finds the signal next
    }
  }
}

eco_status app_start(eco_service *svc) {
  (void)svc;
  readiness_init();
  if (*app.process.state_dir) {
    ECO_TRY(open_process_driver());
    atomic_store(&standing_by, false);
  }
  return eco_success();
}

eco_status app_seed(eco_ctx *ctx) {
  if (*app.seed_file && !atomic_load(&seeded)) {
    ECO_TRY(seed_apply(ctx->db, app.seed_file));
  }
  atomic_store(&seeded, true);
  return eco_success();
}

void app_configured(void) {
  atomic_store(&configured, true);
}

bool app_ready(eco_service *svc, eco_buf *why) {
  (void)svc;
  if (atomic_load(&standing_by)) {
    eco_buf_puts(why, "standing by: another scheduler runs this machine's replicas\n");
    return false;
  }
  if (!atomic_load(&configured)) {
    eco_buf_puts(why,
                 atomic_load(&seeded) ? "the regions are not configured yet\n" : "the seed file is not applied yet\n");
    return false;
  }
  return true;
}

void app_stop(eco_service *svc) {
  (void)svc;
  regions_stop();
  janitor_stop();
  if (app.process_driver) {
    app.process_driver->ops->close(app.process_driver);
    app.process_driver = NULL;
  }
  driver *kube = atomic_exchange(&kube_driver, NULL);
  if (kube) {
    kube->ops->close(kube);
  }
}
