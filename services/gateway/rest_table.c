// Every route of the management API.
#include "rest_table.h"

#include <stdio.h>
#include <string.h>

#include "ecolink/v1/billing.pb-c.h"
#include "ecolink/v1/registry.pb-c.h"
#include "ecolink/v1/scheduler.pb-c.h"

#define MSG(name) &ecolink__v1__##name##__descriptor
#define TEAM ECO_ALLOW_TEAM
#define OWNER ECO_ALLOW_OWNER
#define OPERATOR ECO_ALLOW_OPERATOR
#define ANY_KEY (ECO_ALLOW_TEAM | ECO_ALLOW_INFERENCE | ECO_ALLOW_OPERATOR)
#define PUBLIC (ECO_ALLOW_PUBLIC | ANY_KEY)

// Three shapes of row: with a JSON body, without one, and either with something beside.
#define BODY(m, p, rpc, req, rep, status, allow) \
  { m, p, rpc, MSG(req), MSG(rep), status, allow, true, REST_PLAIN }
#define BARE(m, p, rpc, req, rep, status, allow) \
  { m, p, rpc, MSG(req), MSG(rep), status, allow, false, REST_PLAIN }
#define WITH(m, p, rpc, req, rep, status, allow, body, extra) \
  { m, p, rpc, MSG(req), MSG(rep), status, allow, body, extra }

// clang-format off
const rest_row rest_table[] = {
    BODY("POST",   "/models",      "registry.CreateModel", create_model_request, model,      201, TEAM),
    BARE("GET",    "/models",      "registry.ListModels",  list_models_request,  model_list, 200, TEAM),
    BARE("GET",    "/models/{id}", "registry.GetModel",    get_model_request,    model,      200, TEAM),
    BARE("DELETE", "/models/{id}", "registry.DeleteModel", delete_model_request, model,      200, TEAM),

    BODY("POST",   "/filesystems",      "registry.CreateFilesystem", create_filesystem_request, filesystem,      201, TEAM),
    BARE("GET",    "/filesystems",      "registry.ListFilesystems",  list_filesystems_request,  filesystem_list, 200, TEAM),
    BARE("GET",    "/filesystems/{id}", "registry.GetFilesystem",    get_filesystem_request,    filesystem,      200, TEAM),
    BARE("DELETE", "/filesystems/{id}", "registry.DeleteFilesystem", delete_filesystem_request, filesystem,      200, TEAM),

    WITH("POST",   "/inference-instances", "scheduler.Launch", launch_request, instance, 201, TEAM, true, REST_LAUNCH),
    BARE("GET",    "/inference-instances", "scheduler.ListInstances", list_instances_request, instance_list, 200, TEAM),
    BARE("GET",    "/inference-instances/{id}", "scheduler.GetInstance",  get_instance_request,  instance, 200, TEAM),
    BARE("DELETE", "/inference-instances/{id}", "scheduler.StopInstance", stop_instance_request, instance, 200, TEAM),
    BARE("POST",   "/inference-instances/{id}/stop", "scheduler.StopInstance", stop_instance_request, instance, 200, TEAM),
    BARE("POST",   "/inference-instances/{id}/restart", "scheduler.RestartInstance", restart_instance_request, instance, 200, TEAM),
    WITH("GET",    "/inference-instances/{id}/events", "scheduler.ListInstanceEvents", list_instance_events_request,
         instance_event_list, 200, TEAM, false, REST_FOLLOW_EVENTS),
    WITH("GET",    "/inference-instances/{id}/logs", "scheduler.ReadInstanceLogs", read_instance_logs_request,
         instance_logs, 200, TEAM, false, REST_FOLLOW_LOGS),

    BODY("POST",   "/api-keys",      "registry.CreateApiKey", create_api_key_request, api_key,      201, OWNER),
    BARE("GET",    "/api-keys",      "registry.ListApiKeys",  list_api_keys_request,  api_key_list, 200, OWNER),
    BARE("DELETE", "/api-keys/{id}", "registry.RevokeApiKey", revoke_api_key_request, api_key,      200, OWNER),

    BARE("GET",    "/billing/balance", "billing.GetBalance", get_balance_request, balance, 200, TEAM),
    WITH("GET",    "/billing/transactions", "billing.ListTransactions", list_transactions_request, transaction_list, 200, TEAM,
         false, REST_CSV),
    BARE("GET",    "/billing/usage", "billing.GetUsage", get_usage_request, usage_list, 200, TEAM),
    BARE("GET",    "/notices", "billing.ListNotices", list_notices_request, notice_list, 200, TEAM),

    BARE("GET",    "/members",      "registry.ListMembers",  list_members_request,  member_list, 200, TEAM),
    BARE("DELETE", "/members/{id}", "registry.DeleteMember", delete_member_request, member,      200, OWNER),
    WITH("POST",   "/invites", "registry.CreateInvite", create_invite_request, invite, 201, OWNER, true, REST_INVITE),
    WITH("POST",   "/invites/{token}/accept", "registry.AcceptInvite", accept_invite_request, accept_invite_response, 201,
         PUBLIC, false, REST_ACCEPT),

    BARE("GET",    "/regions",         "scheduler.ListRegions",       list_regions_request,         region_list,         200, ANY_KEY),
    BARE("GET",    "/gpu-types",       "scheduler.ListGpuTypes",      list_gpu_types_request,       gpu_type_list,       200, ANY_KEY),
    BARE("GET",    "/platform/models", "registry.ListPlatformModels", list_platform_models_request, platform_model_list, 200, PUBLIC),

    BODY("POST",   "/admin/operators", "registry.CreateOperator", create_operator_request, operator,      201, OPERATOR),
    BARE("GET",    "/admin/operators", "registry.ListOperators",  list_operators_request,  operator_list, 200, OPERATOR),
    BODY("POST",   "/admin/accounts",  "registry.CreateAccount",  create_account_request,  create_account_response, 201, OPERATOR),
    BARE("GET",    "/admin/accounts",  "registry.ListAccounts",   list_accounts_request,   account_list,  200, OPERATOR),
    BODY("POST",   "/admin/accounts/{account_id}/topups", "billing.TopUp", top_up_request, transaction, 201, OPERATOR),
    BODY("POST",   "/admin/accounts/{account_id}/corrections", "billing.CreateCorrection", create_correction_request, correction,
         201, OPERATOR),
    BARE("POST",   "/admin/corrections/{id}/approve", "billing.ApproveCorrection", approve_correction_request, correction, 200,
         OPERATOR),
    BARE("POST",   "/admin/instances/{id}/stop", "scheduler.AdminStopInstance", admin_stop_instance_request, instance, 200,
         OPERATOR),

    BARE("GET",    "/admin/regions",        "scheduler.ListRegions",  list_regions_request,  region_list, 200, OPERATOR),
    BARE("GET",    "/admin/regions/{name}", "scheduler.GetRegion",    get_region_request,    region,      200, OPERATOR),
    BODY("PUT",    "/admin/regions/{name}", "scheduler.PutRegion",    put_region_request,    region,      200, OPERATOR),
    BARE("DELETE", "/admin/regions/{name}", "scheduler.DeleteRegion", delete_region_request, region,      200, OPERATOR),

    BARE("GET",    "/admin/gpu-types",        "scheduler.ListGpuTypes",  list_gpu_types_request,  gpu_type_list, 200, OPERATOR),
    BARE("GET",    "/admin/gpu-types/{name}", "scheduler.GetGpuType",    get_gpu_type_request,    gpu_type,      200, OPERATOR),
    BODY("PUT",    "/admin/gpu-types/{name}", "scheduler.PutGpuType",    put_gpu_type_request,    gpu_type,      200, OPERATOR),
    BARE("DELETE", "/admin/gpu-types/{name}", "scheduler.DeleteGpuType", delete_gpu_type_request, gpu_type,      200, OPERATOR),

    BARE("GET",    "/admin/platform-models", "registry.ListPlatformModels", list_platform_models_request, platform_model_list, 200,
         OPERATOR),
    BARE("GET",    "/admin/platform-models/{name}", "registry.GetPlatformModel", get_platform_model_request, platform_model, 200,
         OPERATOR),
    BODY("PUT",    "/admin/platform-models/{name}", "registry.PutPlatformModel", put_platform_model_request, platform_model, 200,
         OPERATOR),
    BARE("DELETE", "/admin/platform-models/{name}", "registry.DeletePlatformModel", delete_platform_model_request, platform_model,
         200, OPERATOR),
    {0},
};
// clang-format on

// NATS rights are made from this list; a test compares it with the table (and the quote, which the launch row switches
// to).
const char *const gw_mgmt_calls[] = {
    "registry.CreateModel",
    "registry.ListModels",
    "registry.GetModel",
    "registry.DeleteModel",
    "registry.CreateFilesystem",
    "registry.ListFilesystems",
    "registry.GetFilesystem",
    "registry.DeleteFilesystem",
    "registry.CreateApiKey",
    "registry.ListApiKeys",
    "registry.RevokeApiKey",
    "registry.ListMembers",
    "registry.DeleteMember",
    "registry.CreateInvite",
    "registry.AcceptInvite",
    "registry.CreateOperator",
    "registry.ListOperators",
    "registry.CreateAccount",
    "registry.ListAccounts",
    "registry.ListPlatformModels",
    "registry.GetPlatformModel",
    "registry.PutPlatformModel",
    "registry.DeletePlatformModel",
    "scheduler.Launch",
    "scheduler.Quote",
    "scheduler.ListInstances",
    "scheduler.GetInstance",
    "scheduler.StopInstance",
    "scheduler.RestartInstance",
    "scheduler.AdminStopInstance",
    "scheduler.ListInstanceEvents",
    "scheduler.ReadInstanceLogs",
    "scheduler.ListRegions",
    "scheduler.GetRegion",
    "scheduler.PutRegion",
    "scheduler.DeleteRegion",
    "scheduler.ListGpuTypes",
    "scheduler.GetGpuType",
    "scheduler.PutGpuType",
    "scheduler.DeleteGpuType",
    "billing.GetBalance",
    "billing.ListTransactions",
    "billing.GetUsage",
    "billing.ListNotices",
    "billing.TopUp",
    "billing.CreateCorrection",
    "billing.ApproveCorrection",
    NULL,
};

const eco_json_object rest_objects[] = {
    {MSG(account), "account"},
    {MSG(create_account_response), "account_created"},
    {MSG(member), "member"},
    {MSG(operator), "operator"},
    {MSG(api_key), "api_key"},
    {MSG(model), "model_registration"},
    {MSG(filesystem), "filesystem"},
    {MSG(platform_model), "platform_model"},
    {MSG(invite), "invite"},
    {MSG(accept_invite_response), "invite_accepted"},
    {MSG(instance), "inference_instance"},
    {MSG(replica), "replica"},
    {MSG(quote), "quote"},
    {MSG(instance_event), "instance_event"},
    {MSG(instance_logs), "list"},
    {MSG(log_line), "log_line"},
    {MSG(region), "region"},
    {MSG(gpu_type), "gpu_type"},
    {MSG(balance), "balance"},
    {MSG(transaction), "transaction"},
    {MSG(correction), "correction"},
    {MSG(usage_row), "usage"},
    {MSG(notice), "notice"},
    {NULL, NULL},
};

// ---- matching ----

typedef struct cursor {
  const char *at;
  const char *end;
} cursor;

// The next segment after a '/'; false at the end.
static bool next_segment(cursor *c, const char **segment, size_t *len) {
  if (c->at >= c->end || *c->at != '/') {
    return false;
  }
  *segment = ++c->at;
  while (c->at < c->end && *c->at != '/') {
    c->at++;
  }
  *len = (size_t)(c->at - *segment);
  return true;
}

static bool match_template(const char *template, const char *path, size_t path_len, rest_match *m) {
  cursor want = {template, template + strlen(template)};
  cursor have = {path, path + path_len};
  m->capture_count = 0;
  for (;;) {
    const char *w = NULL;
    const char *h = NULL;
    size_t w_len = 0;
    size_t h_len = 0;
    const bool more = next_segment(&want, &w, &w_len);
    if (next_segment(&have, &h, &h_len) != more) {
      return false;
    }
    if (!more) {
      return have.at == have.end;
    }
    if (w[0] == '{') {
      if (h_len == 0 || m->capture_count == REST_PARAMS_MAX) {
        return false;
      }
      m->captures[m->capture_count++] = (rest_capture){w + 1, w_len - 2, h, h_len};
    } else if (w_len != h_len || memcmp(w, h, w_len) != 0) {
      return false;
    }
  }
}

static void add_method(rest_match *m, const char *method) {
  const size_t len = strlen(m->allow);
  snprintf(m->allow + len, sizeof m->allow - len, "%s%s", len == 0 ? "" : ", ", method);
}

void rest_find(const char *method, const char *path, size_t path_len, rest_match *out) {
  *out = (rest_match){0};
  for (const rest_row *row = rest_table; row->method != NULL; row++) {
    rest_match tried = {0};
    if (!match_template(row->path, path, path_len, &tried)) {
      continue;
    }
    out->path_known = true;
    out->path_public = out->path_public || (row->allow & ECO_ALLOW_PUBLIC) != 0;
    add_method(out, row->method);
    if (method != NULL && strcmp(method, row->method) == 0) {
      out->row = row;
      memcpy(out->captures, tried.captures, sizeof out->captures);
      out->capture_count = tried.capture_count;
    }
  }
}
