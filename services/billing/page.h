// Limits, cursors and dates of list requests. Pure, any thread.
#ifndef BILLING_PAGE_H
#define BILLING_PAGE_H

#include <stdint.h>

#include "ecolink/status.h"

// 0 gives the default; outside 1..max: INVALID_REQUEST for `limit`.
ECO_CHECKED eco_status page_limit(int32_t asked, int32_t fallback, int32_t max, int64_t *out);
// A cursor that is a position; "" gives INT64_MAX: from the newest.
ECO_CHECKED eco_status page_cursor(const char *cursor, int64_t *out);
// "YYYY-MM-DD" as days since 1970-01-01; "" gives `fallback`.
ECO_CHECKED eco_status page_day(const char *text, const char *param, int64_t fallback, int64_t *out);
// "<day>.<instance>.<key>": *key_out points into the cursor.
ECO_CHECKED eco_status page_usage_cursor(const char *cursor, int64_t *day_out, int64_t *instance_out,
                                         const char **key_out);

#endif
