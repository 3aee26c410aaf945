// The billing service as tables: what it serves, consumes, publishes and does on its own.
#include "ecolink/service.h"
#include "ecolink/v1/billing.pb-c.h"
#include "ecolink/v1/gateway.pb-c.h"
#include "ecolink/v1/registry.pb-c.h"
#include "ecolink/v1/scheduler.pb-c.h"
#include "handlers.h"
#include "publish.h"
#include "settings.h"

extern const eco_migration billing_migrations[];

#define METHOD(name, request_type, reply_type, mode_, allow_, fn_)                                     \
  {                                                                                                    \
    .method = (name), .request = &ecolink__v1__##request_type##__descriptor,                           \
    .reply = &ecolink__v1__##reply_type##__descriptor, .mode = (mode_), .allow = (allow_), .fn = (fn_) \
  }

static const eco_rpc_def rpcs[] = {
    METHOD("PlaceHold", place_hold_request, place_hold_response, ECO_RPC_WRITE, ECO_ALLOW_SERVICE, rpc_place_hold),
    METHOD("CloseHold", close_hold_request, close_hold_response, ECO_RPC_WRITE, ECO_ALLOW_SERVICE, rpc_close_hold),
    METHOD("GetBalance", get_balance_request, balance, ECO_RPC_READ, ECO_ALLOW_TEAM, rpc_get_balance),
    METHOD("ListTransactions", list_transactions_request, transaction_list, ECO_RPC_READ, ECO_ALLOW_TEAM,
           rpc_list_transactions),
    METHOD("GetUsage", get_usage_request, usage_list, ECO_RPC_READ, ECO_ALLOW_TEAM, rpc_get_usage),
    METHOD("ListNotices", list_notices_request, notice_list, ECO_RPC_READ, ECO_ALLOW_TEAM, rpc_list_notices),
    METHOD("TopUp", top_up_request, transaction, ECO_RPC_MANUAL, ECO_ALLOW_OPERATOR, rpc_top_up),
    METHOD("CreateCorrection", create_correction_request, correction, ECO_RPC_WRITE, ECO_ALLOW_OPERATOR,
           rpc_create_correction),
    METHOD("ApproveCorrection", approve_correction_request, correction, ECO_RPC_WRITE, ECO_ALLOW_OPERATOR,
           rpc_approve_correction),
    {0},
};

static const eco_consumer_def consumers[] = {
    {"registry", "account", &ecolink__v1__account__descriptor, true, consume_account},
    {"scheduler", "instance", &ecolink__v1__instance_state__descriptor, true, consume_instance},
    {"gateway", "usage", &ecolink__v1__usage_batch__descriptor, false, consume_usage},
    {0},
};

static const eco_snapshot_def snapshots[] = {
    {"hold", publish_snapshot_hold},
    {"balance", publish_snapshot_balance},
    {0},
};

static const eco_kv_def kv[] = {
    {"standing", publish_kv_standing},
    {"prices", publish_kv_prices},
    {0},
};

// Intervals are settings: filled in by check_settings, before any thread reads them.
static eco_timer_def timers[] = {
    {.name = "cycles", .lease = "worker", .fn = timer_cycles},
    {.name = "notices", .lease = "worker", .fn = timer_notices},
    {0},
};

static const char *const calls[] = {"registry.GetAccount", "scheduler.ReadMeter", NULL};

static eco_status check_settings(void) {
  timers[0].interval_ms = (int)billing_set.tick_ms;
  timers[1].interval_ms = (int)billing_set.notice_tick_ms;
  return eco_success();
}

static const eco_service_def service = {
    .name = "billing",
    .summary = "wallets, ledger, holds, cycles, usage and notices",
    .settings = billing_setting_table,
    .migrations = billing_migrations,
    .rpcs = rpcs,
    .consumers = consumers,
    .snapshots = snapshots,
    .kv = kv,
    .timers = timers,
    .calls = calls,
    .check = check_settings,
};

int main(int argc, char **argv) {
  return eco_service_main(&service, argc, argv);
}
