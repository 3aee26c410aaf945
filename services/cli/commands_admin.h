// The operators' part of the command table.
#ifndef CLI_COMMANDS_ADMIN_H
#define CLI_COMMANDS_ADMIN_H

#include "command.h"
#include "run.h"
#include "view.h"

extern const cli_positional cli_admin_account_create[], cli_admin_topup[], cli_admin_correction[], cli_admin_id[],
    cli_admin_name_body[], cli_admin_name_path[], cli_admin_instance[];
extern const cli_option cli_admin_paged[], cli_admin_account_options[], cli_admin_topup_options[],
    cli_admin_correction_options[], cli_admin_region_options[], cli_admin_gpu_options[], cli_admin_platform_options[];

#define CLI_ADMIN_LIST(p, s, r, v)                                                                                  \
  {                                                                                                                 \
    .path = "admin " p, .summary = s, .options = cli_admin_paged, .run = cli_run_rest, .method = "GET", .route = r, \
    .view = &(v)                                                                                                    \
  }
#define CLI_ADMIN_CALL(p, s, m, r, v, pos, opt)                                                             \
  {                                                                                                         \
    .path = "admin " p, .summary = s, .positionals = pos, .options = opt, .run = cli_run_rest, .method = m, \
    .route = r, .view = &(v)                                                                                \
  }

#define CLI_ADMIN_COMMANDS                                                                                             \
  {.path = "admin", .summary = "For operators: accounts, money, regions, prices"},                                     \
      {.path = "admin accounts", .summary = "Accounts"},                                                               \
      CLI_ADMIN_LIST("accounts list", "List accounts", "/admin/accounts", cli_view_accounts),                          \
      CLI_ADMIN_CALL("accounts create", "Open an account; its owner's key is shown this once", "POST",                 \
                     "/admin/accounts", cli_view_account_created, cli_admin_account_create,                            \
                     cli_admin_account_options),                                                                       \
      CLI_ADMIN_CALL("topup", "Add credit to an account", "POST", "/admin/accounts/{account}/topups",                  \
                     cli_view_transactions, cli_admin_topup, cli_admin_topup_options),                                 \
      {.path = "admin corrections", .summary = "Corrections of a balance, approved by a second operator"},             \
      CLI_ADMIN_CALL("corrections create", "Propose a correction", "POST", "/admin/accounts/{account}/corrections",    \
                     cli_view_corrections, cli_admin_correction, cli_admin_correction_options),                        \
      CLI_ADMIN_CALL("corrections approve", "Approve another operator's correction", "POST",                           \
                     "/admin/corrections/{id}/approve", cli_view_corrections, cli_admin_id, NULL),                     \
      {.path = "admin operators", .summary = "Operators"},                                                             \
      CLI_ADMIN_LIST("operators list", "List operators", "/admin/operators", cli_view_operators),                      \
      CLI_ADMIN_CALL("operators create", "Name an operator; the key is shown this once", "POST", "/admin/operators",   \
                     cli_view_operators, cli_admin_name_body, NULL),                                                   \
      {.path = "admin regions", .summary = "Regions"},                                                                 \
      CLI_ADMIN_LIST("regions list", "List regions", "/admin/regions", cli_view_regions),                              \
      CLI_ADMIN_CALL("regions show", "Show one region", "GET", "/admin/regions/{name}", cli_view_regions,              \
                     cli_admin_name_path, NULL),                                                                       \
      CLI_ADMIN_CALL("regions put", "Add or change a region", "PUT", "/admin/regions/{name}", cli_view_regions,        \
                     cli_admin_name_path, cli_admin_region_options),                                                   \
      CLI_ADMIN_CALL("regions delete", "Remove a region", "DELETE", "/admin/regions/{name}", cli_view_regions,         \
                     cli_admin_name_path, NULL),                                                                       \
      {.path = "admin gpu-types", .summary = "GPU types and their prices"},                                            \
      CLI_ADMIN_LIST("gpu-types list", "List GPU types", "/admin/gpu-types", cli_view_gpu_types),                      \
      CLI_ADMIN_CALL("gpu-types show", "Show one GPU type", "GET", "/admin/gpu-types/{name}", cli_view_gpu_types,      \
                     cli_admin_name_path, NULL),                                                                       \
      CLI_ADMIN_CALL("gpu-types put", "Add a GPU type or change its price", "PUT", "/admin/gpu-types/{name}",          \
                     cli_view_gpu_types, cli_admin_name_path, cli_admin_gpu_options),                                  \
      CLI_ADMIN_CALL("gpu-types delete", "Retire a GPU type", "DELETE", "/admin/gpu-types/{name}", cli_view_gpu_types, \
                     cli_admin_name_path, NULL),                                                                       \
      {.path = "admin platform-models", .summary = "The catalogue"},                                                   \
      CLI_ADMIN_LIST("platform-models list", "List the catalogue", "/admin/platform-models",                           \
                     cli_view_platform_models),                                                                        \
      CLI_ADMIN_CALL("platform-models show", "Show one entry", "GET", "/admin/platform-models/{name}",                 \
                     cli_view_platform_models, cli_admin_name_path, NULL),                                             \
      CLI_ADMIN_CALL("platform-models put", "Add or change an entry", "PUT", "/admin/platform-models/{name}",          \
                     cli_view_platform_models, cli_admin_name_path, cli_admin_platform_options),                       \
      CLI_ADMIN_CALL("platform-models delete", "Remove an entry", "DELETE", "/admin/platform-models/{name}",           \
                     cli_view_platform_models, cli_admin_name_path, NULL),                                             \
      {.path = "admin instances", .summary = "Instances of any account"},                                              \
      CLI_ADMIN_CALL("instances stop", "Stop any account's instance", "POST", "/admin/instances/{id}/stop",            \
                     cli_view_instances, cli_admin_instance, NULL)

#endif
