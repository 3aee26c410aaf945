// Limits, cursors and the small messages of lists.
#include "ecolink/lists.h"

eco_status eco_page_limit(int32_t asked, int32_t fallback, int32_t max, int32_t *out) {
  *out = asked == 0 ? fallback : asked;
  if (*out < 1 || *out > max) {
    return eco_error_param(ECO_INVALID_REQUEST, "limit", "limit must be between 1 and %d", max);
  }
  return eco_success();
}

eco_status eco_page_bad_cursor(void) {
  return eco_error_param(ECO_INVALID_REQUEST, "cursor",
                         "cursor is not one that a list returned: leave it out to begin anew");
}

eco_status eco_page_position(const char *cursor, int64_t start, int64_t *out) {
  int64_t value = 0;
  if (cursor[0] == '\0') {
    *out = start;
    return eco_success();
  }
  for (const char *p = cursor; *p != '\0'; p++) {
    if (*p < '0' || *p > '9' || __builtin_mul_overflow(value, 10, &value) ||
        __builtin_add_overflow(value, *p - '0', &value)) {
      return eco_page_bad_cursor();
    }
  }
  *out = value;
  return eco_success();
}

Ecolink__V1__PageInfo *eco_pb_page(eco_arena *arena, const char *next_cursor) {
  Ecolink__V1__PageInfo *page = eco_alloc(arena, sizeof *page);
  ecolink__v1__page_info__init(page);
  page->has_more = next_cursor != NULL;
  page->next_cursor = eco_strdup(arena, next_cursor);
  return page;
}

Ecolink__V1__Timestamp *eco_pb_time(eco_arena *arena, int64_t us) {
  Ecolink__V1__Timestamp *t = eco_alloc(arena, sizeof *t);
  ecolink__v1__timestamp__init(t);
  t->micros = us;
  return t;
}

Ecolink__V1__Timestamp *eco_pb_time_or_null(eco_arena *arena, int64_t us) {
  return us != 0 ? eco_pb_time(arena, us) : NULL;
}

Ecolink__V1__Money *eco_pb_money(eco_arena *arena, int64_t micros) {
  Ecolink__V1__Money *m = eco_alloc(arena, sizeof *m);
  ecolink__v1__money__init(m);
  m->micros = micros;
  return m;
}
