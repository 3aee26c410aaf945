// Histogram of nanoseconds with fixed memory: 64 linear steps in each power of two, so a value is known within 1.6 %.
#ifndef RIG_HIST_H
#define RIG_HIST_H

#include <stdint.h>

enum { RIG_HIST_STEPS = 64, RIG_HIST_CELLS = RIG_HIST_STEPS * 60 };

typedef struct rig_hist {
  uint64_t cells[RIG_HIST_CELLS];
  uint64_t n;
  uint64_t max;
  uint64_t sum;
} rig_hist;

void rig_hist_clear(rig_hist *h);
void rig_hist_add(rig_hist *h, uint64_t ns);
// The value that `share` (0..1) of all values do not exceed; 0 when there are none.
uint64_t rig_hist_at(const rig_hist *h, double share);

#endif
