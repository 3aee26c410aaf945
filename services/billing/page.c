// Dates and the usage cursor of list requests.
#include "page.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "ecolink/clock.h"
#include "ecolink/lists.h"

enum { DATE_LEN = 10, DAY_S = 86400 };

// Digits of a non-negative int64; *end_out is the first byte behind them.
static bool parse_digits(const char *s, int64_t *out, const char **end_out) {
  int64_t value = 0;
  const char *p = s;
  for (; *p >= '0' && *p <= '9'; p++) {
    if (__builtin_mul_overflow(value, 10, &value) || __builtin_add_overflow(value, *p - '0', &value)) {
      return false;
    }
  }
  *out = value;
  *end_out = p;
  return p != s;
}

eco_status page_day(const char *text, const char *param, int64_t fallback, int64_t *out) {
  if (text[0] == '\0') {
    *out = fallback;
    return eco_success();
  }
  char whole[ECO_RFC3339_MAX];
  int64_t us;
  if (strlen(text) == DATE_LEN) {
    snprintf(whole, sizeof whole, "%sT00:00:00Z", text);
    if (eco_rfc3339_parse(whole, &us) == 0 && us >= 0) {
      *out = us / ECO_US_PER_S / DAY_S;
      return eco_success();
    }
  }
  return eco_error_param(ECO_INVALID_REQUEST, param, "%s must be a date, YYYY-MM-DD, from 1970 on", param);
}

eco_status page_usage_cursor(const char *cursor, int64_t *day_out, int64_t *instance_out, const char **key_out) {
  const char *end;
  *day_out = INT64_MAX;
  *instance_out = 0;
  *key_out = "";
  if (cursor[0] == '\0') {
    return eco_success();
  }
  if (!parse_digits(cursor, day_out, &end) || *end != '.' || !parse_digits(end + 1, instance_out, &end) ||
      *end != '.') {
    return eco_page_bad_cursor();
  }
  *key_out = end + 1;
  return eco_success();
}
