// Fuzzes what the process driver reads back after a restart: adoption records, names of records and pid files, lines of
// /proc, and what it makes of commands and logs. A record that is taken comes out the same when it is written again;
// one whose checksum is wrong is never taken. The input's first byte tells what the rest is.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "driver_process_rules.h"
#include "driver_template.h"
#include "ecolink/id.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { SUM_BYTES = 8, TAIL_LINES = 3 };

static void require(bool ok) {
  if (!ok) {
    abort();
  }
}

static void check_record(const process_record *r) {
  static process_record again;
  eco_buf out;
  eco_buf_init(&out, PROCESS_RECORD_BYTES_MAX);
  require(r->state >= PROCESS_INTENT && r->state <= PROCESS_EXITED);
  if (process_record_format(r, &out) && out.len < PROCESS_RECORD_BYTES_MAX) {
    require(process_record_parse(out.data, out.len, &again));
    require(again.instance_id == r->instance_id && again.replica_id == r->replica_id && again.pid == r->pid &&
            again.start_ticks == r->start_ticks && again.state == r->state && again.generation == r->generation &&
            strcmp(again.region, r->region) == 0 && strcmp(again.boot_id, r->boot_id) == 0 &&
            strcmp(again.exit_text, r->exit_text) == 0);
    char run[REPLICA_RUN_ID_MAX];
    process_run_id(r, run);
    require(strlen(run) < sizeof run);
  }
  eco_buf_free(&out);
}

// The file as it lies there; and the same with a checksum that holds, so that the fields are reached.
static void try_record(const char *text, size_t n) {
  static process_record r;
  if (process_record_parse(text, n, &r)) {
    check_record(&r);
  }
  char *whole = malloc(n + 2 * SUM_BYTES + 8);
  uint8_t digest[32];
  char sum[2 * SUM_BYTES + 1];
  memcpy(whole, text, n);
  eco_sha256(text, n, digest);
  eco_hex(digest, SUM_BYTES, sum);
  const size_t len = n + (size_t)snprintf(whole + n, 2 * SUM_BYTES + 8, "sum %s\n", sum);
  if (process_record_parse(whole, len, &r)) {
    check_record(&r);
    whole[n - 2] ^= 1;  // within the last line before the sum
    require(!process_record_parse(whole, len, &r));
  }
  free(whole);
}

static void try_name(const char *text) {
  int64_t instance = 0;
  int replica = 0;
  if (process_name_parse(text, ".record", &instance, &replica)) {
    char again[PROCESS_NAME_MAX];
    process_name(instance, replica, again);
    const size_t n = strlen(again);
    require(instance > 0 && replica > 0 && strncmp(text, again, n) == 0 && strcmp(text + n, ".record") == 0);
  }
  char state = 0;
  int session = 0;
  int64_t ticks = 0;
  (void)process_stat_parse(text, &state, &session, &ticks);
  uint64_t inode = 0;
  int64_t uid = 0;
  (void)process_listen_line(text, 8080, &inode, &uid);
}

static void try_text(const char *text, size_t n) {
  const driver_vars vars = {.port = "8080", .host = "127.0.0.1", .model = "my-llama"};
  eco_arena *arena = eco_arena_new();
  const char *made = driver_template(arena, text, &vars);
  require(made == NULL || strlen(made) <= DRIVER_ARG_BYTES_MAX);
  eco_arena_free(arena);
  const size_t start = process_tail_start(text, n, TAIL_LINES);
  require(start <= n && (start == 0 || text[start - 1] == '\n'));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  if (size < 1) {
    return 0;
  }
  char *text = malloc(size);
  memcpy(text, data + 1, size - 1);
  text[size - 1] = '\0';
  switch (data[0] % 3) {
    case 0:
      try_record(text, size - 1);
      break;
    case 1:
      try_name(text);
      break;
    default:
      try_text(text, size - 1);
  }
  free(text);
  return 0;
}
