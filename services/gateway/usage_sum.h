// Sums usage records by (key, instance, minute) into one batch. Pure; metering thread only.
#ifndef GATEWAY_USAGE_SUM_H
#define GATEWAY_USAGE_SUM_H

#include "ecolink/v1/gateway.pb-c.h"
#include "usage.h"

typedef struct gw_usage_sum {
  const gw_cell *cell;  // NULL: an empty slot
  Ecolink__V1__UsageRecord record;
} gw_usage_sum;
typedef struct gw_usage_sums {
  size_t n;
  gw_usage_sum slots[GW_USAGE_BATCH * 2];
  gw_usage_sum
      *used[GW_USAGE_BATCH];  // the first n: most batches fill a small part, and a megabyte is not cleared for it
  Ecolink__V1__UsageRecord *pointers[GW_USAGE_BATCH];
} gw_usage_sums;

void gw_usage_sums_init(gw_usage_sums *s);
void gw_usage_sums_clear(gw_usage_sums *s);
// False: full, the record was not taken.
bool gw_usage_sums_add(gw_usage_sums *s, const gw_usage_record *r);
// Points the batch's records at the sums; borrowed until the next clear.
void gw_usage_sums_fill(gw_usage_sums *s, Ecolink__V1__UsageBatch *batch);

#endif
