// GCRA; see ratelimit.h.
#include "ratelimit.h"

enum { MINUTE_US = 60 * 1000 * 1000, SECOND_US = 1000 * 1000 };

static int32_t seconds_up(int64_t us) {
  return us <= 0 ? 0 : (int32_t)((us + SECOND_US - 1) / SECOND_US);
}

gw_limit gw_limit_check(int64_t tat_us, int64_t now_us, int32_t per_minute, int64_t *next_tat_us) {
  int64_t interval_us = MINUTE_US / per_minute;
  if (interval_us == 0) {
    interval_us = 1;
  }
  int64_t burst_us = interval_us * per_minute;  // not MINUTE_US: the division's remainder must not cost a call
  int64_t base = tat_us > now_us ? tat_us : now_us;
  gw_limit l = {.limit = per_minute};
  int64_t next = base + interval_us;
  l.allowed = next - now_us <= burst_us;
  if (!l.allowed) {
    next = tat_us;
    l.retry_after_s = seconds_up(base + interval_us - burst_us - now_us);
  }
  *next_tat_us = next;
  l.remaining = l.allowed ? (int32_t)((burst_us - (next - now_us)) / interval_us) : 0;
  l.reset_s = seconds_up((next > now_us ? next : now_us) - now_us);
  return l;
}

gw_limit gw_limit_take(_Atomic int64_t *tat_us, int64_t now_us, int32_t per_minute) {
  int64_t tat = atomic_load_explicit(tat_us, memory_order_relaxed);
  int64_t next = 0;
  gw_limit l;
  do {
    l = gw_limit_check(tat, now_us, per_minute, &next);
  } while (l.allowed &&
           !atomic_compare_exchange_weak_explicit(tat_us, &tat, next, memory_order_relaxed, memory_order_relaxed));
  return l;
}
