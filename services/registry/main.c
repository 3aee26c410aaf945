// registry: accounts, members, operators, API keys, models, shared filesystems, the platform catalogue. Wiring only.
#include <string.h>
#include <strings.h>

#include "ecolink/v1/gateway.pb-c.h"
#include "ecolink/v1/registry.pb-c.h"
#include "ecolink/v1/scheduler.pb-c.h"
#include "handlers.h"
#include "hub_client.h"
#include "registry_limits.h"

extern const eco_migration registry_migrations[];

registry_settings registry_config;
static int64_t pin_check_ms;

static const eco_setting SETTINGS[] = {
    {.name = "BOOTSTRAP_KEY",
     .kind = ECO_SET_SECRET,
     .target = &registry_config.bootstrap_key,
     .fallback = "",
     .help = "an eco_ key that acts as operator `bootstrap`: it creates the first two operators. Empty: none"},
    {.name = "HUB_URL",
     .kind = ECO_SET_STR,
     .target = &registry_config.hub_url,
     .fallback = "",
     .help = "model hub that is asked whether a repository exists, e.g. https://huggingface.co. Empty: never ask"},
    {.name = "HUB_TIMEOUT_MS",
     .kind = ECO_SET_I64,
     .target = &registry_config.hub_timeout_ms,
     .fallback = "3000",
     .min = 100,
     .max = 8000,
     .help = "how long the hub may take, in milliseconds; without an answer the model is taken as given"},
    {.name = "PIN_CHECK_MS",
     .kind = ECO_SET_I64,
     .target = &pin_check_ms,
     .fallback = "60000",
     .min = 100,
     .max = 3600000,
     .help = "how often old pins are compared with the scheduler's instances, in milliseconds"},
    ECO_SETTING_END,
};

#define MSG(name) &ecolink__v1__##name##__descriptor
#define RPC(method_, request_, reply_, mode_, allow_, fn_)                                                   \
  {                                                                                                          \
    .method = (method_), .request = MSG(request_), .reply = MSG(reply_), .mode = (mode_), .allow = (allow_), \
    .fn = (fn_)                                                                                              \
  }
// The catalogue is public.
#define ANYBODY (ECO_ALLOW_PUBLIC | ECO_ALLOW_TEAM | ECO_ALLOW_INFERENCE | ECO_ALLOW_OPERATOR | ECO_ALLOW_SERVICE)

// clang-format off
static const eco_rpc_def RPCS[] = {
    RPC("CreateAccount", create_account_request, create_account_response, ECO_RPC_WRITE, ECO_ALLOW_OPERATOR, registry_rpc_create_account),
    RPC("GetAccount", get_account_request, account, ECO_RPC_READ, ECO_ALLOW_OPERATOR | ECO_ALLOW_SERVICE, registry_rpc_get_account),
    RPC("ListAccounts", list_accounts_request, account_list, ECO_RPC_READ, ECO_ALLOW_OPERATOR, registry_rpc_list_accounts),
    RPC("CreateOperator", create_operator_request, operator, ECO_RPC_WRITE, ECO_ALLOW_OPERATOR, registry_rpc_create_operator),
    RPC("ListOperators", list_operators_request, operator_list, ECO_RPC_READ, ECO_ALLOW_OPERATOR, registry_rpc_list_operators),
    RPC("CreateModel", create_model_request, model, ECO_RPC_MANUAL, ECO_ALLOW_TEAM, registry_rpc_create_model),
    RPC("GetModel", get_model_request, model, ECO_RPC_READ, ECO_ALLOW_TEAM, registry_rpc_get_model),
    RPC("ListModels", list_models_request, model_list, ECO_RPC_READ, ECO_ALLOW_TEAM, registry_rpc_list_models),
    RPC("DeleteModel", delete_model_request, model, ECO_RPC_WRITE, ECO_ALLOW_TEAM, registry_rpc_delete_model),
    RPC("CreateFilesystem", create_filesystem_request, filesystem, ECO_RPC_WRITE, ECO_ALLOW_TEAM, registry_rpc_create_filesystem),
    RPC("GetFilesystem", get_filesystem_request, filesystem, ECO_RPC_READ, ECO_ALLOW_TEAM, registry_rpc_get_filesystem),
    RPC("ListFilesystems", list_filesystems_request, filesystem_list, ECO_RPC_READ, ECO_ALLOW_TEAM, registry_rpc_list_filesystems),
    RPC("DeleteFilesystem", delete_filesystem_request, filesystem, ECO_RPC_WRITE, ECO_ALLOW_TEAM, registry_rpc_delete_filesystem),
    RPC("CreateApiKey", create_api_key_request, api_key, ECO_RPC_WRITE, ECO_ALLOW_OWNER, registry_rpc_create_api_key),
    RPC("GetApiKey", get_api_key_request, api_key, ECO_RPC_READ, ECO_ALLOW_OWNER, registry_rpc_get_api_key),
    RPC("ListApiKeys", list_api_keys_request, api_key_list, ECO_RPC_READ, ECO_ALLOW_OWNER, registry_rpc_list_api_keys),
    RPC("RevokeApiKey", revoke_api_key_request, api_key, ECO_RPC_WRITE, ECO_ALLOW_OWNER, registry_rpc_revoke_api_key),
    RPC("ListMembers", list_members_request, member_list, ECO_RPC_READ, ECO_ALLOW_TEAM, registry_rpc_list_members),
    RPC("DeleteMember", delete_member_request, member, ECO_RPC_WRITE, ECO_ALLOW_OWNER, registry_rpc_delete_member),
    RPC("CreateInvite", create_invite_request, invite, ECO_RPC_WRITE, ECO_ALLOW_OWNER, registry_rpc_create_invite),
    RPC("AcceptInvite", accept_invite_request, accept_invite_response, ECO_RPC_WRITE, ANYBODY, registry_rpc_accept_invite),
    RPC("PutPlatformModel", put_platform_model_request, platform_model, ECO_RPC_WRITE, ECO_ALLOW_OPERATOR, registry_rpc_put_platform_model),
    RPC("GetPlatformModel", get_platform_model_request, platform_model, ECO_RPC_READ, ANYBODY, registry_rpc_get_platform_model),
    RPC("ListPlatformModels", list_platform_models_request, platform_model_list, ECO_RPC_READ, ANYBODY, registry_rpc_list_platform_models),
    RPC("DeletePlatformModel", delete_platform_model_request, platform_model, ECO_RPC_WRITE, ECO_ALLOW_OPERATOR, registry_rpc_delete_platform_model),
    RPC("AcquireModel", acquire_model_request, acquire_model_response, ECO_RPC_WRITE, ECO_ALLOW_SERVICE, registry_rpc_acquire_model),
    RPC("DescribeModel", describe_model_request, acquire_model_response, ECO_RPC_READ, ECO_ALLOW_SERVICE, registry_rpc_describe_model),
    {.method = NULL},
};
// clang-format on

static const eco_consumer_def CONSUMERS[] = {
    {.owner = "scheduler",
     .entity = "instance",
     .state = MSG(instance_state),
     .snapshot = true,
     .fn = registry_on_instance},
    {.owner = "gateway", .entity = "usage", .state = MSG(usage_batch), .snapshot = false, .fn = registry_on_usage},
    {.owner = NULL},
};

static const eco_snapshot_def SNAPSHOTS[] = {
    {.entity = "account", .fn = registry_snapshot_accounts},
    {.entity = "key", .fn = registry_snapshot_keys},
    {.entity = "model", .fn = registry_snapshot_models},
    {.entity = NULL},
};

static const eco_kv_def KV[] = {
    {.bucket = "keys", .source = registry_kv_keys},
    {.bucket = NULL},
};

enum { TIMER_PINS = 1 };
// The interval of `pins` is a setting: filled by check().
static eco_timer_def TIMERS[] = {
    {.name = "bootstrap", .interval_ms = 1000, .lease = NULL, .fn = registry_timer_bootstrap},
    [TIMER_PINS] = {.name = "pins", .lease = "pins", .fn = registry_timer_pins},
    {.name = NULL},
};

static const char *const CALLS[] = {"scheduler.ReadMeter", NULL};

static eco_status check(void) {
  TIMERS[TIMER_PINS].interval_ms = (int)pin_check_ms;
  const char *key = registry_config.bootstrap_key;
  if (key[0] != '\0' && !eco_api_key_is(key, strlen(key))) {
    return eco_error(ECO_INVALID_REQUEST,
                     "ECOLINK_REGISTRY_BOOTSTRAP_KEY: must be eco_ and 52 characters of its alphabet");
  }
  const char *url = registry_config.hub_url;
  if (url[0] != '\0' && strncasecmp(url, "https://", 8) != 0 && strncasecmp(url, "http://", 7) != 0) {
    return eco_error(ECO_INVALID_REQUEST, "ECOLINK_REGISTRY_HUB_URL: must begin with https:// or http://");
  }
  return registry_hub_init();
}

static const eco_service_def SERVICE = {
    .name = "registry",
    .summary = "Accounts, members, API keys, models, shared filesystems and the platform catalogue.",
    .settings = SETTINGS,
    .migrations = registry_migrations,
    .rpcs = RPCS,
    .consumers = CONSUMERS,
    .snapshots = SNAPSHOTS,
    .kv = KV,
    .timers = TIMERS,
    .calls = CALLS,
    .check = check,
    .ready = registry_bootstrap_ready,
};

int main(int argc, char **argv) {
  return eco_service_main(&SERVICE, argc, argv);
}
