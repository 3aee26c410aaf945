// Choice of replica, latency and ejection; see route.h.
#include "route.h"

#include <math.h>

#include "gw_limits.h"

enum { DECAY_MS = 10000, EJECT_MIN_MS = 1000, EJECT_MAX_MS = 30000 };

static double cost(const gw_candidate *c, double unknown_us) {
  double latency = c->latency_us > 0 ? c->latency_us : unknown_us;
  return ((double)c->outstanding + 1) * latency;
}

static size_t collect(const gw_candidate *c, size_t n, bool condemned_too, bool ejected_too, int *out) {
  size_t found = 0;
  for (size_t i = 0; i < n && found < GW_REPLICAS_MAX; i++) {
    if (!c[i].tried && (condemned_too ? c[i].reached : !c[i].condemned) && (ejected_too || !c[i].ejected)) {
      out[found++] = (int)i;
    }
  }
  return found;
}

int gw_route_choose(const gw_candidate *c, size_t n, uint64_t random) {
  int usable[GW_REPLICAS_MAX];
  bool all_condemned = n > 0;
  for (size_t i = 0; i < n; i++) {
    all_condemned = all_condemned && c[i].condemned;
  }
  size_t found = collect(c, n, all_condemned, false, usable);
  if (found == 0) {
    found = collect(c, n, all_condemned, true, usable);
  }
  if (found == 0) {
    return -1;
  }
  if (found == 1) {
    return usable[0];
  }
  size_t a = (size_t)((random & 0xffffffffU) % found);
  size_t b = (size_t)((random >> 32) % (found - 1));
  b += b >= a;
  const gw_candidate *ca = &c[usable[a]];
  const gw_candidate *cb = &c[usable[b]];
  // A replica without a measurement is taken to be as fast as the other, so that it gets its share.
  double unknown = ca->latency_us > 0 ? ca->latency_us : cb->latency_us > 0 ? cb->latency_us : 1;
  return cost(cb, unknown) < cost(ca, unknown) ? usable[b] : usable[a];
}

void gw_ewma_add(gw_ewma *e, double sample_us, uint64_t now_ms) {
  if (e->at_ms == 0) {
    e->value_us = sample_us;
  } else {
    uint64_t dt = now_ms > e->at_ms ? now_ms - e->at_ms : 0;
    // At least a tenth of each sample counts, else a burst within one millisecond would leave no trace.
    double keep = exp(-(double)dt / DECAY_MS);
    keep = keep > 0.9 ? 0.9 : keep;
    e->value_us = e->value_us * keep + sample_us * (1 - keep);
  }
  e->at_ms = now_ms ? now_ms : 1;
}

double gw_ewma_read(const gw_ewma *e, uint64_t now_ms) {
  uint64_t dt = e->at_ms && now_ms > e->at_ms ? now_ms - e->at_ms : 0;
  return dt == 0 ? e->value_us : e->value_us * exp(-(double)dt / DECAY_MS);
}

bool gw_outlier_failed(gw_outlier *o, uint16_t threshold, uint64_t now_ms) {
  if (o->failures < UINT16_MAX) {
    o->failures++;
  }
  if (o->failures < threshold || gw_outlier_ejected(o, now_ms)) {
    return false;
  }
  uint64_t back_off = EJECT_MIN_MS;
  for (uint16_t i = 0; i < o->rounds && back_off < EJECT_MAX_MS; i++) {
    back_off *= 2;
  }
  o->until_ms = now_ms + (back_off > EJECT_MAX_MS ? EJECT_MAX_MS : back_off);
  if (o->rounds < UINT16_MAX) {
    o->rounds++;
  }
  return true;
}

void gw_outlier_succeeded(gw_outlier *o) {
  *o = (gw_outlier){0};
}
