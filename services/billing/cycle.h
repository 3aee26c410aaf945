// The rules of a billing cycle: how much uptime is proved, what it costs, what comes back, what the next cycle gets.
//
// Pure: no I/O, `now` passed in, any thread. Times are microseconds of business time, money is micro-dollars.
//
//   started_at          settled_until          observed_until     expires_at
//   |---- charged ------|---- proved, not yet charged ----|-- unproved --|
//
// Uptime is counted in whole seconds of the epoch: a second counts for a replica when one of its Ready intervals covers
// it completely (start rounded up, end rounded down), and once however many intervals cover it. Every boundary at which
// charging stops is a whole second as well, so that cutting time into cycles neither loses nor doubles a second.
#ifndef BILLING_CYCLE_H
#define BILLING_CYCLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define CYCLE_US_PER_S INT64_C(1000000)

typedef struct cycle_interval {
  int32_t replica_id;
  int64_t started_at_us;
  int64_t ended_at_us;  // 0: still open
} cycle_interval;

// What the scheduler's meter says about one instance.
typedef struct cycle_reading {
  bool known;                       // false: the scheduler has no such instance
  bool stopping;                    // stop asked for, not yet gone
  bool over;                        // stopped or failed
  bool complete;                    // no interval is open, none can be added
  int64_t stop_requested_at_us;     // charging ends here; 0: not asked
  int64_t observed_until_us;        // evidence is final up to here
  const cycle_interval *intervals;  // sorted by cycle_sort
  size_t count;
} cycle_reading;

// What a replica-second costs. Fixed at launch.
typedef struct cycle_terms {
  int64_t rate_micros_per_gpu_hour;
  int32_t gpu_count;  // per replica
  int32_t total_replicas;
} cycle_terms;

// An open hold, and how far its instance has been charged.
typedef struct cycle_hold {
  cycle_terms terms;
  int64_t amount_micros;
  int64_t started_at_us;
  int64_t expires_at_us;
  bool partial;
  int64_t settled_until_us;  // whole second: uptime before it has been charged in earlier cycles
  int64_t seconds_before;    // replica-seconds charged in earlier cycles
} cycle_hold;

typedef struct cycle_settlement {
  int64_t charge_micros;  // <= the hold
  int64_t refund_micros;  // charge + refund = hold
  int64_t seconds;        // replica-seconds charged by this settlement
  int64_t settled_until_us;
} cycle_settlement;

typedef enum cycle_action {
  CYCLE_KEEP,    // nothing to do now
  CYCLE_WAIT,    // due, but the evidence does not reach the cycle's end yet
  CYCLE_RENEW,   // settle at ends_at_us, then place the next hold from there
  CYCLE_EXTEND,  // as RENEW, before its time: new credit lets a partial hold reach further
  CYCLE_FINISH,  // settle; the instance is over and gets no further hold
  CYCLE_CLOSE,   // no such instance: the hold goes back whole
} cycle_action;

typedef struct cycle_verdict {
  cycle_action action;
  int64_t ends_at_us;  // for RENEW, EXTEND and FINISH: where charging of this cycle ends at the latest
} cycle_verdict;

typedef enum cycle_next_kind { CYCLE_NEXT_FULL, CYCLE_NEXT_PARTIAL, CYCLE_NEXT_ZERO } cycle_next_kind;

typedef struct cycle_next {
  cycle_next_kind kind;
  int64_t amount_micros;  // 0 for ZERO
  int64_t expires_at_us;  // the start itself for ZERO
} cycle_next;

// Sorts by replica and start; every function below expects that order.
void cycle_sort(cycle_interval *intervals, size_t count);

// Replica-seconds proved in [from_us, until_us): per replica the union of its whole seconds, summed over replicas. Open
// intervals reach to until_us.
int64_t cycle_seconds(const cycle_interval *intervals, size_t count, int64_t from_us, int64_t until_us);

// Micro-dollars per hour with every replica Ready. False on overflow.
bool cycle_burn(const cycle_terms *terms, int64_t *micros_per_hour_out) __attribute__((warn_unused_result));

// The full hold of a cycle of cycle_s seconds. False on overflow.
bool cycle_full_hold(const cycle_terms *terms, int64_t cycle_s, int64_t *micros_out)
    __attribute__((warn_unused_result));

// How many seconds `amount` lasts with every replica Ready, rounded down; INT64_MAX when nothing burns.
int64_t cycle_covers_s(const cycle_terms *terms, int64_t amount_micros);

// Charges the hold for what is proved from settled_until to the least of ends_at_us, stop request and (unless the
// reading is complete) watermark. charge = R(seconds through here) - R(seconds before), never above the hold. False on
// overflow, when nothing may be written.
bool cycle_settle(const cycle_hold *hold, const cycle_reading *reading, int64_t ends_at_us, cycle_settlement *out)
    __attribute__((warn_unused_result));

// What to do with an open hold now. `available_micros` is the account's available balance; `wait_until_us` ends the
// patience with evidence that lags behind the cycle's end (INT64_MAX: not yet seen due).
cycle_verdict cycle_judge(const cycle_hold *hold, const cycle_reading *reading, int64_t now_us,
                          int64_t available_micros, int64_t wait_until_us);

// The hold for a cycle that begins at start_us: full when the balance suffices, all of the balance when that lasts at
// least BILLING_MIN_PARTIAL_S, otherwise zero. False on overflow.
bool cycle_next_hold(const cycle_terms *terms, int64_t available_micros, int64_t start_us, int64_t cycle_s,
                     cycle_next *out) __attribute__((warn_unused_result));

// Charge for `seconds` more replica-seconds on an open hold, never above it: what the hold has already lost by now.
int64_t cycle_accrued(const cycle_hold *hold, int64_t seconds);

#endif
