// Which refusals and failures get a line in the log: of each code and second the first few, and behind them one line
// with the number of the others: a flood of them costs neither a write each nor the disk. Metrics count every one.
// Pure; one per loop, which ends each second (janitor).
#ifndef GATEWAY_REFUSALS_H
#define GATEWAY_REFUSALS_H

#include <stdbool.h>
#include <stdint.h>

#include "ecolink/status.h"

typedef struct gw_refusals {
  uint32_t said[ECO_CODE_COUNT];  // in this second
  uint32_t more[ECO_CODE_COUNT];  // ... and without a line
} gw_refusals;

// Counts one. Whether it is to have a line: the first `lines` of a second are.
bool gw_refusals_say(gw_refusals *r, eco_code code, uint32_t lines);
// The second is over for this code: how many had no line.
uint32_t gw_refusals_end(gw_refusals *r, eco_code code);

#endif
