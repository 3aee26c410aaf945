// Lists newest first: limits and cursors. A cursor is the sort key of the last row shown. Pure; any thread.
#ifndef REGISTRY_PAGES_H
#define REGISTRY_PAGES_H

#include <stdint.h>

#include "ecolink/status.h"
#include "registry_limits.h"

typedef struct registry_page {
  int32_t limit;
  int64_t before_us;  // rows with (created_at_us, id) below (before_us, before_id)
  char before_id[REGISTRY_CURSOR_MAX];
} registry_page;

// limit 0: the default. INVALID_REQUEST with param `limit` or `cursor`.
ECO_CHECKED eco_status registry_page_parse(int32_t limit, const char *cursor, registry_page *out);
void registry_cursor_format(int64_t created_at_us, const char *id, char out[REGISTRY_CURSOR_MAX]);

#endif
