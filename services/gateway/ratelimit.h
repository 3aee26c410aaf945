// The rate limit: GCRA (a token bucket kept as one number, the theoretical arrival time). Pure.
// https://en.wikipedia.org/wiki/Generic_cell_rate_algorithm
#ifndef GATEWAY_RATELIMIT_H
#define GATEWAY_RATELIMIT_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

typedef struct gw_limit {
  bool allowed;
  int32_t limit;
  int32_t remaining;
  int32_t reset_s;        // until the bucket is full again
  int32_t retry_after_s;  // when refused: until one call is allowed
} gw_limit;

// tat_us and now_us are on the same monotonic clock. `per_minute` >= 1 calls may come at once, then they are spaced
// evenly. *next_tat_us is what to store when allowed (and equals tat_us when not).
gw_limit gw_limit_check(int64_t tat_us, int64_t now_us, int32_t per_minute, int64_t *next_tat_us);

// Takes one call from a bucket that several threads share.
gw_limit gw_limit_take(_Atomic int64_t *tat_us, int64_t now_us, int32_t per_minute);

#endif
