// health: probes replicas, listens to what gateways saw, and steers routing. Wiring only.
#include <curl/curl.h>

#include "ecolink/v1/gateway.pb-c.h"
#include "ecolink/v1/health.pb-c.h"
#include "ecolink/v1/scheduler.pb-c.h"
#include "handlers.h"
#include "health_limits.h"

extern const eco_migration health_migrations[];

static prober *running;

static const eco_setting SETTINGS[] = {
    {.name = "PROBE_INTERVAL_MS",
     .kind = ECO_SET_I64,
     .target = &health_config.interval_ms,
     .fallback = "2000",
     .min = 50,
     .max = 60000,
     .help = "every replica is probed once in so many milliseconds; verdicts expire after three times that"},
    {.name = "PROBE_TIMEOUT_MS",
     .kind = ECO_SET_I64,
     .target = &health_config.timeout_ms,
     .fallback = "1000",
     .min = 10,
     .max = 30000,
     .help = "a probe without an answer fails after so many milliseconds"},
    {.name = "UNHEALTHY_AFTER",
     .kind = ECO_SET_I64,
     .target = &health_config.unhealthy_after,
     .fallback = "3",
     .min = 1,
     .max = 100,
     .help = "failures in a row that make a replica unhealthy"},
    {.name = "HEALTHY_AFTER",
     .kind = ECO_SET_I64,
     .target = &health_config.healthy_after,
     .fallback = "2",
     .min = 1,
     .max = 100,
     .help = "successes in a row that make it healthy again"},
    {.name = "PROBE_CONCURRENCY",
     .kind = ECO_SET_I64,
     .target = &health_config.concurrency,
     .fallback = "128",
     .min = 1,
     .max = 2000,
     .help = "probes under way at once"},
    ECO_SETTING_END,
};

#define MSG(name) &ecolink__v1__##name##__descriptor

static const eco_rpc_def RPCS[] = {
    {.method = "GetHealthStatus",
     .request = MSG(get_health_status_request),
     .reply = MSG(health_status),
     .mode = ECO_RPC_READ,
     .allow = ECO_ALLOW_TEAM | ECO_ALLOW_OPERATOR | ECO_ALLOW_SERVICE,
     .fn = health_rpc_get_status},
    {.method = "ListRegionHealth",
     .request = MSG(list_region_health_request),
     .reply = MSG(region_health_list),
     .mode = ECO_RPC_READ,
     .allow = ECO_ALLOW_OPERATOR | ECO_ALLOW_SERVICE,
     .fn = health_rpc_list_regions},
    {.method = NULL},
};

static const eco_consumer_def CONSUMERS[] = {
    {.owner = "scheduler", .entity = "replica", .state = MSG(replica_state), .snapshot = true, .fn = health_on_replica},
    {.owner = "gateway",
     .entity = "upstream",
     .state = MSG(upstream_failure),
     .snapshot = false,
     .fn = health_on_upstream},
    {.owner = NULL},
};

static const eco_kv_def KV[] = {
    {.bucket = "health", .source = NULL},
    {.bucket = NULL},
};

static const eco_timer_def TIMERS[] = {
    {.name = "sweep", .interval_ms = HEALTH_SWEEP_INTERVAL_MS, .lease = "sweep", .fn = health_timer_sweep},
    {.name = NULL},
};

static eco_status check(void) {
  if (health_config.timeout_ms > health_config.interval_ms) {
    return eco_error(ECO_INVALID_REQUEST,
                     "ECOLINK_HEALTH_PROBE_TIMEOUT_MS must not exceed ECOLINK_HEALTH_PROBE_INTERVAL_MS");
  }
  if (curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK) {
    return eco_error(ECO_INTERNAL, "libcurl does not start");
  }
  return eco_success();
}

static eco_status start(eco_service *svc) {
  return prober_start(svc, &health_config, &running);
}

static void stop(eco_service *svc) {
  (void)svc;
  prober_stop(running);
  running = NULL;
}

static const eco_service_def SERVICE = {
    .name = "health",
    .summary = "Probes replicas, listens to what gateways saw, and steers routing.",
    .settings = SETTINGS,
    .migrations = health_migrations,
    .rpcs = RPCS,
    .consumers = CONSUMERS,
    .kv = KV,
    .timers = TIMERS,
    .check = check,
    .start = start,
    .stop = stop,
};

int main(int argc, char **argv) {
  return eco_service_main(&SERVICE, argc, argv);
}
