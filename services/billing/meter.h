// The scheduler's meter, read for many holds at once. The only call that billing makes about instances; never inside a
// transaction.
#ifndef BILLING_METER_H
#define BILLING_METER_H

#include "cycle.h"
#include "ecolink/service.h"
#include "store.h"

typedef struct meter_reading {
  bool read;   // false: the scheduler did not answer for it
  int status;  // Ecolink__V1__InstanceStatus
  cycle_reading rule;
} meter_reading;

// Fills one reading per hold, in batches. Returns the last failure; what was read in other batches stays good.
ECO_CHECKED eco_status meter_read(eco_ctx *ctx, const store_hold *holds, size_t count, meter_reading *out);

#endif
