// Reading logs.
#include "driver_kube_logs.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ecolink/clock.h"
#include "scheduler_limits.h"

enum { LOG_ANSWER_MAX = 8 * 1024 * 1024, STAMP_MAX = 40 };

bool kube_log_line(const char *line, size_t len, int64_t *at_ns, size_t *text) {
  char stamp[STAMP_MAX];
  const char *blank = memchr(line, ' ', len < STAMP_MAX ? len : STAMP_MAX);
  int64_t us = 0;
  if (!blank) {
    return false;
  }
  size_t n = (size_t)(blank - line);
  memcpy(stamp, line, n);
  stamp[n < STAMP_MAX ? n : STAMP_MAX - 1] = '\0';
  if (n >= STAMP_MAX || eco_rfc3339_parse(stamp, &us) != 0) {
    return false;
  }
  // the last three of up to nine digits are beyond microseconds
  int64_t below_us = 0;
  const char *dot = strchr(stamp, '.');
  size_t digits = dot ? strspn(dot + 1, "0123456789") : 0;
  for (size_t i = 6; i < 9; i++) {
    below_us = below_us * 10 + (i < digits ? dot[1 + i] - '0' : 0);
  }
  *at_ns = us * 1000 + below_us;
  *text = n + 1;
  return true;
}

// The pod whose log is asked for: the newest.
static bool find_pod(kube_region *r, int64_t instance_id, int replica_id, char name[KUBE_NAME_MAX + 64],
                     bool *waiting) {
  const kube_pod_digest *best = NULL;
  pthread_mutex_lock(&r->lock);
  const kube_table *t = &r->tables[KUBE_PODS];
  for (const kube_entry *e = kube_table_next(t, NULL); e; e = kube_table_next(t, e)) {
    const kube_pod_digest *p = &e->is.pod;
    bool same = p->meta.ours && p->meta.instance_id == instance_id && p->meta.replica_id == replica_id;
    best = same && (!best || p->created_us > best->created_us) ? p : best;
  }
  if (best) {
    (void)snprintf(name, KUBE_NAME_MAX + 64, "%s", best->meta.name);
    *waiting = best->state == KUBE_POD_WAITING && best->restarts > 0;
  }
  pthread_mutex_unlock(&r->lock);
  return best != NULL;
}

typedef struct telling {
  replica_log_fn fn;
  void *arg;
  int64_t after_ns;
  int left;
  int64_t last_ns;
} telling;

static void tell(telling *t, const char *body, size_t len) {
  for (size_t at = 0; at < len && t->left > 0;) {
    const char *lf = memchr(body + at, '\n', len - at);
    size_t n = lf ? (size_t)(lf - (body + at)) : len - at;
    int64_t at_ns = 0;
    size_t text = 0;
    if (kube_log_line(body + at, n, &at_ns, &text) && at_ns > t->after_ns) {
      t->fn(t->arg, body + at + text, n - text);
      t->last_ns = at_ns;
      t->left--;
    }
    at += n + 1;
  }
}

eco_status kube_logs_read(kube_region *r, int64_t instance_id, int replica_id, int64_t offset, int max_lines,
                          replica_log_fn fn, void *arg, int64_t *next_offset) {
  char pod[KUBE_NAME_MAX + 64];
  char since[ECO_RFC3339_MAX];
  char query[256];
  char path[KUBE_PATH_MAX];
  bool waiting = false;
  kube_answer answer;
  *next_offset = offset < 0 ? 0 : offset;
  if (!find_pod(r, instance_id, replica_id, pod, &waiting)) {
    return eco_success();  // none yet, or no more
  }
  char full[KUBE_PATH_MAX];
  (void)snprintf(full, sizeof(full), "%s/log", pod);
  if (offset > 0) {
    eco_rfc3339_format(offset / INT64_C(1000000000) * ECO_US_PER_S,
                       since);  // whole seconds: older lines are left out below
    (void)snprintf(query, sizeof(query), "container=" KUBE_CONTAINER "&timestamps=true&limitBytes=%d&sinceTime=%s",
                   LOG_ANSWER_MAX / 2, since);
  } else if (offset < 0) {
    (void)snprintf(query, sizeof(query), "container=" KUBE_CONTAINER "&timestamps=true&tailLines=%d%s", max_lines,
                   waiting ? "&previous=true" : "");
  } else {
    (void)snprintf(query, sizeof(query), "container=" KUBE_CONTAINER "&timestamps=true&limitBytes=%d",
                   LOG_ANSWER_MAX / 2);
  }
  kube_path(r, KUBE_PODS, full, query, path);
  kube_request request = {.method = "GET", .path = path, .accept = "*/*", .answer_max = LOG_ANSWER_MAX};
  kube_reason reason = kube_call(r->client, &request, &answer);
  eco_status st = kube_problem_status(&answer.problem, "reading the log");
  if (reason == KUBE_OK) {
    telling t = {
        .fn = fn, .arg = arg, .after_ns = offset > 0 ? offset : -1, .left = max_lines, .last_ns = *next_offset};
    tell(&t, answer.body.data, answer.body.len);
    *next_offset = t.last_ns;
  } else if (reason == KUBE_INVALID || reason == KUBE_NOT_FOUND) {
    st = eco_success();  // its container has not begun, or is gone
  }
  kube_answer_free(&answer);
  return st;
}

// ---- the last lines ----
static void append_line(void *arg, const char *line, size_t len) {
  eco_buf *out = arg;
  len = len < SCHED_LOG_LINE_BYTES_MAX ? len : SCHED_LOG_LINE_BYTES_MAX;
  (void)(eco_buf_append(out, line, len) && eco_buf_putc(out, '\n'));
}

// Bytes of the UTF-8 character that begins there (RFC 3629 section 4); 0: none does.
static size_t character(const unsigned char *s, size_t left) {
  size_t n = s[0] < 0x80                   ? 1
             : s[0] >= 0xc2 && s[0] < 0xe0 ? 2
             : (s[0] & 0xf0) == 0xe0       ? 3
             : s[0] >= 0xf0 && s[0] < 0xf5 ? 4
                                           : 0;
  if (n == 0 || n > left || s[0] == 0) {
    return 0;
  }
  for (size_t i = 1; i < n; i++) {
    if ((s[i] & 0xc0) != 0x80) {
      return 0;
    }
  }
  bool overlong = (s[0] == 0xe0 && s[1] < 0xa0) || (s[0] == 0xf0 && s[1] < 0x90);
  bool beyond = (s[0] == 0xed && s[1] > 0x9f) || (s[0] == 0xf4 && s[1] > 0x8f);
  return overlong || beyond ? 0 : n;
}

// The database takes UTF-8 alone; an engine may print anything.
static void make_text(char *s, size_t len) {
  for (size_t i = 0; i < len;) {
    size_t n = character((const unsigned char *)s + i, len - i);
    if (n == 0) {
      s[i] = '?';
    }
    i += n ? n : 1;
  }
}

void kube_logs_keep(kube_region *r, int64_t instance_id, int replica_id) {
  eco_buf lines;
  int64_t next = 0;
  eco_buf_init(&lines, (size_t)KUBE_KEPT_LOG_LINES * (SCHED_LOG_LINE_BYTES_MAX + 1));
  eco_status st = kube_logs_read(r, instance_id, replica_id, -1, KUBE_KEPT_LOG_LINES, append_line, &lines, &next);
  if (eco_ok(st) && lines.len > 0) {
    size_t from = lines.len > KUBE_KEPT_LOG_BYTES ? lines.len - KUBE_KEPT_LOG_BYTES : 0;
    const char *end = from ? memchr(lines.data + from, '\n', lines.len - from) : NULL;
    from = end ? (size_t)(end + 1 - lines.data) : 0;
    make_text(lines.data + from, lines.len - from);
    r->driver->host.keep_log(r->driver->host.arg, instance_id, replica_id, lines.data + from);
  }
  eco_buf_free(&lines);
}
