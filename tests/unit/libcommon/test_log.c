// Log lines, read back by a JSON parser: fields, context, redaction, bounds, levels.
#include <fcntl.h>
#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <yyjson.h>

#include "ecolink/clock.h"
#include "ecolink/log.h"
#include "gen.h"

static int saved_stderr = -1;
static int capture_fd = -1;
static char captured[1 << 20];

static void capture_begin(void) {
  char path[] = "/tmp/eco-log-XXXXXX";
  capture_fd = mkstemp(path);
  assert_true(capture_fd >= 0);
  assert_int_equal(unlink(path), 0);
  saved_stderr = dup(STDERR_FILENO);
  assert_true(dup2(capture_fd, STDERR_FILENO) >= 0);
}

static const char *capture_end(void) {
  assert_true(dup2(saved_stderr, STDERR_FILENO) >= 0);
  (void)close(saved_stderr);
  ssize_t n = pread(capture_fd, captured, sizeof(captured) - 1, 0);
  assert_true(n >= 0);
  captured[n] = '\0';
  (void)close(capture_fd);
  return captured;
}

static yyjson_doc *read_line(const char *line) {
  size_t n = strcspn(line, "\n");
  assert_int_equal(line[n], '\n');
  yyjson_doc *doc = yyjson_read(line, n, 0);
  assert_non_null(doc);
  return doc;
}

static const char *str(yyjson_doc *doc, const char *name) {
  return yyjson_get_str(yyjson_obj_get(yyjson_doc_get_root(doc), name));
}

static void test_a_json_line_carries_time_level_service_message_and_fields(void **state) {
  (void)state;
  eco_log_init("registry", ECO_LOG_JSON, ECO_LOG_INFO);
  capture_begin();
  eco_log(ECO_LOG_WARN, "launch \"accepted\"", ECO_F_I64("instance", 142), ECO_F_STR("account", "acc_\n1"),
          ECO_F_F64("ratio", 0.5), ECO_F_F64("bad", NAN), ECO_F_BOOL("dry", true), ECO_F_STR("none", NULL));
  yyjson_doc *doc = read_line(capture_end());
  int64_t us = 0;
  assert_int_equal(eco_rfc3339_parse(str(doc, "time"), &us), 0);
  assert_true(llabs(us - eco_wall_us()) < 10 * ECO_US_PER_S);
  assert_string_equal(str(doc, "level"), "warn");
  assert_string_equal(str(doc, "service"), "registry");
  assert_string_equal(str(doc, "message"), "launch \"accepted\"");
  assert_string_equal(str(doc, "account"), "acc_\n1");
  yyjson_val *root = yyjson_doc_get_root(doc);
  assert_int_equal(yyjson_get_sint(yyjson_obj_get(root, "instance")), 142);
  assert_true(yyjson_get_real(yyjson_obj_get(root, "ratio")) == 0.5);
  assert_true(yyjson_is_null(yyjson_obj_get(root, "bad")));
  assert_true(yyjson_get_bool(yyjson_obj_get(root, "dry")));
  assert_true(yyjson_is_null(yyjson_obj_get(root, "none")));
  yyjson_doc_free(doc);
}

static void test_a_secret_is_never_written(void **state) {
  (void)state;
  const char *const formats[] = {"json", "text"};
  for (int i = 0; i < 2; i++) {
    eco_log_init("registry", i == 0 ? ECO_LOG_JSON : ECO_LOG_TEXT, ECO_LOG_INFO);
    eco_field field = ECO_F_SECRET("hf_token");
    field.str = "hf_SuperSecretValue";  // even one that was put there by mistake
    capture_begin();
    eco_log(ECO_LOG_INFO, "token stored", field, ECO_F_STR("format", formats[i]));
    const char *line = capture_end();
    assert_null(strstr(line, "SuperSecret"));
    assert_non_null(strstr(line, "hf_token"));
    assert_non_null(strstr(line, "[redacted]"));
  }
}

static void test_levels_below_the_minimum_are_silent(void **state) {
  (void)state;
  eco_log_init("x", ECO_LOG_JSON, ECO_LOG_WARN);
  capture_begin();
  eco_log(ECO_LOG_DEBUG, "no");
  eco_log(ECO_LOG_INFO, "no");
  eco_log(ECO_LOG_WARN, "yes");
  eco_log(ECO_LOG_ERROR, "yes");
  const char *lines = capture_end();
  assert_null(strstr(lines, "\"no\""));
  int count = 0;
  for (const char *p = lines; (p = strchr(p, '\n')) != NULL; p++) {
    count++;
  }
  assert_int_equal(count, 2);
}

static void test_context_is_added_and_cleared(void **state) {
  (void)state;
  eco_log_init("x", ECO_LOG_JSON, ECO_LOG_INFO);
  eco_log_set_context("req_1", "trace_1");
  capture_begin();
  eco_log(ECO_LOG_INFO, "with");
  yyjson_doc *doc = read_line(capture_end());
  assert_string_equal(str(doc, "request_id"), "req_1");
  assert_string_equal(str(doc, "trace_id"), "trace_1");
  yyjson_doc_free(doc);
  eco_log_set_context(NULL, NULL);
  capture_begin();
  eco_log(ECO_LOG_INFO, "without");
  doc = read_line(capture_end());
  assert_null(str(doc, "request_id"));
  yyjson_doc_free(doc);
}

static void test_a_status_is_logged_as_code_and_error(void **state) {
  (void)state;
  eco_log_init("x", ECO_LOG_JSON, ECO_LOG_INFO);
  eco_status st = eco_error(ECO_NAME_TAKEN, "the name is taken");
  capture_begin();
  eco_log(ECO_LOG_ERROR, "refused", ECO_F_STATUS(st));
  yyjson_doc *doc = read_line(capture_end());
  assert_string_equal(str(doc, "code"), "name_taken");
  assert_string_equal(str(doc, "error"), "the name is taken");
  yyjson_doc_free(doc);
}

static void test_text_lines_quote_what_needs_it_and_cannot_be_forged(void **state) {
  (void)state;
  eco_log_init("gateway", ECO_LOG_TEXT, ECO_LOG_INFO);
  capture_begin();
  eco_log(ECO_LOG_INFO, "two\nlines", ECO_F_STR("plain", "abc"), ECO_F_STR("spaced", "a b\nc"), ECO_F_I64("n", -3));
  const char *line = capture_end();
  assert_non_null(strstr(line, " INFO  gateway: two lines plain=abc spaced=\"a b\\nc\" n=-3\n"));
  assert_ptr_equal(strchr(line, '\n'), line + strlen(line) - 1);
}

static void test_oversized_fields_are_cut_and_the_line_stays_json(void **state) {
  (void)state;
  gen g = {12};
  static char big[20000];
  eco_log_init("x", ECO_LOG_JSON, ECO_LOG_INFO);
  for (int round = 0; round < 200; round++) {
    size_t n = (size_t)gen_range(&g, 0, sizeof(big) - 1);
    for (size_t i = 0; i < n; i++) {
      big[i] = (char)(1 + gen_u64(&g) % 255);
    }
    big[n] = '\0';
    capture_begin();
    eco_log(ECO_LOG_INFO, big, ECO_F_STR("a", big), ECO_F_STR("b", big), ECO_F_STR("c", big), ECO_F_I64("after", 7));
    const char *line = capture_end();
    assert_true(strlen(line) <= 16 * 1024);
    yyjson_doc *doc = read_line(line);
    yyjson_val *root = yyjson_doc_get_root(doc);
    bool cut = yyjson_get_bool(yyjson_obj_get(root, "truncated"));
    assert_true(cut || yyjson_get_sint(yyjson_obj_get(root, "after")) == 7);
    yyjson_doc_free(doc);
  }
}

static void *log_many(void *arg) {
  eco_log_set_context(arg, NULL);
  for (int i = 0; i < 300; i++) {
    eco_log(ECO_LOG_INFO, "from a thread", ECO_F_STR("who", arg));
  }
  return NULL;
}

static void test_lines_of_several_threads_do_not_mix_nor_does_their_context(void **state) {
  (void)state;
  eco_log_init("x", ECO_LOG_JSON, ECO_LOG_INFO);
  pthread_t threads[4];
  char names[4][8] = {"one", "two", "three", "four"};
  capture_begin();
  for (int i = 0; i < 4; i++) {
    assert_int_equal(pthread_create(&threads[i], NULL, log_many, names[i]), 0);
  }
  for (int i = 0; i < 4; i++) {
    assert_int_equal(pthread_join(threads[i], NULL), 0);
  }
  int lines = 0;
  for (const char *line = capture_end(); *line != '\0'; line = strchr(line, '\n') + 1, lines++) {
    yyjson_doc *doc = read_line(line);
    assert_string_equal(str(doc, "who"), str(doc, "request_id"));
    yyjson_doc_free(doc);
  }
  assert_int_equal(lines, 1200);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_a_json_line_carries_time_level_service_message_and_fields),
      cmocka_unit_test(test_a_secret_is_never_written),
      cmocka_unit_test(test_levels_below_the_minimum_are_silent),
      cmocka_unit_test(test_context_is_added_and_cleared),
      cmocka_unit_test(test_a_status_is_logged_as_code_and_error),
      cmocka_unit_test(test_text_lines_quote_what_needs_it_and_cannot_be_forged),
      cmocka_unit_test(test_oversized_fields_are_cut_and_the_line_stays_json),
      cmocka_unit_test(test_lines_of_several_threads_do_not_mix_nor_does_their_context),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
