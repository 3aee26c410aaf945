// The process driver's pure rules.
#include "driver_process_rules.h"

#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ecolink/clock.h"
#include "ecolink/id.h"

enum { CHECKSUM_CHARS = 16 };

static const char *const STATE_WORDS[] = {"intent", "running", "stopping", "exited"};

// ---- names ----
void process_name(int64_t instance_id, int replica_id, char out[PROCESS_NAME_MAX]) {
  (void)snprintf(out, PROCESS_NAME_MAX, "%" PRId64 "-%d", instance_id, replica_id);
}

static bool parse_i64(const char *s, int64_t *out) {
  char *end = NULL;
  errno = 0;
  long long v = strtoll(s, &end, 10);
  if (errno != 0 || end == s || *end != '\0' || *s == ' ' || *s == '+') {
    return false;
  }
  *out = v;
  return true;
}

bool process_name_parse(const char *name, const char *suffix, int64_t *instance_id, int *replica_id) {
  char copy[PROCESS_NAME_MAX];
  size_t n = strlen(name);
  size_t k = strlen(suffix);
  if (n <= k || n - k >= sizeof(copy) || strcmp(name + n - k, suffix) != 0) {
    return false;
  }
  memcpy(copy, name, n - k);
  copy[n - k] = '\0';
  char *dash = strchr(copy, '-');
  int64_t replica = 0;
  if (dash == NULL) {
    return false;
  }
  *dash = '\0';
  if (!parse_i64(copy, instance_id) || !parse_i64(dash + 1, &replica) || *instance_id < 1 || replica < 1 ||
      replica > INT32_MAX) {
    return false;
  }
  *replica_id = (int)replica;
  char again[PROCESS_NAME_MAX];  // no leading zeros, no second spelling of the same name
  process_name(*instance_id, *replica_id, again);
  return strlen(again) == n - k && memcmp(again, name, n - k) == 0;
}

void process_run_id(const process_record *record, char out[REPLICA_RUN_ID_MAX]) {
  out[0] = '\0';
  if (record->pid > 0) {
    (void)snprintf(out, REPLICA_RUN_ID_MAX, "%d-%" PRId64, record->pid, record->start_ticks);
  }
}

bool process_region_is(const char *region) {
  size_t n = strlen(region);
  if (n == 0 || n >= PROCESS_REGION_MAX) {
    return false;
  }
  for (size_t i = 0; i < n; i++) {
    if ((unsigned char)region[i] <= ' ' || (unsigned char)region[i] >= 0x7f) {
      return false;
    }
  }
  return true;
}

// ---- record ----
static void checksum(const char *text, size_t len, char out[CHECKSUM_CHARS + 1]) {
  uint8_t digest[32];
  eco_sha256(text, len, digest);
  eco_hex(digest, CHECKSUM_CHARS / 2, out);
}

bool process_record_format(const process_record *r, eco_buf *out) {
  char sum[CHECKSUM_CHARS + 1];
  eco_buf_reset(out);
  bool ok =
      eco_buf_printf(out,
                     "ecolink-replica 1\ninstance %" PRId64 "\nreplica %d\nregion %s\ngeneration %" PRId64
                     "\nstate %s\nport %d\npid %d\nstart_ticks %" PRId64 "\nboot_id %s\nkill_at_us %" PRId64
                     "\nrestart_at_us %" PRId64 "\nfailures %d\nrestarts %d\n",
                     r->instance_id, r->replica_id, r->region, r->generation, STATE_WORDS[r->state], r->port, r->pid,
                     r->start_ticks, r->boot_id, r->kill_at_us, r->restart_at_us, r->failures, r->restarts);
  for (int i = 0; ok && i < REPLICA_EXITS_KEPT && r->exits_us[i] != 0; i++) {
    ok = eco_buf_printf(out, "exit_us %" PRId64 "\n", r->exits_us[i]);
  }
  ok = ok && eco_buf_printf(out, "exit_text %s\n", r->exit_text);
  if (!ok) {
    return false;
  }
  checksum(out->data, out->len, sum);
  return eco_buf_printf(out, "sum %s\n", sum);
}

static bool put_text(char *to, size_t size, const char *value) {
  size_t n = strlen(value);
  if (n >= size) {
    return false;
  }
  memcpy(to, value, n + 1);
  return true;
}

static bool put_int(int *to, const char *value) {
  int64_t v = 0;
  if (!parse_i64(value, &v) || v < INT32_MIN || v > INT32_MAX) {
    return false;
  }
  *to = (int)v;
  return true;
}

static bool put_exit(process_record *r, const char *value) {
  for (int i = 0; i < REPLICA_EXITS_KEPT; i++) {
    if (r->exits_us[i] == 0) {
      return parse_i64(value, &r->exits_us[i]);
    }
  }
  return false;
}

static bool put_state(process_record *r, const char *value) {
  for (size_t i = 0; i < sizeof(STATE_WORDS) / sizeof(STATE_WORDS[0]); i++) {
    if (strcmp(STATE_WORDS[i], value) == 0) {
      r->state = (process_state)i;
      return true;
    }
  }
  return false;
}

// An unknown name is let pass: a later release may add one.
static bool put_field(process_record *r, const char *name, const char *value) {
  const struct {
    const char *name;
    int64_t *i64;
    int *i;
    char *text;
    size_t size;
  } fields[] = {
      {.name = "instance", .i64 = &r->instance_id},
      {.name = "replica", .i = &r->replica_id},
      {.name = "region", .text = r->region, .size = sizeof(r->region)},
      {.name = "generation", .i64 = &r->generation},
      {.name = "port", .i = &r->port},
      {.name = "pid", .i = &r->pid},
      {.name = "start_ticks", .i64 = &r->start_ticks},
      {.name = "boot_id", .text = r->boot_id, .size = sizeof(r->boot_id)},
      {.name = "kill_at_us", .i64 = &r->kill_at_us},
      {.name = "restart_at_us", .i64 = &r->restart_at_us},
      {.name = "failures", .i = &r->failures},
      {.name = "restarts", .i = &r->restarts},
      {.name = "exit_text", .text = r->exit_text, .size = sizeof(r->exit_text)},
  };
  for (size_t i = 0; i < sizeof(fields) / sizeof(fields[0]); i++) {
    if (strcmp(fields[i].name, name) == 0) {
      return fields[i].i64 ? parse_i64(value, fields[i].i64)
             : fields[i].i ? put_int(fields[i].i, value)
                           : put_text(fields[i].text, fields[i].size, value);
    }
  }
  return strcmp(name, "state") == 0 ? put_state(r, value) : strcmp(name, "exit_us") == 0 ? put_exit(r, value) : true;
}

bool process_record_parse(const char *text, size_t len, process_record *out) {
  static const char head[] = "ecolink-replica 1\n";
  char copy[PROCESS_RECORD_BYTES_MAX];
  char sum[CHECKSUM_CHARS + 1];
  if (len >= sizeof(copy) || len < sizeof(head) || memchr(text, '\0', len) != NULL ||
      memcmp(text, head, sizeof(head) - 1) != 0) {
    return false;
  }
  memcpy(copy, text, len);
  copy[len] = '\0';
  char *last = strstr(copy, "\nsum ");
  if (last == NULL || strlen(last + 5) != CHECKSUM_CHARS + 1 || last[5 + CHECKSUM_CHARS] != '\n') {
    return false;
  }
  checksum(copy, (size_t)(last + 1 - copy), sum);
  if (memcmp(sum, last + 5, CHECKSUM_CHARS) != 0) {
    return false;
  }
  last[1] = '\0';
  process_record r = {.state = PROCESS_INTENT};
  for (char *line = copy + sizeof(head) - 1; *line != '\0';) {
    char *end = strchr(line, '\n');
    char *blank = strchr(line, ' ');
    if (end == NULL || blank == NULL || blank > end) {
      return false;
    }
    *end = *blank = '\0';
    if (!put_field(&r, line, blank + 1)) {
      return false;
    }
    line = end + 1;
  }
  if (r.instance_id < 1 || r.replica_id < 1 || r.pid < 0 || !process_region_is(r.region)) {
    return false;
  }
  *out = r;
  return true;
}

static bool read_number(const char **at, uint64_t *out) {
  char *end = NULL;
  if (**at < '0' || **at > '9') {
    return false;  // strtoull takes signs and blanks, too
  }
  errno = 0;
  *out = strtoull(*at, &end, 10);
  *at = end;
  return errno == 0;
}

bool process_range_parse(const char *text, uint64_t *first, uint64_t *last) {
  return read_number(&text, first) && *text++ == '-' && read_number(&text, last) && *text == '\0' && *first <= *last;
}

// ---- back-off ----
int64_t process_backoff_ms(int failures) {
  int64_t ms = PROCESS_BACKOFF_FIRST_MS;
  for (int i = 1; i < failures && ms < PROCESS_BACKOFF_MAX_MS; i++) {
    ms *= 2;
  }
  return ms < PROCESS_BACKOFF_MAX_MS ? ms : PROCESS_BACKOFF_MAX_MS;
}

void process_record_exit(process_record *r, int64_t now_us, int64_t wall_us, int64_t lived_ms, const char *exit_text) {
  r->failures = lived_ms >= PROCESS_STEADY_MS ? 1 : r->failures < INT32_MAX ? r->failures + 1 : r->failures;
  memmove(r->exits_us + 1, r->exits_us, sizeof(r->exits_us) - sizeof(r->exits_us[0]));
  r->exits_us[0] = now_us;
  r->state = PROCESS_EXITED;
  r->restart_at_us = wall_us + process_backoff_ms(r->failures) * 1000;
  (void)snprintf(r->exit_text, sizeof(r->exit_text), "%s", exit_text);
}

void process_exit_text(int code, int status, char out[REPLICA_DETAIL_MAX]) {
  switch (code) {
    case CLD_EXITED:
      if (status == 126 || status == 127) {
        (void)snprintf(out, REPLICA_DETAIL_MAX, "exited with status %d: its command could not be %s", status,
                       status == 127 ? "found" : "executed");
      } else {
        (void)snprintf(out, REPLICA_DETAIL_MAX, "exited with status %d", status);
      }
      break;
    case CLD_KILLED:
    case CLD_DUMPED: {
      const char *what = sigdescr_np(status);
      (void)snprintf(out, REPLICA_DETAIL_MAX, "ended by signal %d (%s)", status, what ? what : "unknown");
      break;
    }
    default:
      (void)snprintf(out, REPLICA_DETAIL_MAX, "exited with an unknown status");
  }
}

// ---- decision ----
process_action process_decide(const process_facts *f, int64_t now_ms) {
  bool replace = f->has_spec && (f->wanted_generation > f->generation || f->region_differs);
  if (f->live) {
    if (f->term_sent) {
      return !f->kill_sent && now_ms >= f->kill_at_ms ? PROCESS_KILL : PROCESS_WAIT;
    }
    return f->remove_wanted || replace ? PROCESS_TERM : PROCESS_WAIT;
  }
  if (f->remove_wanted) {
    return PROCESS_DROP;
  }
  if (!f->has_spec) {
    return PROCESS_WAIT;
  }
  return replace || !f->ran || now_ms >= f->restart_at_ms ? PROCESS_START : PROCESS_WAIT;
}

// ---- /proc ----
bool process_stat_parse(const char *text, char *state, int *session, int64_t *start_ticks) {
  const char *at = strrchr(text, ')');  // field 2 is the name in brackets, and the name may hold any byte
  if (at == NULL || at[1] != ' ') {
    return false;
  }
  *state = at[2];
  at += 2;
  for (int field = 3; field < 22; field++) {
    if (field == 6) {
      *session = (int)strtol(at, NULL, 10);
    }
    at = strchr(at, ' ');
    if (at == NULL) {
      return false;
    }
    at++;
  }
  char *end = NULL;
  *start_ticks = strtoll(at, &end, 10);
  return end != at && *start_ticks >= 0;
}

bool process_listen_line(const char *line, int port, uint64_t *inode, int64_t *uid) {
  // sl local_address:port rem_address:port st tx:rx tr:when retrnsmt uid timeout inode
  char address[40];
  unsigned local = 0;
  unsigned state = 0;
  long long owner = 0;
  unsigned long long node = 0;
  // NOLINTNEXTLINE(cert-err34-c): the kernel wrote these numbers, and widths that fit them
  if (sscanf(line, " %*d: %39[0-9A-Fa-f]:%x %*[0-9A-Fa-f]:%*x %x %*x:%*x %*x:%*x %*x %lld %*d %llu", address, &local,
             &state, &owner, &node) != 5) {
    return false;
  }
  enum { TCP_LISTEN_STATE = 0x0a };
  if ((int)local != port || state != TCP_LISTEN_STATE) {
    return false;
  }
  *inode = node;
  *uid = owner;
  return true;
}

// ---- logs ----
size_t process_tail_start(const char *text, size_t len, int max_lines) {
  size_t end = len > 0 && text[len - 1] == '\n' ? len - 1 : len;  // the last line's own end begins none
  for (size_t i = end; i > 0; i--) {
    if (text[i - 1] == '\n' && --max_lines <= 0) {
      return i;
    }
  }
  return max_lines <= 0 ? len : 0;
}
