// The three clocks. Business time may be shifted in test builds; leases, timeouts and back-off never use it.
//
// In builds with ECO_TEST_BUILD, business time is shifted by the signed number of seconds in the file that
// ECOLINK_CLOCK_OFFSET_FILE names (re-read when its mtime changes, looked at no more than every 20 ms); release builds
// lack the code. Any thread.
#ifndef ECOLINK_CLOCK_H
#define ECOLINK_CLOCK_H

#include <stddef.h>
#include <stdint.h>

#define ECO_US_PER_S INT64_C(1000000)
enum { ECO_RFC3339_MAX = 40 };

int64_t eco_now_us(void);       // business time: microseconds since the epoch (shifted in tests)
int64_t eco_wall_us(void);      // real wall clock: RPC deadlines, log lines
int64_t eco_boottime_ms(void);  // CLOCK_BOOTTIME: leases, timeouts, back-off
// Formats as RFC 3339 UTC with microseconds only when they are not zero, e.g. 2026-11-22T20:23:43.5Z -> ".500000Z".
void eco_rfc3339_format(int64_t us, char out[ECO_RFC3339_MAX]);
// Parses RFC 3339 (any offset, up to 9 fraction digits). Returns 0, or -1 when it is not one.
int eco_rfc3339_parse(const char *s, int64_t *us_out);

#endif
