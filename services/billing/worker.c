// The timer `cycles`: settles what is due, places what comes next, and repairs what events missed.
//
// One pass: choose accounts with something to do, read the meter for their holds (outside any transaction), then work
// each account in a transaction of its own, round by round, until nothing of it is due:
//   judge every hold -> settle all that end -> place the next ones by (due time, instance id)
// A pass that cannot read the meter changes nothing: settlement waits.
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "billing_limits.h"
#include "ecolink/clock.h"
#include "ecolink/crash.h"
#include "ecolink/log.h"
#include "ecolink/metrics.h"
#include "handlers.h"
#include "holds.h"
#include "meter.h"
#include "notice.h"
#include "publish.h"
#include "settings.h"

#define WORKER_LEASE "worker"

// One hold in a round.
typedef struct worker_item {
  store_hold *hold;
  const meter_reading *reading;
  cycle_verdict verdict;
} worker_item;

// One account's share of a pass: its candidates and their readings, side by side.
typedef struct worker_share {
  const char *account_id;
  const store_hold *holds;
  const meter_reading *readings;
  size_t count;
} worker_share;

static const meter_reading *reading_of(const worker_share *share, int64_t instance_id) {
  for (size_t i = 0; i < share->count; i++) {
    if (share->holds[i].instance_id == instance_id && share->readings[i].read) {
      return &share->readings[i];
    }
  }
  return NULL;
}

static void alarm_when_overdue(const eco_ctx *ctx, const store_hold *hold) {
  if (ctx->now_us - hold->rule.expires_at_us > billing_set.hold_grace_s * CYCLE_US_PER_S) {
    eco_metric_add(
        eco_counter("ecolink_billing_overdue_total", "Looks at a cycle overdue for longer than HOLD_GRACE_S", NULL), 1);
    // Once a minute, whichever hold it is: passes come every second, and the metric counts them all.
    static int64_t told_ms;  // the worker's thread alone
    if (told_ms == 0 || eco_boottime_ms() - told_ms >= BILLING_ALARM_EVERY_MS) {
      told_ms = eco_boottime_ms();
      eco_log(ECO_LOG_ERROR, "cycle overdue: no evidence settles it", ECO_F_I64("instance", hold->instance_id),
              ECO_F_I64("cycle", hold->cycle));
    }
  }
}

// Judges every open hold of the account that has a reading. *waiting: a due one lacks evidence, so nothing is renewed
// now.
static eco_status judge_all(eco_ctx *ctx, eco_tx *tx, const store_account *account, const worker_share *share,
                            worker_item **out, size_t *count, bool *waiting) {
  store_hold *holds;
  size_t n;
  ECO_TRY(store_holds_open(ctx, tx, account->id, &holds, &n));
  *out = eco_alloc_array(ctx->arena, n, sizeof **out);
  *count = 0;
  *waiting = false;
  for (size_t i = 0; i < n; i++) {
    const meter_reading *reading = reading_of(share, holds[i].instance_id);
    if (reading == NULL) {
      continue;
    }
    int64_t wait_until_us =
        holds[i].due_seen_us == 0 ? INT64_MAX : holds[i].due_seen_us + billing_set.evidence_wait_s * CYCLE_US_PER_S;
    if (billing_set.evidence_wait_s == 0) {
      wait_until_us = 0;
    }
    cycle_verdict v =
        cycle_judge(&holds[i].rule, &reading->rule, ctx->now_us, account->available_micros, wait_until_us);
    if (v.action == CYCLE_WAIT) {
      *waiting = true;
      ECO_TRY(store_hold_due_seen(ctx, tx, &holds[i]));
    }
    if (v.action == CYCLE_WAIT || v.action == CYCLE_KEEP) {
      alarm_when_overdue(ctx, &holds[i]);
      continue;
    }
    (*out)[(*count)++] = (worker_item){&holds[i], reading, v};
  }
  return eco_success();
}

static bool is_renewal(const worker_item *item) {
  return item->verdict.action == CYCLE_RENEW || item->verdict.action == CYCLE_EXTEND;
}

// What of the judged holds ends in this round. While one waits for evidence nothing is renewed, because all due cycles
// are settled before the next holds share the balance. New credit extends one hold at a time, and only when no cycle is
// due: the rest of one run's hold never pays for another's.
static size_t choose(worker_item *items, size_t count, bool waiting) {
  bool renewals = false;
  for (size_t i = 0; i < count; i++) {
    renewals = renewals || items[i].verdict.action == CYCLE_RENEW;
  }
  size_t kept = 0;
  bool extended = false;
  for (size_t i = 0; i < count; i++) {
    bool extend = items[i].verdict.action == CYCLE_EXTEND;
    if ((waiting && is_renewal(&items[i])) || (extend && (renewals || extended))) {
      continue;
    }
    extended = extended || extend;
    items[kept++] = items[i];
  }
  return kept;
}

static int compare_due(const void *a, const void *b) {
  const worker_item *x = a;
  const worker_item *y = b;
  if (x->verdict.ends_at_us != y->verdict.ends_at_us) {
    return x->verdict.ends_at_us < y->verdict.ends_at_us ? -1 : 1;
  }
  if (x->hold->instance_id != y->hold->instance_id) {
    return x->hold->instance_id < y->hold->instance_id ? -1 : 1;
  }
  return 0;
}

static eco_status settle_item(eco_ctx *ctx, eco_tx *tx, store_account *account, worker_item *item) {
  if (item->verdict.action == CYCLE_CLOSE) {
    eco_log(ECO_LOG_WARN, "hold without an instance: given back", ECO_F_I64("instance", item->hold->instance_id),
            ECO_F_I64("cycle", item->hold->cycle));
    return holds_close(ctx, tx, account, item->hold);
  }
  cycle_settlement s;
  ECO_TRY(holds_settle(ctx, tx, account, item->hold, &item->reading->rule, item->verdict.ends_at_us,
                       item->verdict.action == CYCLE_FINISH, &s));
  eco_log(ECO_LOG_INFO, "cycle settled", ECO_F_STR("account", account->id),
          ECO_F_I64("instance", item->hold->instance_id), ECO_F_I64("cycle", item->hold->cycle),
          ECO_F_I64("seconds", s.seconds), ECO_F_I64("charge_micros", s.charge_micros),
          ECO_F_I64("refund_micros", s.refund_micros));
  return eco_success();
}

static eco_status place_next(eco_ctx *ctx, eco_tx *tx, store_account *account, const worker_item *item) {
  const store_hold *hold = item->hold;
  cycle_next next;
  if (!cycle_next_hold(&hold->rule.terms, account->available_micros, item->verdict.ends_at_us, billing_set.cycle_s,
                       &next)) {
    return eco_error(ECO_INTERNAL, "the next hold of instance %" PRId64 " leaves 64 bits", hold->instance_id);
  }
  if (next.kind == CYCLE_NEXT_ZERO) {
    eco_log(ECO_LOG_INFO, "credit depleted: the instance stops", ECO_F_STR("account", account->id),
            ECO_F_I64("instance", hold->instance_id), ECO_F_I64("cycle", hold->cycle + 1));
    return holds_refuse(ctx, tx, account, hold, item->verdict.ends_at_us);
  }
  holds_placement placement = {
      .instance_id = hold->instance_id,
      .cycle = hold->cycle + 1,
      .model = hold->model,
      .started_at_us = item->verdict.ends_at_us,
      .next = next,
  };
  Ecolink__V1__HoldState *placed;
  ECO_TRY(holds_place(ctx, tx, account, &placement, &placed));
  if (next.kind != CYCLE_NEXT_PARTIAL) {
    return eco_success();
  }
  char text[NOTICE_TEXT_MAX];
  notice_partial_text(next.amount_micros, cycle_covers_s(&hold->rule.terms, next.amount_micros), text);
  return publish_notice(ctx, tx, account->id, NOTICE_PARTIAL_HOLD,
                        ECOLINK__V1__NOTICE_SEVERITY__NOTICE_SEVERITY_WARNING, text, hold->instance_id);
}

// *worked: something ended in this round, so that another may follow.
static eco_status work_round(eco_ctx *ctx, eco_tx *tx, store_account *account, const worker_share *share,
                             bool *worked) {
  worker_item *items;
  size_t count;
  bool waiting;
  ECO_TRY(judge_all(ctx, tx, account, share, &items, &count, &waiting));
  count = choose(items, count, waiting);
  *worked = count > 0;
  if (count > 1) {
    qsort(items, count, sizeof *items, compare_due);
  }
  for (size_t i = 0; i < count; i++) {
    ECO_TRY(settle_item(ctx, tx, account, &items[i]));
  }
  if (count > 0) {
    ECO_CRASH_POINT("billing.cycles.settled");
  }
  for (size_t i = 0; i < count; i++) {
    if (is_renewal(&items[i])) {
      ECO_TRY(place_next(ctx, tx, account, &items[i]));
    }
  }
  return eco_success();
}

// What was read, kept for runway and for the next choice of candidates.
static eco_status keep_readings(eco_ctx *ctx, eco_tx *tx, const store_account *account, const worker_share *share) {
  store_hold *holds;
  size_t n;
  ECO_TRY(store_holds_open(ctx, tx, account->id, &holds, &n));
  for (size_t i = 0; i < n; i++) {
    const meter_reading *m = reading_of(share, holds[i].instance_id);
    if (m == NULL) {
      continue;
    }
    int64_t until_us = m->rule.observed_until_us;
    if (m->rule.stop_requested_at_us > 0 && m->rule.stop_requested_at_us < until_us) {
      until_us = m->rule.stop_requested_at_us;
    }
    int64_t seconds = cycle_seconds(m->rule.intervals, m->rule.count, holds[i].rule.settled_until_us, until_us);
    ECO_TRY(store_instance_metered(ctx, tx, holds[i].instance_id, m->rule.known ? m->status : 0, until_us, seconds));
  }
  return eco_success();
}

static eco_status work_rounds(eco_ctx *ctx, eco_tx *tx, const worker_share *share) {
  store_account account;
  ECO_TRY(store_account_lock(ctx, tx, share->account_id, &account));
  int64_t sequence = account.sequence;
  bool worked = true;
  for (int round = 0; worked && round < BILLING_CATCH_UP_ROUNDS; round++) {
    ECO_TRY(work_round(ctx, tx, &account, share, &worked));
  }
  ECO_TRY(keep_readings(ctx, tx, &account, share));
  if (account.sequence == sequence) {
    return eco_success();  // no money moved
  }
  return publish_balance(ctx, tx, &account);
}

static eco_status work_account(eco_ctx *ctx, int64_t epoch, const worker_share *share) {
  for (size_t i = 0; i < share->count; i++) {
    if (!share->readings[i].read) {
      return eco_success();  // its cycles share one balance: all of them wait
    }
  }
  eco_tx *tx;
  ECO_TRY(eco_tx_begin(ctx->db, &tx));
  eco_status st = eco_lease_check(tx, WORKER_LEASE, epoch);
  if (eco_ok(st)) {
    st = work_rounds(ctx, tx, share);
  }
  if (!eco_ok(st)) {
    eco_tx_rollback(tx);
    return eco_context(st, "account %s", share->account_id);
  }
  ECO_CRASH_POINT("billing.cycles.before_commit");
  ECO_TRY(eco_tx_commit(tx));
  ECO_CRASH_POINT("billing.cycles.committed");
  return eco_success();
}

static eco_status find_candidates(eco_ctx *ctx, store_hold **holds, size_t *count) {
  eco_tx *tx;
  ECO_TRY(eco_tx_begin(ctx->db, &tx));
  eco_status st = store_holds_candidates(ctx, tx, billing_set.reconcile_s, BILLING_PASS_ACCOUNTS, holds, count);
  eco_tx_rollback(tx);
  return st;
}

eco_status timer_cycles(eco_ctx *ctx) {
  int64_t epoch;
  if (!eco_lease_held(ctx->service, WORKER_LEASE, &epoch)) {
    return eco_success();
  }
  store_hold *holds;
  size_t count;
  ECO_TRY(find_candidates(ctx, &holds, &count));
  if (count == 0) {
    return eco_success();
  }
  meter_reading *readings = eco_alloc_array(ctx->arena, count, sizeof *readings);
  eco_status result = meter_read(ctx, holds, count, readings);
  // One account's trouble must not keep the others waiting.
  for (size_t from = 0; from < count;) {
    size_t to = from + 1;
    while (to < count && strcmp(holds[to].account_id, holds[from].account_id) == 0) {
      to++;
    }
    worker_share share = {holds[from].account_id, holds + from, readings + from, to - from};
    eco_status st = work_account(ctx, epoch, &share);
    if (!eco_ok(st)) {
      result = st;
    }
    from = to;
  }
  return result;
}
