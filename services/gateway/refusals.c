// Counting lines; see refusals.h.
#include "refusals.h"

bool gw_refusals_say(gw_refusals *r, eco_code code, uint32_t lines) {
  if (r->said[code] >= lines) {
    r->more[code]++;
    return false;
  }
  r->said[code]++;
  return true;
}

uint32_t gw_refusals_end(gw_refusals *r, eco_code code) {
  uint32_t more = r->more[code];
  r->said[code] = 0;
  r->more[code] = 0;
  return more;
}
