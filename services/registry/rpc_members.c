// Handlers of members and invites.
#include "ecolink/lists.h"
#include "ecolink/log.h"
#include "handlers.h"
#include "members.h"
#include "names.h"
#include "registry_limits.h"
#include "store.h"

eco_status registry_rpc_list_members(eco_ctx *ctx, const void *request, void *reply) {
  const Ecolink__V1__ListMembersRequest *r = request;
  Ecolink__V1__MemberList *out = reply;
  registry_page page;
  registry_members found;
  ECO_TRY(registry_page_parse(r->limit, r->cursor, &page));
  ECO_TRY(registry_member_list(ctx->tx, ctx->arena, ctx->caller.account_id, &page, &found));
  out->page = registry_page_info(ctx->arena, &page, &found.n);
  out->data = found.data;
  out->n_data = found.n;
  if (out->page->has_more) {
    const Ecolink__V1__Member *last = found.data[found.n - 1];
    registry_page_cursor(ctx->arena, out->page, last->created_at->micros, last->id);
  }
  return eco_success();
}

eco_status registry_rpc_delete_member(eco_ctx *ctx, const void *request, void *reply) {
  const Ecolink__V1__DeleteMemberRequest *r = request;
  const char *account_id = ctx->caller.account_id;
  Ecolink__V1__Member *member = NULL;
  ECO_TRY(registry_account_lock(ctx->tx, account_id));  // two owners who remove each other must not both succeed
  ECO_TRY(registry_member_find(ctx->tx, ctx->arena, account_id, r->id, &member));
  if (member == NULL) {
    return eco_error_param(ECO_NOT_FOUND, "id", "this account has no such member");
  }
  int64_t members = 0;
  int64_t owners = 0;
  ECO_TRY(registry_member_count(ctx->tx, account_id, &members, &owners));
  ECO_TRY(registry_member_removal_judge(member->role, owners));
  registry_keys keys;
  ECO_TRY(registry_key_of_member_lock(ctx->tx, ctx->arena, member->id, &keys));
  for (size_t i = 0; i < keys.n; i++) {
    ECO_TRY(registry_key_revoke(ctx->tx, &keys.data[i], ctx->now_us));
    ECO_TRY(registry_key_announce(ctx, ctx->tx, "key.revoked", &keys.data[i]));
  }
  ECO_TRY(registry_member_delete(ctx->tx, &(registry_owned){account_id, member->id}, ctx->now_us));
  *(Ecolink__V1__Member *)reply = *member;
  return eco_success();
}

// With the account locked: a mailbox that is no member yet, and room for one more.
static eco_status check_newcomer(eco_ctx *ctx, const char *account_id, const char *email) {
  bool exists = false;
  int64_t members = 0;
  int64_t owners = 0;
  ECO_TRY(registry_member_email_exists(ctx->tx, account_id, email, &exists));
  if (exists) {
    return eco_error_param(ECO_NAME_TAKEN, "email", "this address belongs to a member of the account already");
  }
  ECO_TRY(registry_member_count(ctx->tx, account_id, &members, &owners));
  if (members >= REGISTRY_ACCOUNT_MEMBERS_MAX) {
    return eco_error(ECO_INVALID_REQUEST, "an account has at most %d members: remove one first",
                     REGISTRY_ACCOUNT_MEMBERS_MAX);
  }
  return eco_success();
}

eco_status registry_rpc_create_invite(eco_ctx *ctx, const void *request, void *reply) {
  const Ecolink__V1__CreateInviteRequest *r = request;
  Ecolink__V1__Invite *out = reply;
  const char *account_id = ctx->caller.account_id;
  if (!registry_email_valid(r->email)) {
    return eco_error_param(ECO_INVALID_REQUEST, "email", "must be an e-mail address, e.g. ada@example.com");
  }
  ECO_TRY(registry_invite_role(r->role, &out->role));
  out->email = eco_strdup(ctx->arena, r->email);
  registry_email_fold(r->email, out->email);

  int64_t pending = 0;
  ECO_TRY(registry_account_lock(ctx->tx, account_id));
  ECO_TRY(registry_caller_check(ctx));
  ECO_TRY(check_newcomer(ctx, account_id, out->email));
  ECO_TRY(registry_invite_supersede(ctx->tx, account_id, out->email, ctx->now_us));
  ECO_TRY(registry_invite_count(ctx->tx, account_id, &pending));
  if (pending >= REGISTRY_ACCOUNT_INVITES_MAX) {
    return eco_error(ECO_INVALID_REQUEST,
                     "an account has at most %d open invites: wait until one is accepted or expires",
                     REGISTRY_ACCOUNT_INVITES_MAX);
  }
  char token[REGISTRY_INVITE_TOKEN_LEN + 1];
  char hash[65];
  registry_invite_token_new(token);
  registry_invite_token_hash(token, hash);
  out->id = registry_new_id(ctx->arena, "inv");
  out->account_id = eco_strdup(ctx->arena, account_id);
  out->expires_at = eco_pb_time_or_null(ctx->arena, registry_invite_expiry(ctx->now_us));
  out->created_at = eco_pb_time(ctx->arena, ctx->now_us);
  ECO_TRY(registry_invite_insert(ctx->tx, out, hash));
  out->token = registry_secret(ctx->arena, token);
  return eco_success();
}

static eco_status no_such_invite(void) {
  return eco_error_param(ECO_NOT_FOUND, "token",
                         "there is no such invite: check the link, or ask an owner for a new one");
}

// Lock order is account, then invite; the invite names the account, so it is read once before.
static eco_status lock_invite(eco_ctx *ctx, const char *token, Ecolink__V1__Invite **out) {
  if (!registry_invite_token_is(token)) {
    return no_such_invite();
  }
  char hash[65];
  registry_invite_token_hash(token, hash);
  ECO_TRY(registry_invite_find(ctx->tx, ctx->arena, hash, false, out));
  if (*out == NULL) {
    return no_such_invite();
  }
  ECO_TRY(registry_account_lock(ctx->tx, (*out)->account_id));
  return registry_invite_find(ctx->tx, ctx->arena, hash, true, out);  // NULL: superseded meanwhile
}

eco_status registry_rpc_accept_invite(eco_ctx *ctx, const void *request, void *reply) {
  const Ecolink__V1__AcceptInviteRequest *r = request;
  Ecolink__V1__AcceptInviteResponse *out = reply;
  Ecolink__V1__Invite *invite = NULL;
  ECO_TRY(lock_invite(ctx, r->token, &invite));
  if (invite == NULL) {
    return no_such_invite();
  }
  ECO_TRY(registry_invite_judge(invite->expires_at->micros,
                                invite->accepted_at != NULL ? invite->accepted_at->micros : 0, ctx->now_us));
  ECO_TRY(check_newcomer(ctx, invite->account_id, invite->email));
  Ecolink__V1__Member *member = eco_alloc(ctx->arena, sizeof *member);
  ecolink__v1__member__init(member);
  member->id = registry_new_id(ctx->arena, "mem");
  member->account_id = invite->account_id;
  member->email = invite->email;
  member->role = invite->role;
  member->created_at = eco_pb_time(ctx->arena, ctx->now_us);
  bool taken = false;
  ECO_TRY(registry_member_insert(ctx->tx, member, &taken));
  if (taken) {
    return eco_error_param(ECO_NAME_TAKEN, "email", "this address belongs to a member of the account already");
  }
  ECO_TRY(registry_invite_accept(ctx->tx, invite->id, ctx->now_us));
  registry_key key = {.account_id = member->account_id,
                      .member_id = member->id,
                      .operator_id = "",
                      .name = member->email,
                      .source_tag = "",
                      .role = member->role,
                      .rate_limit_per_minute = REGISTRY_RATE_LIMIT_DEFAULT};
  const char *secret = NULL;
  ECO_TRY(registry_key_issue(ctx, ctx->tx, &key, &secret));
  out->member = member;
  out->api_key = registry_key_message(ctx->arena, &key, secret);
  return eco_success();
}
