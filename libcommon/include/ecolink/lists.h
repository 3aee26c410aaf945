// What every list answers alike: limits, cursors that are a position, and the small messages lists and states are made
// of. Pure; any thread. Messages are in the arena.
#ifndef ECOLINK_LISTS_H
#define ECOLINK_LISTS_H

#include <stdint.h>

#include "ecolink/arena.h"
#include "ecolink/status.h"
#include "ecolink/v1/common.pb-c.h"

// 0 gives the default; outside 1..max: INVALID_REQUEST with param `limit`.
ECO_CHECKED eco_status eco_page_limit(int32_t asked, int32_t fallback, int32_t max, int32_t *out);
// A cursor that is a non-negative decimal position; "" gives `start`. Anything else: eco_page_bad_cursor.
ECO_CHECKED eco_status eco_page_position(const char *cursor, int64_t start, int64_t *out);
// INVALID_REQUEST with param `cursor`.
eco_status eco_page_bad_cursor(void);

// next_cursor NULL: there is no further page.
Ecolink__V1__PageInfo *eco_pb_page(eco_arena *arena, const char *next_cursor);
Ecolink__V1__Timestamp *eco_pb_time(eco_arena *arena, int64_t us);
// NULL (absent) for 0: never happened.
Ecolink__V1__Timestamp *eco_pb_time_or_null(eco_arena *arena, int64_t us);
Ecolink__V1__Money *eco_pb_money(eco_arena *arena, int64_t micros);

#endif
