// What an operator can set: ECOLINK_BILLING_*. Loaded once before threads, read-only afterwards.
#ifndef BILLING_SETTINGS_H
#define BILLING_SETTINGS_H

#include "ecolink/config.h"

typedef struct billing_settings {
  int64_t cycle_s;          // length of a billing cycle
  int64_t tick_ms;          // how often the worker looks for due cycles
  int64_t reconcile_s;      // how often every open hold is compared with the scheduler's word
  int64_t evidence_wait_s;  // patience with a meter that lags behind a cycle's end
  int64_t hold_grace_s;     // a cycle overdue for longer than this is an alarm
  int64_t notice_tick_ms;   // how often runway is judged
} billing_settings;

extern billing_settings billing_set;
extern const eco_setting billing_setting_table[];

#endif
