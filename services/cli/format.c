// Values for people.
#include "format.h"

#include <inttypes.h>
#include <string.h>

#include "ecolink/clock.h"
#include "ecolink/money.h"

enum { MINUTE = 60, HOUR = 3600, DAY = 86400 };

const char *cli_format_span(eco_arena *arena, int64_t seconds) {
  const char *sign = seconds < 0 ? "-" : "";
  uint64_t s = seconds < 0 ? UINT64_C(0) - (uint64_t)seconds : (uint64_t)seconds;
  if (s < MINUTE) {
    return eco_sprintf(arena, "%s%" PRIu64 "s", sign, s);
  }
  if (s < HOUR) {
    return eco_sprintf(arena, "%s%" PRIu64 "m %" PRIu64 "s", sign, s / MINUTE, s % MINUTE);
  }
  if (s < DAY) {
    return eco_sprintf(arena, "%s%" PRIu64 "h %" PRIu64 "m", sign, s / HOUR, s % HOUR / MINUTE);
  }
  return eco_sprintf(arena, "%s%" PRIu64 "d %" PRIu64 "h", sign, s / DAY, s % DAY / HOUR);
}

const char *cli_format_age(eco_arena *arena, const char *rfc3339, int64_t now_us) {
  int64_t us = 0;
  if (eco_rfc3339_parse(rfc3339, &us) != 0) {
    return cli_format_clean(arena, rfc3339, strlen(rfc3339));
  }
  int64_t seconds = (now_us - us) / ECO_US_PER_S;
  return seconds >= 0 ? eco_sprintf(arena, "%s ago", cli_format_span(arena, seconds))
                      : eco_sprintf(arena, "in %s", cli_format_span(arena, -seconds));
}

const char *cli_format_usd(eco_arena *arena, int64_t micros) {
  char text[ECO_MONEY_TEXT_MAX];
  eco_money_format(micros, text);
  return text[0] == '-' ? eco_sprintf(arena, "-$%s", text + 1) : eco_sprintf(arena, "$%s", text);
}

const char *cli_format_bytes(eco_arena *arena, int64_t bytes) {
  static const char *const units[] = {"KiB", "MiB", "GiB", "TiB", "PiB"};
  if (bytes < 1024) {
    return eco_sprintf(arena, "%" PRId64 " B", bytes);
  }
  double value = (double)bytes / 1024;
  size_t unit = 0;
  for (; value >= 1024 && unit + 1 < sizeof(units) / sizeof(units[0]); unit++) {
    value /= 1024;
  }
  return eco_sprintf(arena, "%.1f %s", value, units[unit]);
}

const char *cli_format_clean(eco_arena *arena, const char *text, size_t len) {
  char *copy = eco_strndup(arena, text, len);
  for (unsigned char *p = (unsigned char *)copy; *p != '\0'; p++) {
    if (*p < ' ' || *p == 0x7F) {
      *p = ' ';
    } else if (*p == 0xC2 && p[1] >= 0x80 && p[1] < 0xA0) {
      *p++ = ' ';  // the C1 controls in UTF-8, one of which is another name for ESC [
      *p = ' ';
    }
  }
  return copy;
}

const char *cli_format_time(eco_arena *arena, const char *rfc3339) {
  int64_t us = 0;
  if (eco_rfc3339_parse(rfc3339, &us) != 0) {
    return cli_format_clean(arena, rfc3339, strlen(rfc3339));
  }
  char text[ECO_RFC3339_MAX];
  eco_rfc3339_format(us - (us % ECO_US_PER_S), text);
  text[strcspn(text, "T")] = ' ';
  text[strcspn(text, "Z")] = '\0';
  return eco_strdup(arena, text);
}
