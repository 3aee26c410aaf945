// Dates and the usage cursor of list requests. Pure, any thread.
#ifndef BILLING_PAGE_H
#define BILLING_PAGE_H

#include <stdint.h>

#include "ecolink/status.h"

// "YYYY-MM-DD" as days since 1970-01-01; "" gives `fallback`.
ECO_CHECKED eco_status page_day(const char *text, const char *param, int64_t fallback, int64_t *out);
// "<day>.<instance>.<key>": *key_out points into the cursor.
ECO_CHECKED eco_status page_usage_cursor(const char *cursor, int64_t *day_out, int64_t *instance_out,
                                         const char **key_out);

#endif
