// What customers are told about their credit, and when. Pure: no I/O, any thread.
#ifndef BILLING_NOTICE_H
#define BILLING_NOTICE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { NOTICE_TEXT_MAX = 256 };

#define NOTICE_LOW_BALANCE "low_balance"
#define NOTICE_PARTIAL_HOLD "partial_hold"
#define NOTICE_CREDIT_DEPLETED "credit_depleted"
#define NOTICE_DEPLETED_TEXT "Instance terminated: credit balance depleted."

// Remaining runtime of an account: (available + open holds - uptime accrued on them) / burn. False: nothing burns.
bool notice_runway_s(int64_t available_micros, int64_t held_micros, int64_t accrued_micros,
                     int64_t burn_micros_per_hour, int64_t *seconds_out);

typedef struct notice_threshold {
  int minutes;
  bool critical;
} notice_threshold;

// An episode begins below the highest threshold and ends when runway exceeds it again (`fired_minutes` = 0: none under
// way). Returns the threshold to tell of, or NULL; *fired_minutes is the tightest one told of so far and changes with
// it. Whoever falls past several at once is told of the tightest alone; each is told of at most once per episode.
const notice_threshold *notice_low_balance(int64_t runway_s, int *fired_minutes);

void notice_low_balance_text(int minutes, char out[NOTICE_TEXT_MAX]);
// "$72.00 credit can cover 5.6 more hours. Recharge to continue."
void notice_partial_text(int64_t hold_micros, int64_t covers_s, char out[NOTICE_TEXT_MAX]);
// "this launch needs a hold of $76.80; $12.00 is available: top up at least $64.80"
void notice_insufficient_text(int64_t hold_micros, int64_t available_micros, char out[NOTICE_TEXT_MAX]);

#endif
