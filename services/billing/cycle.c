// Rules of the billing cycle; see cycle.h for the picture.
#include "cycle.h"

#include <stdlib.h>

#include "billing_limits.h"
#include "ecolink/money.h"

enum { SECONDS_PER_HOUR = 3600 };

static int64_t min_i64(int64_t a, int64_t b) {
  return a < b ? a : b;
}
static int64_t max_i64(int64_t a, int64_t b) {
  return a > b ? a : b;
}

static int64_t floor_s(int64_t us) {
  return us <= 0 ? 0 : us / CYCLE_US_PER_S;
}

static int64_t ceil_s(int64_t us) {
  if (us <= 0) {
    return 0;
  }
  return us / CYCLE_US_PER_S + (us % CYCLE_US_PER_S != 0 ? 1 : 0);
}

static int compare_intervals(const void *a, const void *b) {
  const cycle_interval *x = a;
  const cycle_interval *y = b;
  if (x->replica_id != y->replica_id) {
    return x->replica_id < y->replica_id ? -1 : 1;
  }
  if (x->started_at_us != y->started_at_us) {
    return x->started_at_us < y->started_at_us ? -1 : 1;
  }
  return 0;
}

void cycle_sort(cycle_interval *intervals, size_t count) {
  if (count > 1) {
    qsort(intervals, count, sizeof *intervals, compare_intervals);
  }
}

int64_t cycle_seconds(const cycle_interval *intervals, size_t count, int64_t from_us, int64_t until_us) {
  int64_t from = ceil_s(from_us);
  int64_t until = floor_s(until_us);
  int64_t total = 0;
  int64_t covered = from;  // seconds of this replica before it are counted already
  for (size_t i = 0; i < count; i++) {
    const cycle_interval *v = &intervals[i];
    if (i == 0 || v->replica_id != intervals[i - 1].replica_id) {
      covered = from;
    }
    int64_t begin = max_i64(ceil_s(v->started_at_us), covered);
    int64_t end = v->ended_at_us == 0 ? until : min_i64(floor_s(v->ended_at_us), until);
    if (end > begin) {
      total += end - begin;
      covered = end;
    }
  }
  return total;
}

bool cycle_burn(const cycle_terms *terms, int64_t *micros_per_hour_out) {
  int64_t per_replica;
  return eco_money_mul(terms->rate_micros_per_gpu_hour, terms->gpu_count, &per_replica) &&
         eco_money_mul(per_replica, terms->total_replicas, micros_per_hour_out);
}

bool cycle_full_hold(const cycle_terms *terms, int64_t cycle_s, int64_t *micros_out) {
  int64_t seconds;
  return eco_money_mul(cycle_s, terms->total_replicas, &seconds) &&
         eco_money_charge(seconds, terms->rate_micros_per_gpu_hour, terms->gpu_count, micros_out);
}

int64_t cycle_covers_s(const cycle_terms *terms, int64_t amount_micros) {
  int64_t burn;
  if (!cycle_burn(terms, &burn) || amount_micros <= 0) {
    return 0;
  }
  if (burn == 0) {
    return INT64_MAX;
  }
  __extension__ typedef __int128 wide;
  wide seconds = (wide)amount_micros * SECONDS_PER_HOUR / burn;
  return seconds > INT64_MAX ? INT64_MAX : (int64_t)seconds;
}

// R(before + seconds) - R(before): rounding is carried through the instance's life, so that no cycle adds its own.
static bool charge_of(const cycle_hold *hold, int64_t seconds, int64_t *out) {
  int64_t through, r_before, r_through;
  if (!eco_money_add(hold->seconds_before, seconds, &through) ||
      !eco_money_charge(hold->seconds_before, hold->terms.rate_micros_per_gpu_hour, hold->terms.gpu_count, &r_before) ||
      !eco_money_charge(through, hold->terms.rate_micros_per_gpu_hour, hold->terms.gpu_count, &r_through)) {
    return false;
  }
  *out = min_i64(r_through - r_before, hold->amount_micros);
  return true;
}

int64_t cycle_accrued(const cycle_hold *hold, int64_t seconds) {
  int64_t charge;
  return charge_of(hold, max_i64(seconds, 0), &charge) ? charge : hold->amount_micros;
}

bool cycle_settle(const cycle_hold *hold, const cycle_reading *reading, int64_t ends_at_us, cycle_settlement *out) {
  int64_t until = ends_at_us;
  if (reading->stop_requested_at_us > 0) {
    until = min_i64(until, reading->stop_requested_at_us);
  }
  if (!reading->complete) {
    until = min_i64(until, reading->observed_until_us);
  }
  until = max_i64(floor_s(until) * CYCLE_US_PER_S, hold->settled_until_us);
  int64_t seconds = cycle_seconds(reading->intervals, reading->count, hold->settled_until_us, until);
  int64_t charge;
  if (!charge_of(hold, seconds, &charge)) {
    return false;
  }
  *out = (cycle_settlement){
      .charge_micros = charge,
      .refund_micros = hold->amount_micros - charge,
      .seconds = seconds,
      .settled_until_us = until,
  };
  return true;
}

// The latest instant that this instance can still be charged for, once its reading is complete.
static int64_t last_chargeable_us(const cycle_reading *reading) {
  int64_t last = 0;
  for (size_t i = 0; i < reading->count; i++) {
    last = max_i64(last, reading->intervals[i].ended_at_us);
  }
  if (reading->stop_requested_at_us > 0) {
    last = min_i64(last, reading->stop_requested_at_us);
  }
  return last;
}

// A partial hold is ended early only for a real gain: what is left of it and the new credit together must reach beyond
// its present end, and further than what counts as zero. Otherwise a cent would end a run that had been paid.
static bool extension_pays(const cycle_hold *hold, const cycle_reading *reading, int64_t at_us,
                           int64_t available_micros) {
  cycle_settlement s;
  int64_t total;
  if (!cycle_settle(hold, reading, at_us, &s) || !eco_money_add(s.refund_micros, available_micros, &total)) {
    return false;
  }
  int64_t covers_s = cycle_covers_s(&hold->terms, total);
  if (covers_s < BILLING_MIN_PARTIAL_S) {
    return false;
  }
  int64_t left_s = ceil_s(hold->expires_at_us - at_us);
  return covers_s > left_s;
}

static cycle_verdict judge_before_end(const cycle_hold *hold, const cycle_reading *reading, int64_t now_us,
                                      int64_t available_micros) {
  cycle_verdict keep = {.action = CYCLE_KEEP};
  if (!hold->partial || available_micros <= 0 || reading->stopping || reading->over) {
    return keep;
  }
  // Ends where the evidence ends: everything before is settled exactly, everything after belongs to the next cycle.
  int64_t at_us = floor_s(min_i64(now_us, reading->observed_until_us)) * CYCLE_US_PER_S;
  if (at_us <= hold->started_at_us || at_us < hold->settled_until_us ||
      !extension_pays(hold, reading, at_us, available_micros)) {
    return keep;
  }
  return (cycle_verdict){.action = CYCLE_EXTEND, .ends_at_us = at_us};
}

cycle_verdict cycle_judge(const cycle_hold *hold, const cycle_reading *reading, int64_t now_us,
                          int64_t available_micros, int64_t wait_until_us) {
  cycle_verdict keep = {.action = CYCLE_KEEP};
  if (!reading->known) {
    bool old = now_us - hold->started_at_us >= BILLING_ORPHAN_AFTER_S * CYCLE_US_PER_S;
    return old ? (cycle_verdict){.action = CYCLE_CLOSE} : keep;
  }
  bool ended = (reading->stopping || reading->over) && reading->complete;
  if (ended && last_chargeable_us(reading) <= hold->expires_at_us) {
    return (cycle_verdict){.action = CYCLE_FINISH, .ends_at_us = hold->expires_at_us};
  }
  if (now_us < hold->expires_at_us) {
    return judge_before_end(hold, reading, now_us, available_micros);
  }
  if (ended) {  // ran into later cycles that nobody has placed yet: catch up
    return (cycle_verdict){.action = CYCLE_RENEW, .ends_at_us = hold->expires_at_us};
  }
  bool stopped_in_time = reading->stop_requested_at_us > 0 && reading->stop_requested_at_us <= hold->expires_at_us;
  if (reading->over || stopped_in_time) {
    return keep;  // no further cycle begins; what is missing is the last evidence
  }
  if (reading->observed_until_us < hold->expires_at_us && now_us < wait_until_us) {
    return (cycle_verdict){.action = CYCLE_WAIT};
  }
  return (cycle_verdict){.action = CYCLE_RENEW, .ends_at_us = hold->expires_at_us};
}

bool cycle_next_hold(const cycle_terms *terms, int64_t available_micros, int64_t start_us, int64_t cycle_s,
                     cycle_next *out) {
  int64_t full;
  if (!cycle_full_hold(terms, cycle_s, &full)) {
    return false;
  }
  if (available_micros >= full) {
    *out = (cycle_next){CYCLE_NEXT_FULL, full, start_us + cycle_s * CYCLE_US_PER_S};
    return true;
  }
  int64_t covers_s = cycle_covers_s(terms, available_micros);
  if (covers_s < BILLING_MIN_PARTIAL_S) {
    *out = (cycle_next){CYCLE_NEXT_ZERO, 0, start_us};
    return true;
  }
  // Less than the full hold never lasts the full cycle, but for its rounding: the bound keeps that out.
  *out = (cycle_next){CYCLE_NEXT_PARTIAL, available_micros, start_us + min_i64(covers_s, cycle_s) * CYCLE_US_PER_S};
  return true;
}
