// Bounds of the billing service, each with its reason.
#ifndef BILLING_BILLING_LIMITS_H
#define BILLING_BILLING_LIMITS_H

#include <stdint.h>

enum {
  // A partial hold that covers less than this counts as no balance: an instance that lived for seconds helps nobody.
  BILLING_MIN_PARTIAL_S = 60,
  // A hold whose instance the scheduler does not know is given back only after this: its launch may still be under way.
  BILLING_ORPHAN_AFTER_S = 60,
  // ReadMeter's own bound, and the time that one call may take.
  BILLING_METER_BATCH = 100,
  BILLING_METER_TIMEOUT_MS = 5000,
  // Answers that one batch may take until everything is told: each brings thousands of intervals, so this is months of
  // flapping.
  BILLING_METER_PAGES_MAX = 500,
  // Accounts that one pass of the worker looks at, longest unseen first; the rest comes with the next pass.
  BILLING_PASS_ACCOUNTS = 500,
  // A worker that was away for long catches up by so many cycles per account and pass, then lets others run.
  BILLING_CATCH_UP_ROUNDS = 64,
  BILLING_REGISTRY_TIMEOUT_MS = 5000,
  BILLING_ALARM_EVERY_MS = 60000,
  BILLING_DESCRIPTION_MAX = 400,
  BILLING_REASON_MAX = 400,
  BILLING_LIST_DEFAULT = 50,
  BILLING_LIST_MAX = 1000,
  BILLING_NOTICES_DEFAULT = 20,
  BILLING_NOTICES_MAX = 100,
  BILLING_USAGE_DEFAULT_DAYS = 30,
  // Replicas and GPUs per replica: far above any placement, low enough that no product overflows.
  BILLING_REPLICAS_MAX = 1024,
  BILLING_GPUS_MAX = 1024,
};
// Largest single amount, a billion dollars: sums of billions of such rows still fit into 64 bits.
#define BILLING_AMOUNT_MAX_MICROS INT64_C(1000000000000000)
// Largest price per GPU-hour: a million dollars. With the bounds above and a cycle of a year nothing overflows 128
// bits.
#define BILLING_RATE_MAX_MICROS INT64_C(1000000000000)

#endif
