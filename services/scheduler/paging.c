// Limits and cursors of lists.
#include "paging.h"

#include <errno.h>
#include <stdlib.h>

eco_status page_limit(int32_t asked, int fallback, int max, int *out) {
  if (asked < 0 || asked > max) {
    return eco_error_param(ECO_INVALID_REQUEST, "limit", "limit must be between 1 and %d.", max);
  }
  *out = asked ? asked : fallback;
  return eco_success();
}

eco_status page_cursor_id(const char *cursor, int64_t *out) {
  *out = 0;
  if (!*cursor) {
    return eco_success();
  }
  char *end = NULL;
  errno = 0;
  long long v = strtoll(cursor, &end, 10);
  if (errno || *end || v <= 0 || *cursor < '0' || *cursor > '9') {
    return eco_error_param(ECO_INVALID_REQUEST, "cursor",
                           "This cursor is none of ours: take next_cursor of the page before.");
  }
  *out = v;
  return eco_success();
}

Ecolink__V1__PageInfo *page_info(eco_arena *arena, bool has_more, const char *next_cursor) {
  Ecolink__V1__PageInfo *page = eco_alloc(arena, sizeof(*page));
  ecolink__v1__page_info__init(page);
  page->has_more = has_more;
  page->next_cursor = eco_strdup(arena, has_more ? next_cursor : "");
  return page;
}
