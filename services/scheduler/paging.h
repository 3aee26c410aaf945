// Limits and cursors of lists. Pure.
#ifndef SCHEDULER_PAGING_H
#define SCHEDULER_PAGING_H

#include "ecolink/arena.h"
#include "ecolink/status.h"
#include "ecolink/v1/common.pb-c.h"

// 0 means the default; out of [1, max]: INVALID_REQUEST with param "limit".
ECO_CHECKED eco_status page_limit(int32_t asked, int fallback, int max, int *out);
// A cursor that is a decimal id; "" gives 0.
ECO_CHECKED eco_status page_cursor_id(const char *cursor, int64_t *out);
Ecolink__V1__PageInfo *page_info(eco_arena *arena, bool has_more, const char *next_cursor);

#endif
