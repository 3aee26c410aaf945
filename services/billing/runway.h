// How fast an account's credit burns and how much of its open holds is used up by now. Pure, any thread.
// An estimate for balance and notices; charging goes by the meter alone.
#ifndef BILLING_RUNWAY_H
#define BILLING_RUNWAY_H

#include "store.h"

typedef struct runway_sum {
  int64_t burn_micros_per_hour;  // Ready replicas alone; an instance that stops burns nothing
  int64_t held_micros;
  int64_t accrued_micros;
} runway_sum;

// Uptime since the last reading counts as if the replicas that were Ready still were.
runway_sum runway_of(const store_hold *holds, size_t count, int64_t now_us);

#endif
