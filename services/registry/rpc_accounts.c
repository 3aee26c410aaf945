// Handlers of accounts and operators, and the bootstrap operator.
#include <stdatomic.h>
#include <string.h>

#include "ecolink/clock.h"
#include "ecolink/crash.h"
#include "ecolink/lists.h"
#include "ecolink/log.h"
#include "handlers.h"
#include "names.h"
#include "registry_limits.h"
#include "store.h"

#define BOOTSTRAP_ID "op_bootstrap"
#define BOOTSTRAP_NAME "bootstrap"

char *registry_new_id(eco_arena *arena, const char *prefix) {
  char id[ECO_ID_MAX];
  eco_id_new(prefix, id);
  return eco_strdup(arena, id);
}

Ecolink__V1__PageInfo *registry_page_info(eco_arena *arena, const registry_page *page, size_t *n) {
  Ecolink__V1__PageInfo *info = eco_pb_page(arena, NULL);
  if (*n > (size_t)page->limit) {
    info->has_more = true;
    *n = (size_t)page->limit;
  }
  return info;
}

void registry_page_cursor(eco_arena *arena, Ecolink__V1__PageInfo *info, int64_t created_at_us, const char *id) {
  char cursor[REGISTRY_CURSOR_MAX];
  registry_cursor_format(created_at_us, id, cursor);
  info->next_cursor = eco_strdup(arena, cursor);
}

static eco_status check_email(const char *param, const char *email) {
  if (!registry_email_valid(email)) {
    return eco_error_param(ECO_INVALID_REQUEST, param, "must be an e-mail address, e.g. ada@example.com");
  }
  return eco_success();
}

eco_status registry_rpc_create_account(eco_ctx *ctx, const void *request, void *reply) {
  const Ecolink__V1__CreateAccountRequest *r = request;
  Ecolink__V1__CreateAccountResponse *out = reply;
  if (!registry_label_valid(r->name, REGISTRY_LABEL_MAX)) {
    return eco_error_param(ECO_INVALID_REQUEST, "name", "a name of 1 to %d bytes of printable text is needed",
                           REGISTRY_LABEL_MAX);
  }
  ECO_TRY(check_email("owner_email", r->owner_email));

  Ecolink__V1__Account *account = eco_alloc(ctx->arena, sizeof *account);
  ecolink__v1__account__init(account);
  account->id = registry_new_id(ctx->arena, "acc");
  account->name = r->name;
  account->owner_email = eco_strdup(ctx->arena, r->owner_email);
  registry_email_fold(r->owner_email, account->owner_email);
  account->created_at = eco_pb_time(ctx->arena, ctx->now_us);
  ECO_TRY(registry_account_insert(ctx->tx, account));

  Ecolink__V1__Member owner;
  ecolink__v1__member__init(&owner);
  owner.id = registry_new_id(ctx->arena, "mem");
  owner.account_id = account->id;
  owner.email = account->owner_email;
  owner.role = ECOLINK__V1__ROLE__ROLE_OWNER;
  owner.created_at = account->created_at;
  bool taken = false;
  ECO_TRY(registry_member_insert(ctx->tx, &owner, &taken));

  registry_key key = {.account_id = account->id,
                      .member_id = owner.id,
                      .operator_id = "",
                      .name = "owner",
                      .source_tag = "",
                      .role = ECOLINK__V1__ROLE__ROLE_OWNER,
                      .rate_limit_per_minute = REGISTRY_RATE_LIMIT_DEFAULT};
  const char *secret = NULL;
  ECO_TRY(eco_event_publish(ctx, ctx->tx, "account.created", account->id, 1, &account->base));
  ECO_TRY(registry_key_issue(ctx, ctx->tx, &key, &secret));
  out->account = account;
  out->api_key = registry_key_message(ctx->arena, &key, secret);
  return eco_success();
}

eco_status registry_rpc_get_account(eco_ctx *ctx, const void *request, void *reply) {
  const Ecolink__V1__GetAccountRequest *r = request;
  Ecolink__V1__Account *found = NULL;
  ECO_TRY(registry_account_find(ctx->tx, ctx->arena, r->id, &found));
  if (found == NULL) {
    return eco_error_param(ECO_NOT_FOUND, "id", "there is no such account");
  }
  *(Ecolink__V1__Account *)reply = *found;
  return eco_success();
}

eco_status registry_rpc_list_accounts(eco_ctx *ctx, const void *request, void *reply) {
  const Ecolink__V1__ListAccountsRequest *r = request;
  Ecolink__V1__AccountList *out = reply;
  registry_page page;
  registry_accounts found;
  ECO_TRY(registry_page_parse(r->limit, r->cursor, &page));
  ECO_TRY(registry_account_list(ctx->tx, ctx->arena, &page, &found));
  out->page = registry_page_info(ctx->arena, &page, &found.n);
  out->data = found.data;
  out->n_data = found.n;
  if (out->page->has_more) {
    const Ecolink__V1__Account *last = found.data[found.n - 1];
    registry_page_cursor(ctx->arena, out->page, last->created_at->micros, last->id);
  }
  return eco_success();
}

// The bootstrap key is for the first two operators alone; from then on people act under their own names.
static eco_status check_bootstrap(eco_ctx *ctx) {
  if (strcmp(ctx->caller.operator_id, BOOTSTRAP_ID) != 0) {
    return eco_success();
  }
  int64_t others = 0;
  ECO_TRY(registry_operator_lock(ctx->tx, BOOTSTRAP_ID));
  ECO_TRY(registry_operator_count_others(ctx->tx, BOOTSTRAP_ID, &others));
  if (others >= REGISTRY_BOOTSTRAP_OPERATORS) {
    return eco_error(ECO_FORBIDDEN,
                     "the bootstrap key creates the first two operators alone: use an operator's own key");
  }
  return eco_success();
}

eco_status registry_rpc_create_operator(eco_ctx *ctx, const void *request, void *reply) {
  const Ecolink__V1__CreateOperatorRequest *r = request;
  Ecolink__V1__Operator *out = reply;
  if (!registry_label_valid(r->name, REGISTRY_LABEL_MAX)) {
    return eco_error_param(ECO_INVALID_REQUEST, "name", "a name of 1 to %d bytes of printable text is needed",
                           REGISTRY_LABEL_MAX);
  }
  ECO_TRY(check_bootstrap(ctx));
  out->id = registry_new_id(ctx->arena, "op");
  out->name = r->name;
  out->created_at = eco_pb_time(ctx->arena, ctx->now_us);
  bool taken = false;
  ECO_TRY(registry_operator_insert(ctx->tx, out, &taken));
  if (taken) {
    return eco_error_param(ECO_NAME_TAKEN, "name", "there is an operator of this name already");
  }
  registry_key key = {.account_id = "",
                      .member_id = "",
                      .operator_id = out->id,
                      .name = r->name,
                      .source_tag = "",
                      .role = ECOLINK__V1__ROLE__ROLE_OPERATOR,
                      .rate_limit_per_minute = REGISTRY_RATE_LIMIT_DEFAULT};
  const char *secret = NULL;
  ECO_TRY(registry_key_issue(ctx, ctx->tx, &key, &secret));
  out->key = registry_secret(ctx->arena, secret);
  return eco_success();
}

eco_status registry_rpc_list_operators(eco_ctx *ctx, const void *request, void *reply) {
  const Ecolink__V1__ListOperatorsRequest *r = request;
  Ecolink__V1__OperatorList *out = reply;
  registry_page page;
  registry_operators found;
  ECO_TRY(registry_page_parse(r->limit, r->cursor, &page));
  ECO_TRY(registry_operator_list(ctx->tx, ctx->arena, &page, &found));
  out->page = registry_page_info(ctx->arena, &page, &found.n);
  out->data = found.data;
  out->n_data = found.n;
  if (out->page->has_more) {
    const Ecolink__V1__Operator *last = found.data[found.n - 1];
    registry_page_cursor(ctx->arena, out->page, last->created_at->micros, last->id);
  }
  return eco_success();
}

static atomic_bool bootstrap_done;

// Puts the configured key in; keys that an earlier configuration named are revoked, so that rotating it is one restart.
static eco_status bootstrap(eco_ctx *ctx, eco_tx *tx) {
  registry_key key = {.account_id = "",
                      .member_id = "",
                      .operator_id = BOOTSTRAP_ID,
                      .name = BOOTSTRAP_NAME,
                      .source_tag = "",
                      .role = ECOLINK__V1__ROLE__ROLE_OPERATOR,
                      .rate_limit_per_minute = REGISTRY_RATE_LIMIT_DEFAULT,
                      .created_at_us = ctx->now_us,
                      .version = 1};
  (void)registry_key_adopt(ctx->arena, &key, registry_config.bootstrap_key);  // its form was checked at start
  ECO_TRY(registry_operator_ensure(tx, BOOTSTRAP_ID, BOOTSTRAP_NAME, ctx->now_us));
  ECO_TRY(registry_operator_lock(tx, BOOTSTRAP_ID));
  registry_keys older;
  ECO_TRY(registry_key_of_operator_lock(tx, ctx->arena, BOOTSTRAP_ID, &older));
  for (size_t i = 0; i < older.n; i++) {
    if (strcmp(older.data[i].sha256_hex, key.sha256_hex) != 0) {
      ECO_TRY(registry_key_revoke(tx, &older.data[i], ctx->now_us));
      ECO_TRY(registry_key_announce(ctx, tx, "key.revoked", &older.data[i]));
    }
  }
  registry_key *found = NULL;
  ECO_TRY(registry_key_find_hash(tx, ctx->arena, key.sha256_hex, &found));
  if (found != NULL) {
    if (found->revoked_at_us != 0) {
      eco_log(ECO_LOG_WARN, "the configured bootstrap key was revoked earlier and stays so: configure a new one");
    }
    return eco_success();
  }
  key.id = registry_new_id(ctx->arena, "key");
  bool taken = false;
  ECO_TRY(registry_key_insert(tx, &key, &taken));
  return taken ? eco_success() : registry_key_announce(ctx, tx, "key.created", &key);
}

eco_status registry_timer_bootstrap(eco_ctx *ctx) {
  if (atomic_load(&bootstrap_done)) {
    return eco_success();
  }
  if (registry_config.bootstrap_key[0] != '\0') {
    eco_tx *tx = NULL;
    ECO_TRY(eco_tx_begin(ctx->db, &tx));
    eco_status st = bootstrap(ctx, tx);
    if (!eco_ok(st)) {
      eco_tx_rollback(tx);
      return eco_context(st, "bootstrap key");
    }
    ECO_TRY(eco_tx_commit(tx));
    ECO_CRASH_POINT("registry.bootstrap.committed");
  }
  atomic_store(&bootstrap_done, true);
  return eco_success();
}

bool registry_bootstrap_ready(eco_service *svc, eco_buf *why) {
  (void)svc;
  if (atomic_load(&bootstrap_done)) {
    return true;
  }
  (void)eco_buf_puts(why, "bootstrap key not yet stored");
  return false;
}
