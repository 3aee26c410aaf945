// The histogram; see hist.h. Cell of v: below 64 v itself, above the top six bits after the leading one.
#include "hist.h"

#include <string.h>

enum { STEP_BITS = 6 };

static unsigned cell_of(uint64_t v) {
  if (v < RIG_HIST_STEPS) {
    return (unsigned)v;
  }
  unsigned shift = 63 - (unsigned)__builtin_clzll(v) - STEP_BITS;
  unsigned cell = (shift + 1) * RIG_HIST_STEPS + (unsigned)(v >> shift) - RIG_HIST_STEPS;
  return cell < RIG_HIST_CELLS ? cell : RIG_HIST_CELLS - 1;
}

// The largest value that falls into a cell.
static uint64_t top_of(unsigned cell) {
  if (cell < RIG_HIST_STEPS) {
    return cell;
  }
  unsigned shift = cell / RIG_HIST_STEPS - 1;
  uint64_t step = cell % RIG_HIST_STEPS + RIG_HIST_STEPS;
  return ((step + 1) << shift) - 1;
}

void rig_hist_clear(rig_hist *h) {
  memset(h, 0, sizeof *h);
}

void rig_hist_add(rig_hist *h, uint64_t ns) {
  h->cells[cell_of(ns)]++;
  h->n++;
  h->sum += ns;
  h->max = ns > h->max ? ns : h->max;
}

uint64_t rig_hist_at(const rig_hist *h, double share) {
  uint64_t wanted = (uint64_t)(share * (double)h->n + 0.5);
  uint64_t seen = 0;
  if (h->n == 0) {
    return 0;
  }
  for (unsigned i = 0; i < RIG_HIST_CELLS; i++) {
    seen += h->cells[i];
    if (seen >= wanted && seen > 0) {
      uint64_t top = top_of(i);
      return top < h->max ? top : h->max;
    }
  }
  return h->max;
}
