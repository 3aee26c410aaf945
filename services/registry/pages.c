// Limits and cursors of lists; the contract is in pages.h.
#include "pages.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ecolink/lists.h"

static bool id_byte(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || strchr("._/-", c) != NULL;
}

static bool cursor_parse(const char *cursor, registry_page *out) {
  size_t n = strlen(cursor);
  if (n >= REGISTRY_CURSOR_MAX || cursor[0] < '0' || cursor[0] > '9') {
    return false;
  }
  errno = 0;
  char *end = NULL;
  long long at = strtoll(cursor, &end, 16);
  if (errno != 0 || *end != '~' || end[1] == '\0') {
    return false;
  }
  for (const char *p = end + 1; *p != '\0'; p++) {
    if (!id_byte(*p)) {
      return false;
    }
  }
  // One spelling alone: that of the list that gave it out (no "0x", no upper case, no other count of zeros).
  char again[REGISTRY_CURSOR_MAX];
  registry_cursor_format(at, end + 1, again);
  if (strcmp(again, cursor) != 0) {
    return false;
  }
  out->before_us = at;
  memcpy(out->before_id, end + 1, strlen(end + 1) + 1);
  return true;
}

eco_status registry_page_parse(int32_t limit, const char *cursor, registry_page *out) {
  *out = (registry_page){.before_us = INT64_MAX};
  ECO_TRY(eco_page_limit(limit, REGISTRY_LIST_DEFAULT, REGISTRY_LIST_MAX, &out->limit));
  if (cursor[0] != '\0' && !cursor_parse(cursor, out)) {
    return eco_page_bad_cursor();
  }
  return eco_success();
}

void registry_cursor_format(int64_t created_at_us, const char *id, char out[REGISTRY_CURSOR_MAX]) {
  // The leading 0 keeps the first byte a digit, so that strtoll meets no sign, blank or "0x".
  (void)snprintf(out, REGISTRY_CURSOR_MAX, "0%" PRIx64 "~%s", (uint64_t)created_at_us, id);
}
