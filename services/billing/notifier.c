// The timer `notices`: tells accounts that their credit runs out, each threshold once per episode.
#include "handlers.h"
#include "notice.h"
#include "publish.h"
#include "runway.h"

static eco_status notify(eco_ctx *ctx, eco_tx *tx, const char *account_id) {
  store_account account;
  store_hold *holds;
  size_t count;
  ECO_TRY(store_account_lock(ctx, tx, account_id, &account));
  ECO_TRY(store_holds_open(ctx, tx, account_id, &holds, &count));
  runway_sum sum = runway_of(holds, count, ctx->now_us);
  int fired = account.notice_minutes;
  int64_t runway_s;
  const notice_threshold *threshold = NULL;
  if (notice_runway_s(account.available_micros, sum.held_micros, sum.accrued_micros, sum.burn_micros_per_hour,
                      &runway_s)) {
    threshold = notice_low_balance(runway_s, &fired);
  } else if (count == 0) {
    fired = 0;  // nothing runs any more: the episode is over. A run that only recovers keeps it.
  }
  if (threshold != NULL) {
    char text[NOTICE_TEXT_MAX];
    notice_low_balance_text(threshold->minutes, text);
    ECO_TRY(publish_notice(ctx, tx, account_id, NOTICE_LOW_BALANCE,
                           threshold->critical ? ECOLINK__V1__NOTICE_SEVERITY__NOTICE_SEVERITY_CRITICAL
                                               : ECOLINK__V1__NOTICE_SEVERITY__NOTICE_SEVERITY_WARNING,
                           text, 0));
  }
  if (fired == account.notice_minutes) {
    return eco_success();
  }
  return store_account_save_notice(tx, account_id, fired);
}

static eco_status notify_account(eco_ctx *ctx, const char *account_id) {
  eco_tx *tx;
  ECO_TRY(eco_tx_begin(ctx->db, &tx));
  eco_status st = notify(ctx, tx, account_id);
  if (!eco_ok(st)) {
    eco_tx_rollback(tx);
    return eco_context(st, "account %s", account_id);
  }
  return eco_tx_commit(tx);
}

eco_status timer_notices(eco_ctx *ctx) {
  eco_tx *tx;
  const char **accounts;
  size_t count;
  ECO_TRY(eco_tx_begin(ctx->db, &tx));
  eco_status st = store_accounts_burning(ctx, tx, &accounts, &count);
  eco_tx_rollback(tx);
  ECO_TRY(st);
  for (size_t i = 0; i < count; i++) {
    eco_status one = notify_account(ctx, accounts[i]);
    if (!eco_ok(one)) {
      st = one;
    }
  }
  return st;
}
