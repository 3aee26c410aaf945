// The process driver's pure rules, with generated cases.
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

// clang-format off
#include <cmocka.h>  // wants those above
// clang-format on

#include "driver_process_rules.h"
#include "driver_template.h"

static uint64_t seed = 42;

static uint64_t draw(uint64_t below) {
  seed = seed * 6364136223846793005U + 1442695040888963407U;
  return (seed >> 33) % below;
}

static process_record any_record(void) {
  process_record r = {.instance_id = (int64_t)draw(1000000) + 1,
                      .replica_id = (int)draw(9) + 1,
                      .generation = (int64_t)draw(100),
                      .state = (process_state)draw(4),
                      .port = (int)draw(65536),
                      .pid = (int)draw(4000000),
                      .start_ticks = (int64_t)draw(1U << 30),
                      .kill_at_us = (int64_t)draw(1U << 30) * 1000000,
                      .restart_at_us = (int64_t)draw(1U << 30) * 1000000,
                      .failures = (int)draw(50),
                      .restarts = (int)draw(50)};
  (void)snprintf(r.region, sizeof(r.region), "region-%d", (int)draw(99));
  (void)snprintf(r.boot_id, sizeof(r.boot_id), "%s", draw(2) ? "0b6c4d1e-9d3f-4a55-8a77-0f5f3f6d2a11" : "");
  (void)snprintf(r.exit_text, sizeof(r.exit_text), "%s", draw(2) ? "exited with status 3" : "");
  int exits = (int)draw(REPLICA_EXITS_KEPT + 1);
  for (int i = 0; i < exits; i++) {
    r.exits_us[i] = (int64_t)draw(1U << 30) + 1;
  }
  return r;
}

static void test_a_record_reads_back_as_it_was_written(void **state) {
  (void)state;
  for (int i = 0; i < 5000; i++) {
    process_record written = any_record();
    process_record read;
    memset(&read, 0xee, sizeof(read));
    eco_buf text;
    eco_buf_init(&text, PROCESS_RECORD_BYTES_MAX - 1);
    assert_true(process_record_format(&written, &text));
    assert_true(process_record_parse(text.data, text.len, &read));
    assert_int_equal(read.instance_id, written.instance_id);
    assert_int_equal(read.replica_id, written.replica_id);
    assert_string_equal(read.region, written.region);
    assert_int_equal(read.generation, written.generation);
    assert_int_equal(read.state, written.state);
    assert_int_equal(read.port, written.port);
    assert_int_equal(read.pid, written.pid);
    assert_int_equal(read.start_ticks, written.start_ticks);
    assert_string_equal(read.boot_id, written.boot_id);
    assert_int_equal(read.kill_at_us, written.kill_at_us);
    assert_int_equal(read.restart_at_us, written.restart_at_us);
    assert_int_equal(read.failures, written.failures);
    assert_int_equal(read.restarts, written.restarts);
    assert_memory_equal(read.exits_us, written.exits_us, sizeof(read.exits_us));
    assert_string_equal(read.exit_text, written.exit_text);
    eco_buf_free(&text);
  }
}

static void test_a_record_with_any_byte_changed_or_missing_is_refused(void **state) {
  (void)state;
  for (int i = 0; i < 200; i++) {
    process_record written = any_record();
    process_record read;
    eco_buf text;
    eco_buf_init(&text, PROCESS_RECORD_BYTES_MAX - 1);
    assert_true(process_record_format(&written, &text));
    for (size_t at = 0; at < text.len; at++) {
      char kept = text.data[at];
      text.data[at] = (char)(kept ^ (1 << draw(7)));
      assert_false(process_record_parse(text.data, text.len, &read));
      text.data[at] = kept;
      assert_false(process_record_parse(text.data, at, &read));
    }
    eco_buf_free(&text);
  }
}

static void test_a_name_is_spelled_in_one_way_only(void **state) {
  (void)state;
  int64_t instance = 0;
  int replica = 0;
  assert_true(process_name_parse("142-1.pid", ".pid", &instance, &replica));
  assert_int_equal(instance, 142);
  assert_int_equal(replica, 1);
  static const char *const wrong[] = {
      "142.pid",    "142-.pid",    "-1.pid",        "142-1",      "0142-1.pid",
      "142-01.pid", "142-1-2.pid", "+142-1.pid",    " 142-1.pid", "142-0.pid",
      "0-1.pid",    ".pid",        "142-1.pid.tmp", "x-1.pid",    "99999999999999999999-1.pid",
      "142--1.pid"};
  for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
    assert_false(process_name_parse(wrong[i], ".pid", &instance, &replica));
  }
}

static void test_a_range_is_two_plain_numbers_in_order(void **state) {
  (void)state;
  uint64_t first = 0;
  uint64_t last = 0;
  assert_true(process_range_parse("20000-31999", &first, &last) && first == 20000 && last == 31999);
  assert_true(process_range_parse("7-7", &first, &last) && first == 7 && last == 7);
  assert_true(process_range_parse("0-18446744073709551615", &first, &last) && last == UINT64_MAX);
  static const char *const wrong[] = {"",     "-",    "7",    "7-",    "-7",
                                      "7-6",  " 7-8", "7 -8", "7- 8",  "7-8 ",
                                      "+7-8", "7-+8", "7--8", "0x7-8", "7-18446744073709551616"};
  for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
    assert_false(process_range_parse(wrong[i], &first, &last));
  }
}

static void test_back_off_doubles_from_one_second_to_thirty(void **state) {
  (void)state;
  static const int64_t expected[] = {1000, 2000, 4000, 8000, 16000, 30000, 30000};
  for (int i = 0; i < 7; i++) {
    assert_int_equal(process_backoff_ms(i + 1), expected[i]);
  }
  assert_int_equal(process_backoff_ms(INT32_MAX), 30000);
}

static void test_back_off_starts_anew_after_a_run_of_five_minutes(void **state) {
  (void)state;
  process_record r = {.failures = 7};
  process_record_exit(&r, 100, 5000000, PROCESS_STEADY_MS - 1, "exited with status 1");
  assert_int_equal(r.failures, 8);
  assert_int_equal(r.restart_at_us, 35000000);
  process_record_exit(&r, 200, 5000000, PROCESS_STEADY_MS, "exited with status 1");
  assert_int_equal(r.failures, 1);
  assert_int_equal(r.restart_at_us, 6000000);
  assert_int_equal(r.exits_us[0], 200);
  assert_int_equal(r.exits_us[1], 100);
}

static void test_the_latest_eight_exits_are_kept_newest_first(void **state) {
  (void)state;
  process_record r = {.failures = 0};
  for (int i = 1; i <= 20; i++) {
    process_record_exit(&r, i, 0, 0, "x");
  }
  for (int i = 0; i < REPLICA_EXITS_KEPT; i++) {
    assert_int_equal(r.exits_us[i], 20 - i);
  }
}

static void test_every_combination_of_facts_has_a_safe_action(void **state) {
  (void)state;
  for (unsigned bits = 0; bits < 1U << 10; bits++) {
    process_facts f = {.live = bits & 1,
                       .term_sent = bits & 2,
                       .kill_sent = bits & 4,
                       .remove_wanted = bits & 8,
                       .has_spec = bits & 16,
                       .ran = bits & 32,
                       .region_differs = bits & 64,
                       .generation = 5,
                       .wanted_generation = bits & 128 ? 6 : 5,
                       .restart_at_ms = bits & 256 ? 2000 : 500,
                       .kill_at_ms = bits & 512 ? 2000 : 500};
    process_action action = process_decide(&f, 1000);
    bool replace = f.has_spec && (f.wanted_generation > f.generation || f.region_differs);
    if (f.live) {
      assert_true(action != PROCESS_START && action != PROCESS_DROP);  // never a second process, never a lost one
      assert_true(action != PROCESS_KILL || (f.term_sent && f.kill_at_ms <= 1000 && !f.kill_sent));
      assert_true(action != PROCESS_TERM || (!f.term_sent && (f.remove_wanted || replace)));
      assert_true(f.term_sent || !(f.remove_wanted || replace) || action == PROCESS_TERM);
    } else {
      assert_true(action != PROCESS_TERM && action != PROCESS_KILL);
      assert_true((action == PROCESS_DROP) == f.remove_wanted);
      assert_true(action != PROCESS_START || (f.has_spec && !f.remove_wanted));
      assert_true(action != PROCESS_START || replace || !f.ran || f.restart_at_ms <= 1000);
    }
  }
}

static void test_templates_replace_port_host_and_model_and_nothing_else(void **state) {
  (void)state;
  const driver_vars vars = {.port = "21000", .host = "127.0.0.1", .model = "my-{port}"};
  static const char *const cases[][2] = {
      {"--port={port}", "--port=21000"},
      {"{host}:{port}", "127.0.0.1:21000"},
      {"{model}", "my-{port}"},  // what was put in is not looked at again
      {"{ports}", "{ports}"},
      {"{{port}}", "{21000}"},
      {"{\"a\":1}", "{\"a\":1}"},
      {"{port", "{port"},
      {"", ""},
  };
  eco_arena *arena = eco_arena_new();
  for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
    assert_string_equal(driver_template(arena, cases[i][0], &vars), cases[i][1]);
  }
  char *huge = malloc(DRIVER_ARG_BYTES_MAX + 8);
  memset(huge, 'x', DRIVER_ARG_BYTES_MAX + 7);
  huge[DRIVER_ARG_BYTES_MAX + 7] = '\0';
  assert_null(driver_template(arena, huge, &vars));
  free(huge);
  eco_arena_free(arena);
}

static void test_start_time_is_found_behind_any_process_name(void **state) {
  (void)state;
  static const char *const names[] = {"sh", "a b", "a) S 1", "((", ")", "x) R 1 2 3 4 5 6 7 8 9"};
  for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
    char text[400];
    char letter = 0;
    int session = 0;
    int64_t ticks = 0;
    (void)snprintf(text, sizeof(text),
                   "123 (%s) Z 1 77 88 0 -1 4194304 1 2 3 4 5 6 7 8 20 0 1 0 987654 10 11 18446744073709551615 1\n",
                   names[i]);
    assert_true(process_stat_parse(text, &letter, &session, &ticks));
    assert_int_equal(letter, 'Z');
    assert_int_equal(session, 88);
    assert_int_equal(ticks, 987654);
  }
  char letter = 0;
  int session = 0;
  int64_t ticks = 0;
  assert_false(process_stat_parse("123 (sh) S 1 2", &letter, &session, &ticks));
  assert_false(process_stat_parse("", &letter, &session, &ticks));
}

static void test_only_a_listener_on_the_port_counts(void **state) {
  (void)state;
  uint64_t inode = 0;
  int64_t uid = 0;
  const char *listening =
      "   1: 0100007F:5208 00000000:0000 0A 00000000:00000000 00:00000000 00000000 65534        0 4242 1 ffff 100 0 0 "
      "10 0";
  const char *talking =
      "   2: 0100007F:5208 0100007F:9C40 01 00000000:00000000 00:00000000 00000000 65534        0 4243 1 ffff 20 4 30 "
      "10 -1";
  assert_true(process_listen_line(listening, 0x5208, &inode, &uid));
  assert_int_equal(inode, 4242);
  assert_int_equal(uid, 65534);
  assert_false(process_listen_line(listening, 0x5209, &inode, &uid));
  assert_false(process_listen_line(talking, 0x5208, &inode, &uid));
  assert_false(process_listen_line("  sl  local_address rem_address   st tx_queue", 0x5208, &inode, &uid));
  assert_true(
      process_listen_line("   0: 00000000000000000000000000000000:1F90 00000000000000000000000000000000:0000 0A "
                          "00000000:00000000 00:00000000 00000000     0        0 77 1 0 100 0 0 10 0",
                          8080, &inode, &uid));
  assert_int_equal(inode, 77);
}

static void test_the_tail_begins_where_the_last_lines_do(void **state) {
  (void)state;
  const char *text = "a\nbb\nccc\n";
  assert_int_equal(process_tail_start(text, strlen(text), 1), 5);
  assert_int_equal(process_tail_start(text, strlen(text), 2), 2);
  assert_int_equal(process_tail_start(text, strlen(text), 3), 0);
  assert_int_equal(process_tail_start(text, strlen(text), 99), 0);
  assert_int_equal(process_tail_start("a\nrest", 6, 1), 2);
  assert_int_equal(process_tail_start("", 0, 1), 0);
}

static void test_exits_are_told_in_words(void **state) {
  (void)state;
  char text[REPLICA_DETAIL_MAX];
  process_exit_text(CLD_EXITED, 1, text);
  assert_string_equal(text, "exited with status 1");
  process_exit_text(CLD_EXITED, 127, text);
  assert_string_equal(text, "exited with status 127: its command could not be found");
  process_exit_text(CLD_KILLED, SIGKILL, text);
  assert_string_equal(text, "ended by signal 9 (Killed)");
  process_exit_text(0, 0, text);
  assert_string_equal(text, "exited with an unknown status");
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_a_record_reads_back_as_it_was_written),
      cmocka_unit_test(test_a_record_with_any_byte_changed_or_missing_is_refused),
      cmocka_unit_test(test_a_name_is_spelled_in_one_way_only),
      cmocka_unit_test(test_a_range_is_two_plain_numbers_in_order),
      cmocka_unit_test(test_back_off_doubles_from_one_second_to_thirty),
      cmocka_unit_test(test_back_off_starts_anew_after_a_run_of_five_minutes),
      cmocka_unit_test(test_the_latest_eight_exits_are_kept_newest_first),
      cmocka_unit_test(test_every_combination_of_facts_has_a_safe_action),
      cmocka_unit_test(test_templates_replace_port_host_and_model_and_nothing_else),
      cmocka_unit_test(test_start_time_is_found_behind_any_process_name),
      cmocka_unit_test(test_only_a_listener_on_the_port_counts),
      cmocka_unit_test(test_the_tail_begins_where_the_last_lines_do),
      cmocka_unit_test(test_exits_are_told_in_words),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
