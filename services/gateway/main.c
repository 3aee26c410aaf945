// ecolink-gateway: the table that the kit runs.
#include <string.h>

#include "config.h"
#include "endpoints.h"
#include "gateway.h"
#include "mgmt.h"
#include "snapshot.h"

static const char *const PUBLISHES[] = {"gateway.usage.recorded", "gateway.upstream.failed", NULL};
static const char *const READS_KV[] = {"keys", "routes", "health", NULL};

int main(int argc, char **argv) {
  if (argc == 4 && strcmp(argv[1], "snapshot-from-json") == 0) {
    return gw_snapshot_from_json(argv[2], argv[3]);
  }
  if (argc == 2 && strcmp(argv[1], "--list-routes") == 0) {
    return gw_routes_print(stdout);
  }
  const eco_service_def def = {
      .name = "gateway",
      .summary = "the public API: routes model requests to replicas, and the management API to the control plane",
      .settings = gw_settings,
      .calls = gw_mgmt_calls,
      .publishes = PUBLISHES,
      .reads_kv = READS_KV,
      .check = gw_config_check,
      .start = gw_process_start,
      .stop = gw_process_stop,
      .ready = gw_process_ready,
      .own_admin = true,
  };
  return eco_service_main(&def, argc, argv);
}
