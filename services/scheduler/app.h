// Settings and the drivers: what every handler of the process shares. Filled before threads start, read-only
// afterwards.
#ifndef SCHEDULER_APP_H
#define SCHEDULER_APP_H

#include "driver.h"
#include "ecolink/buf.h"
#include "ecolink/config.h"
#include "ecolink/seal.h"

typedef struct scheduler_app {
  const char *seal_public_hex;
  const char *seal_secret_hex;
  const char *public_url;
  const char *seed_file;
  process_driver_options process;
  int64_t ready_interval_ms;
  int64_t startup_deadline_s;
  int64_t meter_interval_ms;
  int64_t drain_default_s;
  int64_t hold_grace_s;
  int64_t log_keep_s;
  int64_t weights_keep_s;

  eco_seal_key seal_public;
  eco_seal_key seal_secret;
  const char *kubeconfig_dir;
  const char *service_account_dir;
  const char *weights_image;
  bool kubernetes_simulator;
  int64_t kubernetes_heartbeat_ms;
  driver *process_driver;  // NULL: no PROCESS_STATE_DIR was given
} scheduler_app;

extern scheduler_app app;
extern const eco_setting scheduler_settings[];

// Parses keys; refuses bad combinations.
ECO_CHECKED eco_status app_check(void);
// Opens the drivers, applies the seed file, starts the regions' reconcilers.
ECO_CHECKED eco_status app_start(eco_service *svc);
// Applies SEED_FILE, once; tried again by the timer until the database takes it.
ECO_CHECKED eco_status app_seed(eco_ctx *ctx);
// Every region has been told to its driver once.
void app_configured(void);
// False, with the reason, until the seed is applied, the regions are told to their drivers and the process driver is
// ours.
bool app_ready(eco_service *svc, eco_buf *why);
// Stops the reconcilers; replicas go on.
void app_stop(eco_service *svc);
// Opens the Kubernetes driver once the installation's identity can be read. Timer's thread alone.
ECO_CHECKED eco_status app_open_kubernetes(eco_ctx *ctx);
// The driver of that name, or NULL when this process has none.
driver *app_driver(const char *name);

#endif
