// The clocks, and RFC 3339 by civil-calendar arithmetic (proleptic Gregorian, no libc time zones).
#include "ecolink/clock.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#ifdef ECO_TEST_BUILD
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>
#endif

enum { SECONDS_PER_DAY = 86400, MONTHS = 12 };

static int64_t clock_us(clockid_t id) {
  struct timespec ts;
  (void)clock_gettime(id, &ts);
  return (int64_t)ts.tv_sec * ECO_US_PER_S + ts.tv_nsec / 1000;
}

int64_t eco_wall_us(void) {
  return clock_us(CLOCK_REALTIME);
}

int64_t eco_boottime_ms(void) {
  return clock_us(CLOCK_BOOTTIME) / 1000;
}

#ifdef ECO_TEST_BUILD
enum { OFFSET_LOOK_MS = 20, OFFSET_FRESH_MS = 1000 };

static struct offset_state {
  pthread_mutex_t lock;  // guards all but the atomics
  struct stat seen;
  atomic_llong looked_at_ms;
  atomic_llong offset_us;
} offset_state = {.lock = PTHREAD_MUTEX_INITIALIZER, .looked_at_ms = -OFFSET_LOOK_MS};

// A file that is absent means no shift; one that holds no number (being written) keeps the last.
static void offset_read(const char *path) {
  char text[32] = "";
  int fd = open(path, O_RDONLY | O_CLOEXEC);
  if (fd < 0) {
    atomic_store(&offset_state.offset_us, 0);
    return;
  }
  ssize_t n = read(fd, text, sizeof(text) - 1);
  (void)close(fd);
  if (n <= 0) {
    return;
  }
  char *end = NULL;
  errno = 0;
  long long seconds = strtoll(text, &end, 10);
  if (errno == 0 && end != text && (*end == '\0' || *end == '\n') && seconds > -INT64_C(10000000000) &&
      seconds < INT64_C(10000000000)) {
    atomic_store(&offset_state.offset_us, seconds * ECO_US_PER_S);
  }
}

static int64_t offset_us(void) {
  const char *path = getenv("ECOLINK_CLOCK_OFFSET_FILE");
  if (path == NULL || *path == '\0') {
    return 0;
  }
  int64_t now_ms = eco_boottime_ms();
  if (now_ms - atomic_load(&offset_state.looked_at_ms) >= OFFSET_LOOK_MS) {
    (void)pthread_mutex_lock(&offset_state.lock);
    struct stat st;
    memset(&st, 0, sizeof(st));
    (void)stat(path, &st);
    // Two writes within one tick of the file system's clock share an mtime, so a young file is read again.
    int64_t mtime_us = (int64_t)st.st_mtim.tv_sec * ECO_US_PER_S + st.st_mtim.tv_nsec / 1000;
    bool young = eco_wall_us() - mtime_us < INT64_C(1000) * OFFSET_FRESH_MS;
    if (young || st.st_mtim.tv_sec != offset_state.seen.st_mtim.tv_sec ||
        st.st_mtim.tv_nsec != offset_state.seen.st_mtim.tv_nsec || st.st_ino != offset_state.seen.st_ino) {
      offset_read(path);
      offset_state.seen = st;
    }
    atomic_store(&offset_state.looked_at_ms, now_ms);
    (void)pthread_mutex_unlock(&offset_state.lock);
  }
  return atomic_load(&offset_state.offset_us);
}

int64_t eco_now_us(void) {
  return eco_wall_us() + offset_us();
}
#else
int64_t eco_now_us(void) {
  return eco_wall_us();
}
#endif

// Days since 1970-01-01 of a civil date, and back: years start in March, so that the leap day is the last of its year.
static int64_t days_from_civil(int64_t year, int month, int day) {
  year -= month <= 2 ? 1 : 0;
  int64_t era = (year >= 0 ? year : year - 399) / 400;
  int64_t year_of_era = year - era * 400;
  int64_t day_of_year = (153 * (month + (month > 2 ? -3 : 9)) + 2) / 5 + day - 1;
  int64_t day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
  return era * 146097 + day_of_era - 719468;
}

static void civil_from_days(int64_t days, int *year, int *month, int *day) {
  days += 719468;
  int64_t era = (days >= 0 ? days : days - 146096) / 146097;
  int64_t day_of_era = days - era * 146097;
  int64_t year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36524 - day_of_era / 146096) / 365;
  int64_t day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
  int64_t shifted = (5 * day_of_year + 2) / 153;
  *day = (int)(day_of_year - (153 * shifted + 2) / 5 + 1);
  *month = (int)(shifted < 10 ? shifted + 3 : shifted - 9);
  *year = (int)(year_of_era + era * 400 + (*month <= 2 ? 1 : 0));
}

static int days_in_month(int year, int month) {
  static const int days[MONTHS] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
  bool leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
  return days[month - 1] + (month == 2 && leap ? 1 : 0);
}

void eco_rfc3339_format(int64_t us, char out[ECO_RFC3339_MAX]) {
  // RFC 3339 has four digits for the year: what lies outside is shown as its first or last instant.
  const int64_t first = days_from_civil(0, 1, 1) * SECONDS_PER_DAY * ECO_US_PER_S;
  const int64_t last = days_from_civil(10000, 1, 1) * SECONDS_PER_DAY * ECO_US_PER_S - 1;
  us = us < first ? first : us > last ? last : us;
  int64_t seconds = us / ECO_US_PER_S;
  int64_t fraction = us % ECO_US_PER_S;
  if (fraction < 0) {
    fraction += ECO_US_PER_S;
    seconds--;
  }
  int64_t days = seconds / SECONDS_PER_DAY;
  int64_t of_day = seconds % SECONDS_PER_DAY;
  if (of_day < 0) {
    of_day += SECONDS_PER_DAY;
    days--;
  }
  int year = 0;
  int month = 0;
  int day = 0;
  civil_from_days(days, &year, &month, &day);
  int n = snprintf(out, ECO_RFC3339_MAX, "%04d-%02d-%02dT%02d:%02d:%02d", year, month, day, (int)(of_day / 3600),
                   (int)(of_day / 60 % 60), (int)(of_day % 60));
  if (fraction != 0) {
    n += snprintf(out + n, ECO_RFC3339_MAX - (size_t)n, ".%06d", (int)fraction);
  }
  (void)snprintf(out + n, ECO_RFC3339_MAX - (size_t)n, "Z");
}

// Reads exactly n digits and steps over them; -1 when they are not there.
static int digits(const char **s, int n) {
  int value = 0;
  for (int i = 0; i < n; i++, (*s)++) {
    if (**s < '0' || **s > '9') {
      return -1;
    }
    value = value * 10 + (**s - '0');
  }
  return value;
}

static bool literal(const char **s, char c) {
  if (**s != c) {
    return false;
  }
  (*s)++;
  return true;
}

// ".ffff" of 1 to 9 digits into microseconds (the rest is cut off); 0 when there is none, -1 when malformed.
static int64_t parse_fraction(const char **s) {
  if (!literal(s, '.')) {
    return 0;
  }
  int64_t us = 0;
  int n = 0;
  for (; **s >= '0' && **s <= '9' && n < 9; n++, (*s)++) {
    us = n < 6 ? us * 10 + (**s - '0') : us;
  }
  if (n == 0) {
    return -1;
  }
  for (; n < 6; n++) {
    us *= 10;
  }
  return us;
}

static bool parse_offset(const char **s, int *seconds) {
  if (literal(s, 'Z') || literal(s, 'z')) {
    *seconds = 0;
    return true;
  }
  int sign = **s == '-' ? -1 : 1;
  if (!literal(s, '+') && !literal(s, '-')) {
    return false;
  }
  int hours = digits(s, 2);
  bool colon = hours >= 0 && literal(s, ':');
  int minutes = colon ? digits(s, 2) : -1;
  if (hours < 0 || hours > 23 || minutes < 0 || minutes > 59) {
    return false;
  }
  *seconds = sign * (hours * 3600 + minutes * 60);
  return true;
}

int eco_rfc3339_parse(const char *s, int64_t *us_out) {
  int year = digits(&s, 4);
  int month = year >= 0 && literal(&s, '-') ? digits(&s, 2) : -1;
  int day = month >= 0 && literal(&s, '-') ? digits(&s, 2) : -1;
  if (month < 1 || month > MONTHS || day < 1 || day > days_in_month(year, month) || (*s != 'T' && *s != 't')) {
    return -1;
  }
  s++;
  int hour = digits(&s, 2);
  int minute = hour >= 0 && literal(&s, ':') ? digits(&s, 2) : -1;
  int second = minute >= 0 && literal(&s, ':') ? digits(&s, 2) : -1;
  if (hour < 0 || hour > 23 || minute < 0 || minute > 59 || second < 0 || second > 60) {
    return -1;
  }
  int64_t fraction = parse_fraction(&s);
  int offset = 0;
  if (fraction < 0 || !parse_offset(&s, &offset) || *s != '\0') {
    return -1;
  }
  int64_t minutes_utc = days_from_civil(year, month, day) * 1440 + hour * 60 + minute - offset / 60;
  // A leap second exists only as the last second of a UTC day (RFC 3339 section 5.7); it reads as the next day's first.
  if (second == 60 && ((minutes_utc % 1440) + 1440) % 1440 != 1439) {
    return -1;
  }
  *us_out = (minutes_utc * 60 + second) * ECO_US_PER_S + fraction;
  return 0;
}
