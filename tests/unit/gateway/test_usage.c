// Metering: the ring, the sums and the spool lose nothing that they did not count as lost.
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cmocka_all.h"
#include "usage_spool.h"
#include "usage_sum.h"

static gw_cell cells[3] = {{.key_id = "key_a", .account_id = "acc"},
                           {.key_id = "key_b", .account_id = "acc"},
                           {.key_id = "key_c", .account_id = "acc"}};

static void test_the_ring_keeps_order_and_counts_what_it_drops(void **state) {
  (void)state;
  gw_usage_ring *ring = gw_usage_ring_new();
  for (int64_t i = 0; i < GW_USAGE_RING + 10; i++) {
    gw_usage_push(ring, &(gw_usage_record){.instance_id = i});
  }
  assert_int_equal(atomic_load(&ring->dropped), 10);
  gw_usage_record r;
  for (int64_t i = 0; i < GW_USAGE_RING; i++) {
    assert_true(gw_usage_pop(ring, &r));
    assert_int_equal(r.instance_id, i);
  }
  assert_false(gw_usage_pop(ring, &r));
  free(ring);
}

static void test_sums_equal_the_records_exactly(void **state) {
  (void)state;
  gw_usage_sums *sums = malloc(sizeof *sums);
  assert_non_null(sums);
  gw_usage_sums_init(sums);
  int64_t want_tokens = 0;
  srand(4);
  for (int i = 0; i < 50000; i++) {
    gw_usage_record r = {.cell = &cells[rand() % 3],
                         .instance_id = rand() % 10 + 1,
                         .minute_us = (rand() % 3) * INT64_C(60000000),
                         .prompt_tokens = (uint32_t)rand() % 100,
                         .error = (uint32_t)rand() % 2};
    want_tokens += r.prompt_tokens;
    assert_true(gw_usage_sums_add(sums, &r));
  }
  assert_int_equal(sums->n, 90);
  Ecolink__V1__UsageBatch batch = ECOLINK__V1__USAGE_BATCH__INIT;
  gw_usage_sums_fill(sums, &batch);
  int64_t tokens = 0;
  int64_t requests = 0;
  for (size_t i = 0; i < batch.n_records; i++) {
    tokens += batch.records[i]->prompt_tokens;
    requests += batch.records[i]->requests;
  }
  assert_int_equal(tokens, want_tokens);
  assert_int_equal(requests, 50000);
  for (int64_t i = 100; i < 100 + GW_USAGE_BATCH - 90; i++) {
    assert_true(gw_usage_sums_add(sums, &(gw_usage_record){.cell = &cells[0], .instance_id = i}));
  }
  assert_false(gw_usage_sums_add(sums, &(gw_usage_record){.cell = &cells[0], .instance_id = 999999}));
  gw_usage_sums_clear(sums);
  gw_usage_sums_fill(sums, &batch);
  assert_int_equal(batch.n_records, 0);
  assert_true(gw_usage_sums_add(sums, &(gw_usage_record){.cell = &cells[0], .instance_id = 100, .prompt_tokens = 7}));
  gw_usage_sums_fill(sums, &batch);
  assert_int_equal(batch.n_records, 1);
  assert_int_equal(batch.records[0]->requests, 1);  // nothing of what the slot summed before
  assert_int_equal(batch.records[0]->prompt_tokens, 7);
  free(sums);
}

static bool append(gw_spool *s, int64_t sequence) {
  Ecolink__V1__UsageRecord record = ECOLINK__V1__USAGE_RECORD__INIT;
  Ecolink__V1__UsageRecord *records[] = {&record};
  Ecolink__V1__UsageBatch b = ECOLINK__V1__USAGE_BATCH__INIT;
  record.requests = sequence;
  b.gateway = (char *)"g";
  b.boot = (char *)"b";
  b.sequence = sequence;
  b.records = records;
  b.n_records = 1;
  return gw_spool_append(s, &b) == GW_SPOOL_KEPT;
}

static void take(gw_spool *s, int64_t sequence) {
  int64_t end = 0;
  Ecolink__V1__UsageBatch *b = gw_spool_next(s, &end);
  assert_non_null(b);
  assert_int_equal(b->sequence, sequence);
  ecolink__v1__usage_batch__free_unpacked(b, NULL);
  gw_spool_ack(s, end);
}

static void remove_spool(const char *dir) {
  static const char *const NAMES[] = {"usage.spool", "usage.ack"};
  char path[64];
  for (size_t i = 0; i < 2; i++) {
    (void)snprintf(path, sizeof path, "%s/%s", dir, NAMES[i]);
    unlink(path);
  }
  rmdir(dir);
}

static void test_the_spool_survives_reopening_torn_writes_and_keeps_its_cap(void **state) {
  (void)state;
  char dir[] = "/tmp/gw-spool-XXXXXX";
  char path[64];
  gw_spool s;
  assert_non_null(mkdtemp(dir));
  snprintf(path, sizeof path, "%s/usage.spool", dir);
  assert_true(eco_ok(gw_spool_open(&s, dir, 65536)));
  for (int64_t i = 1; i <= 10; i++) {
    assert_true(append(&s, i));
  }
  take(&s, 1);
  take(&s, 2);
  int64_t size = s.size;
  gw_spool_close(&s);
  assert_int_equal(truncate(path, size - 3), 0);  // the last batch was torn by a crash
  assert_true(eco_ok(gw_spool_open(&s, dir, 65536)));
  assert_true(append(&s, 11));
  for (int64_t i = 3; i <= 9; i++) {
    take(&s, i);
  }
  take(&s, 11);
  assert_int_equal(gw_spool_pending(&s), 0);
  assert_int_equal(s.size, 0);
  int64_t kept = 0;
  while (append(&s, kept + 1)) {
    kept++;
  }
  assert_true(s.size <= 65536 && s.dropped == 1);
  for (int64_t i = 1; i <= kept; i++) {
    take(&s, i);
  }
  int64_t end = 0;
  assert_null(gw_spool_next(&s, &end));
  gw_spool_close(&s);
  unlink(path);
  snprintf(path, sizeof path, "%s/usage.ack", dir);
  unlink(path);
  rmdir(dir);
}

// As after a crash of the machine that took the spool's end, but not the mark.
static void test_an_acknowledgement_beyond_the_end_acknowledges_nothing_later(void **state) {
  (void)state;
  char dir[] = "/tmp/gw-spool-XXXXXX";
  char path[64];
  gw_spool s;
  assert_non_null(mkdtemp(dir));
  assert_true(eco_ok(gw_spool_open(&s, dir, 65536)));
  assert_true(append(&s, 1) && append(&s, 2) && append(&s, 3));
  take(&s, 1);
  take(&s, 2);
  gw_spool_close(&s);
  (void)snprintf(path, sizeof path, "%s/usage.spool", dir);
  assert_int_equal(truncate(path, 10), 0);
  assert_true(eco_ok(gw_spool_open(&s, dir, 65536)));
  for (int64_t i = 11; i <= 20; i++) {
    assert_true(append(&s, i));
  }
  for (int64_t i = 11; i <= 20; i++) {
    take(&s, i);
  }
  gw_spool_close(&s);
  remove_spool(dir);
}

// What a gateway that drains and its successor do with one folder, in any order: what either appended comes out, and
// nothing is taken for acknowledged that was not.
static void test_two_processes_share_a_spool(void **state) {
  (void)state;
  enum { STEPS = 4000 };
  char dir[] = "/tmp/gw-spool-XXXXXX";
  char path[64];
  gw_spool s[2];
  bool seen[STEPS + 1] = {false};
  int64_t end[2] = {0, 0};
  int64_t holds[2] = {0, 0};  // the batch that each has read and not acknowledged yet
  int64_t appended = 0;
  int64_t emptied = 0;
  assert_non_null(mkdtemp(dir));
  srand(5);
  for (int i = 0; i < 2; i++) {
    assert_true(eco_ok(gw_spool_open(&s[i], dir, 1 << 20)));
  }
  for (int step = 1; step < STEPS; step++) {
    int i = rand() % 2;
    if (rand() % 6 == 0) {
      assert_true(append(&s[i], ++appended));
    } else if (holds[i]) {
      gw_spool_ack(&s[i], end[i]);
      seen[holds[i]] = true;
      holds[i] = 0;
    } else {
      Ecolink__V1__UsageBatch *b = gw_spool_next(&s[i], &end[i]);
      holds[i] = b ? b->sequence : 0;
      emptied += !b;
      ecolink__v1__usage_batch__free_unpacked(b, NULL);
    }
    if (step % 500 == 0) {  // one is killed in the middle of a write, and comes back
      struct stat info;
      (void)snprintf(path, sizeof path, "%s/usage.spool", dir);
      assert_true(stat(path, &info) == 0 && append(&s[i], ++appended));
      assert_int_equal(truncate(path, (off_t)(s[i].size - 5)), 0);
      appended--;  // torn
      gw_spool_close(&s[i]);
      holds[i] = 0;
      assert_true(eco_ok(gw_spool_open(&s[i], dir, 1 << 20)));
    }
  }
  for (Ecolink__V1__UsageBatch *b = NULL; (b = gw_spool_next(&s[0], &end[0])) != NULL;) {
    seen[b->sequence] = true;
    gw_spool_ack(&s[0], end[0]);
    ecolink__v1__usage_batch__free_unpacked(b, NULL);
  }
  for (int64_t n = 1; n <= appended; n++) {
    assert_true(seen[n]);
  }
  assert_true(appended > STEPS / 10 && emptied > STEPS / 10);
  for (int i = 0; i < 2; i++) {
    gw_spool_close(&s[i]);
  }
  remove_spool(dir);
}

// A gateway that was stopped with the spool's lock in its hands.
static void test_a_lock_that_another_process_keeps_loses_nothing_and_halts_nobody(void **state) {
  (void)state;
  char dir[] = "/tmp/gw-spool-XXXXXX";
  char path[64];
  gw_spool s;
  int64_t end = 0;
  assert_non_null(mkdtemp(dir));
  assert_true(eco_ok(gw_spool_open(&s, dir, 65536)));
  assert_true(append(&s, 1));
  (void)snprintf(path, sizeof path, "%s/usage.spool", dir);
  int other = open(path, O_RDWR | O_CLOEXEC);
  assert_true(other >= 0 && flock(other, LOCK_EX) == 0);
  Ecolink__V1__UsageBatch b = ECOLINK__V1__USAGE_BATCH__INIT;
  assert_int_equal(gw_spool_append(&s, &b), GW_SPOOL_BUSY);
  assert_null(gw_spool_next(&s, &end));
  gw_spool_ack(&s, 1);
  assert_int_equal(s.dropped, 0);
  assert_int_equal(flock(other, LOCK_UN), 0);
  assert_true(append(&s, 2));
  take(&s, 1);
  take(&s, 2);
  assert_int_equal(gw_spool_pending(&s), 0);
  close(other);
  gw_spool_close(&s);
  remove_spool(dir);
}

static void test_without_a_folder_the_spool_is_in_memory(void **state) {
  (void)state;
  gw_spool s;
  assert_true(eco_ok(gw_spool_open(&s, "", 65536)));
  assert_true(append(&s, 1) && append(&s, 2));
  take(&s, 1);
  take(&s, 2);
  gw_spool_close(&s);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_the_ring_keeps_order_and_counts_what_it_drops),
      cmocka_unit_test(test_sums_equal_the_records_exactly),
      cmocka_unit_test(test_the_spool_survives_reopening_torn_writes_and_keeps_its_cap),
      cmocka_unit_test(test_an_acknowledgement_beyond_the_end_acknowledges_nothing_later),
      cmocka_unit_test(test_two_processes_share_a_spool),
      cmocka_unit_test(test_a_lock_that_another_process_keeps_loses_nothing_and_halts_nobody),
      cmocka_unit_test(test_without_a_folder_the_spool_is_in_memory),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
