// The scheduler: placement, the lifecycle of instances, reconcilers, the meter. This file is its table.
#include <malloc.h>

#include "app.h"
#include "consumers.h"
#include "ecolink/v1/billing.pb-c.h"
#include "ecolink/v1/health.pb-c.h"
#include "ecolink/v1/scheduler.pb-c.h"
#include "janitor.h"
#include "launch.h"
#include "lost.h"
#include "regions.h"
#include "rpc_instances.h"
#include "rpc_meter.h"
#include "rpc_regions.h"
#include "stop.h"

extern const eco_migration scheduler_migrations[];

#define D(name) &ecolink__v1__##name##__descriptor
enum { ANYBODY = ECO_ALLOW_TEAM | ECO_ALLOW_INFERENCE | ECO_ALLOW_OPERATOR };
enum { ARENAS_MAX = 2 };

static const eco_rpc_def RPCS[] = {
    {"Launch", D(launch_request), D(instance), ECO_RPC_MANUAL, ECO_ALLOW_TEAM, rpc_launch},
    {"Quote", D(launch_request), D(quote), ECO_RPC_MANUAL, ECO_ALLOW_TEAM, rpc_quote},
    {"GetInstance", D(get_instance_request), D(instance), ECO_RPC_READ, ECO_ALLOW_TEAM, rpc_get_instance},
    {"ListInstances", D(list_instances_request), D(instance_list), ECO_RPC_READ, ECO_ALLOW_TEAM, rpc_list_instances},
    {"StopInstance", D(stop_instance_request), D(instance), ECO_RPC_WRITE, ECO_ALLOW_TEAM, rpc_stop},
    {"RestartInstance", D(restart_instance_request), D(instance), ECO_RPC_WRITE, ECO_ALLOW_TEAM, rpc_restart},
    {"AdminStopInstance", D(admin_stop_instance_request), D(instance), ECO_RPC_WRITE, ECO_ALLOW_OPERATOR,
     rpc_admin_stop},
    {"ListInstanceEvents", D(list_instance_events_request), D(instance_event_list), ECO_RPC_READ, ECO_ALLOW_TEAM,
     rpc_list_events},
    {"ReadInstanceLogs", D(read_instance_logs_request), D(instance_logs), ECO_RPC_MANUAL, ECO_ALLOW_TEAM,
     rpc_read_logs},
    {"PutRegion", D(put_region_request), D(region), ECO_RPC_WRITE, ECO_ALLOW_OPERATOR, rpc_put_region},
    {"GetRegion", D(get_region_request), D(region), ECO_RPC_READ, ANYBODY, rpc_get_region},
    {"ListRegions", D(list_regions_request), D(region_list), ECO_RPC_READ, ANYBODY, rpc_list_regions},
    {"DeleteRegion", D(delete_region_request), D(region), ECO_RPC_WRITE, ECO_ALLOW_OPERATOR, rpc_delete_region},
    {"PutGpuType", D(put_gpu_type_request), D(gpu_type), ECO_RPC_WRITE, ECO_ALLOW_OPERATOR, rpc_put_gpu_type},
    {"GetGpuType", D(get_gpu_type_request), D(gpu_type), ECO_RPC_READ, ANYBODY, rpc_get_gpu_type},
    {"ListGpuTypes", D(list_gpu_types_request), D(gpu_type_list), ECO_RPC_READ, ANYBODY, rpc_list_gpu_types},
    {"DeleteGpuType", D(delete_gpu_type_request), D(gpu_type), ECO_RPC_WRITE, ECO_ALLOW_OPERATOR, rpc_delete_gpu_type},
    {"ReadMeter", D(read_meter_request), D(read_meter_response), ECO_RPC_READ, ECO_ALLOW_SERVICE, rpc_read_meter},
    {.method = NULL},
};

static const eco_consumer_def CONSUMERS[] = {
    {"billing", "hold", D(hold_state), true, on_hold},
    {"health", "replica", D(replica_health), false, on_replica_health},
    {.owner = NULL},
};

static const eco_snapshot_def SNAPSHOTS[] = {
    {"instance", snapshot_instances},
    {"replica", snapshot_replicas},
    {.entity = NULL},
};

static const eco_kv_def KV[] = {{"routes", routes_source}, {.bucket = NULL}};

static const eco_timer_def TIMERS[] = {
    {"regions", 1000, NULL, regions_refresh},
    {"launch-recovery", 1000, "launch-recovery", launch_recover},
    {"holds", 5000, "holds", janitor_holds},
    {"leavings", 60000, "leavings", janitor_leavings},
    {"lost-regions", 1000, "lost-regions", lost_regions},
    {.name = NULL},
};

static const char *const CALLS[] = {"registry.DescribeModel", "registry.AcquireModel", "billing.PlaceHold",
                                    "billing.CloseHold", NULL};

static const eco_service_def SERVICE = {
    .name = "scheduler",
    .summary = "Places and runs instances, and keeps the evidence of their uptime.",
    .settings = scheduler_settings,
    .migrations = scheduler_migrations,
    .rpcs = RPCS,
    .consumers = CONSUMERS,
    .snapshots = SNAPSHOTS,
    .kv = KV,
    .timers = TIMERS,
    .calls = CALLS,
    .check = app_check,
    .start = app_start,
    .stop = app_stop,
    .ready = app_ready,
};

int main(int argc, char **argv) {
  // threads that list thousands of objects would each keep an arena of that size
  (void)mallopt(M_ARENA_MAX, ARENAS_MAX);
  return eco_service_main(&SERVICE, argc, argv);
}
