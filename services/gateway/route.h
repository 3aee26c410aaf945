// Which replica answers: pure rules over numbers that the loop keeps per replica (upstream.h).
#ifndef GATEWAY_ROUTE_H
#define GATEWAY_ROUTE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct gw_candidate {
  bool tried;      // this request failed there already
  bool condemned;  // health's verdict, not expired
  bool reached;    // answered this loop within the last 10 s
  bool ejected;    // by its own failures, or its region's
  uint32_t outstanding;
  double latency_us;  // decayed time to first byte; 0: not known yet
} gw_candidate;

// Of two random usable candidates the one with lower (outstanding + 1) x latency. Condemned ones are left out; when
// every candidate is condemned, those that traffic has reached count again (traffic wins). Ejected ones are used only
// when nothing else is left: never the last one. -1: none.
int gw_route_choose(const gw_candidate *c, size_t n, uint64_t random);

// ---- decaying latency: an average whose past weighs e^(-dt / 10 s) ----
typedef struct gw_ewma {
  double value_us;
  uint64_t at_ms;
} gw_ewma;
void gw_ewma_add(gw_ewma *e, double sample_us, uint64_t now_ms);
// The average as it counts now: it fades while nothing is measured, so that a replica which failed is tried again.
double gw_ewma_read(const gw_ewma *e, uint64_t now_ms);

// ---- ejection: three failures in a row, back-off doubling from 1 s to 30 s, forgiven by time or by one success ----
typedef struct gw_outlier {
  uint16_t failures;  // in a row
  uint16_t rounds;    // ejections since the last success
  uint64_t until_ms;
} gw_outlier;
// True when this failure ejected it.
bool gw_outlier_failed(gw_outlier *o, uint16_t threshold, uint64_t now_ms);
void gw_outlier_succeeded(gw_outlier *o);
static inline bool gw_outlier_ejected(const gw_outlier *o, uint64_t now_ms) {
  return now_ms < o->until_ms;
}

#endif
