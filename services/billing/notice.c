// Runway, thresholds and the texts of notices.
#include "notice.h"

#include <inttypes.h>
#include <stdio.h>

#include "ecolink/money.h"

static const notice_threshold thresholds[] = {
    {60, false}, {30, false}, {20, false}, {10, true}, {5, true}, {3, true}, {1, true},
};
enum {
  THRESHOLD_COUNT = sizeof thresholds / sizeof *thresholds,
  SECONDS_PER_MINUTE = 60,
  SECONDS_PER_HOUR = 3600,
  CENT_MICROS = 10000
};

bool notice_runway_s(int64_t available_micros, int64_t held_micros, int64_t accrued_micros,
                     int64_t burn_micros_per_hour, int64_t *seconds_out) {
  if (burn_micros_per_hour <= 0) {
    return false;
  }
  __extension__ typedef __int128 wide;
  wide left = (wide)available_micros + held_micros - accrued_micros;
  wide seconds = left <= 0 ? 0 : left * SECONDS_PER_HOUR / burn_micros_per_hour;
  *seconds_out = seconds > INT64_MAX ? INT64_MAX : (int64_t)seconds;
  return true;
}

const notice_threshold *notice_low_balance(int64_t runway_s, int *fired_minutes) {
  const notice_threshold *tightest = NULL;
  for (int i = 0; i < THRESHOLD_COUNT; i++) {
    if (runway_s <= (int64_t)thresholds[i].minutes * SECONDS_PER_MINUTE) {
      tightest = &thresholds[i];
    }
  }
  if (tightest == NULL) {
    *fired_minutes = 0;
    return NULL;
  }
  if (*fired_minutes != 0 && *fired_minutes <= tightest->minutes) {
    return NULL;
  }
  *fired_minutes = tightest->minutes;
  return tightest;
}

void notice_low_balance_text(int minutes, char out[NOTICE_TEXT_MAX]) {
  snprintf(out, NOTICE_TEXT_MAX, "Credit lasts for less than %d minute%s at the present rate. Recharge to continue.",
           minutes, minutes == 1 ? "" : "s");
}

void notice_partial_text(int64_t hold_micros, int64_t covers_s, char out[NOTICE_TEXT_MAX]) {
  char dollars[ECO_MONEY_TEXT_MAX];
  // Whole cents, rounded down, where there are any.
  eco_money_format(hold_micros < CENT_MICROS ? hold_micros : hold_micros - hold_micros % CENT_MICROS, dollars);
  // One decimal, rounded down (never promises more than there is); short holds get the decimals that tell them from
  // zero.
  int64_t tenths = covers_s * 10 / SECONDS_PER_HOUR;
  if (tenths > 0) {
    snprintf(out, NOTICE_TEXT_MAX, "$%s credit can cover %" PRId64 ".%" PRId64 " more hours. Recharge to continue.",
             dollars, tenths / 10, tenths % 10);
    return;
  }
  int64_t thousandths = covers_s * 1000 / SECONDS_PER_HOUR;
  snprintf(out, NOTICE_TEXT_MAX, "$%s credit can cover 0.%03" PRId64 " more hours. Recharge to continue.", dollars,
           thousandths);
}

void notice_insufficient_text(int64_t hold_micros, int64_t available_micros, char out[NOTICE_TEXT_MAX]) {
  char need[ECO_MONEY_TEXT_MAX];
  char have[ECO_MONEY_TEXT_MAX];
  char lack[ECO_MONEY_TEXT_MAX];
  eco_money_format(hold_micros, need);
  eco_money_format(available_micros, have);
  eco_money_format(hold_micros - available_micros, lack);
  snprintf(out, NOTICE_TEXT_MAX, "this launch needs a hold of $%s; $%s is available: top up at least $%s", need, have,
           lack);
}
