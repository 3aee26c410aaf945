// Tables, formats and views.
#include <stdio.h>
#include <string.h>

#include "../libcommon/gen.h"
#include "ecolink/clock.h"
#include "format.h"
#include "table.h"
#include "view.h"

static void test_columns_are_aligned(void **state) {
  (void)state;
  eco_arena *arena = eco_arena_new();
  cli_table *t = cli_table_new(arena, 3);
  cli_table_head(t, 0, "NAME", false);
  cli_table_head(t, 1, "N", true);
  cli_table_head(t, 2, "TAIL", false);
  cli_cell *row = cli_table_row(t);
  row[0].text = "a";
  row[1].text = "1";
  row[2].text = "x";
  row = cli_table_row(t);
  row[0].text = "naïve";
  row[1].text = "1000";
  eco_buf out;
  eco_buf_init(&out, 10000);
  assert_true(cli_table_write(t, 0, false, &out));
  assert_string_equal(out.data,
                      "NAME      N  TAIL\n"
                      "a         1  x\n"
                      "naïve  1000\n");
  eco_buf_free(&out);
  eco_arena_free(arena);
}

static void test_a_table_keeps_to_the_width_of_the_terminal(void **state) {
  (void)state;
  gen g = {51};
  static const char *const letters[] = {"a", "é", "漢", "😀", " "};
  for (int round = 0; round < 2000; round++) {
    eco_arena *arena = eco_arena_new();
    int columns = (int)gen_range(&g, 1, 6);
    cli_table *t = cli_table_new(arena, columns);
    for (int i = 0; i < columns; i++) {
      cli_table_head(t, i, "T", i % 3 == 2);
    }
    for (int r = 0; r < 4; r++) {
      cli_cell *row = cli_table_row(t);
      for (int i = 0; i < columns; i++) {
        char *text = eco_alloc(arena, 400);
        int n = (int)gen_range(&g, 0, i % 3 == 2 ? 5 : 40);
        for (int k = 0, at = 0; k < n; k++) {
          at += snprintf(text + at, 400 - (size_t)at, "%s", letters[gen_u64(&g) % 5]);
        }
        row[i].text = text;
      }
    }
    int width = (int)gen_range(&g, 70, 120);
    eco_buf out;
    eco_buf_init(&out, 100000);
    assert_true(cli_table_write(t, width, false, &out));
    for (char *line = out.data; line[0] != '\0';) {
      size_t n = strcspn(line, "\n");
      line[n] = '\0';
      assert_true(cli_text_width(line) <= width);
      line += n + 1;
    }
    eco_buf_free(&out);
    eco_arena_free(arena);
  }
}

static void test_colour_changes_nothing_but_colour(void **state) {
  (void)state;
  eco_arena *arena = eco_arena_new();
  cli_table *t = cli_table_new(arena, 2);
  cli_cell *row = cli_table_row(t);
  row[0] = (cli_cell){"running", CLI_GREEN};
  row[1] = (cli_cell){"x", CLI_PLAIN};
  eco_buf out;
  eco_buf_init(&out, 1000);
  assert_true(cli_table_write(t, 0, true, &out));
  assert_string_equal(out.data, "\x1b[32mrunning\x1b[0m  x\n");
  eco_buf_reset(&out);
  assert_true(cli_table_write(t, 0, false, &out));
  assert_string_equal(out.data, "running  x\n");
  eco_buf_free(&out);
  eco_arena_free(arena);
}

static void test_values_are_written_for_people(void **state) {
  (void)state;
  eco_arena *a = eco_arena_new();
  assert_string_equal(cli_format_span(a, 0), "0s");
  assert_string_equal(cli_format_span(a, 59), "59s");
  assert_string_equal(cli_format_span(a, 723), "12m 3s");
  assert_string_equal(cli_format_span(a, 20160), "5h 36m");
  assert_string_equal(cli_format_span(a, 273600), "3d 4h");
  assert_string_equal(cli_format_span(a, INT64_MIN), "-106751991167300d 15h");
  assert_string_equal(cli_format_usd(a, 76800000), "$76.80");
  assert_string_equal(cli_format_usd(a, -3200000), "-$3.20");
  assert_string_equal(cli_format_bytes(a, 1023), "1023 B");
  assert_string_equal(cli_format_bytes(a, 1536), "1.5 KiB");
  assert_string_equal(cli_format_bytes(a, INT64_MAX), "8192.0 PiB");
  int64_t now = 0;
  assert_int_equal(eco_rfc3339_parse("2026-11-22T20:00:00Z", &now), 0);
  assert_string_equal(cli_format_age(a, "2026-11-22T19:59:15Z", now), "45s ago");
  assert_string_equal(cli_format_age(a, "2026-11-22T22:00:00Z", now), "in 2h 0m");
  assert_string_equal(cli_format_age(a, "soon\x1b", now), "soon ");
  assert_string_equal(cli_format_time(a, "2026-11-22T20:00:00.5+01:00"), "2026-11-22 19:00:00");
  eco_arena_free(a);
}

static void test_foreign_text_cannot_drive_the_terminal(void **state) {
  (void)state;
  eco_arena *a = eco_arena_new();
  const char hostile[] =
      "a\x1b[31mb\x07\r\n\x7F\xC2\x9B"
      "c\tё";
  assert_string_equal(cli_format_clean(a, hostile, sizeof(hostile) - 1), "a [31mb      c ё");
  gen g = {52};
  for (int i = 0; i < 20000; i++) {
    char text[32];
    for (size_t k = 0; k < sizeof(text); k++) {
      text[k] = (char)(1 + gen_u64(&g) % 255);
    }
    const unsigned char *clean = (const unsigned char *)cli_format_clean(a, text, sizeof(text));
    for (const unsigned char *p = clean; *p != '\0'; p++) {
      assert_true(*p >= ' ' && *p != 0x7F);
      assert_false(*p == 0xC2 && p[1] >= 0x80 && p[1] < 0xA0);
    }
  }
  eco_arena_free(a);
}

static void test_an_instance_is_shown_as_row_and_as_sheet(void **state) {
  (void)state;
  const char json[] =
      "{\"id\":142,\"model\":\"my-llama:142\",\"status\":\"running\",\"status_detail\":null,\"ready_replicas\":1,"
      "\"total_replicas\":2,\"gpu_type\":\"h100\",\"burn_rate_micros_per_hour\":1600000,\"hold_micros\":76800000,"
      "\"created_at\":\"2026-11-22T19:00:00Z\",\"openai_compatible\":false,"
      "\"replicas\":[{\"region\":\"eu\",\"status\":\"ready\",\"restarts\":0},{\"region\":\"us\",\"status\":\"backoff\","
      "\"restarts\":3}]}";
  yyjson_doc *doc = yyjson_read(json, sizeof(json) - 1, 0);
  yyjson_val *row = yyjson_doc_get_root(doc);
  int64_t now = 0;
  assert_int_equal(eco_rfc3339_parse("2026-11-22T20:00:00Z", &now), 0);
  eco_buf out;
  eco_buf_init(&out, 10000);
  assert_true(cli_view_table(&cli_view_instances, &row, 1, now, 0, false, &out));
  assert_string_equal(out.data,
                      " ID  MODEL         STATUS   DETAIL  READY  GPU      BURN  CREATED\n"
                      "142  my-llama:142  running          1/2    h100  $1.60/h  1h 0m ago\n");
  eco_buf_reset(&out);
  assert_true(cli_view_sheet(&cli_view_instances, row, now, false, &out));
  assert_non_null(strstr(out.data, "REPLICAS    eu ready, us backoff (3 restarts)\n"));
  assert_non_null(strstr(out.data, "OPENAI API  no\n"));
  assert_non_null(strstr(out.data, "HOLD        $76.80\n"));
  assert_null(strstr(out.data, "DETAIL"));
  eco_buf_reset(&out);
  assert_true(cli_view_table(&cli_view_instances, NULL, 0, now, 0, false, &out));
  assert_non_null(strstr(out.data, "ecolink launch"));
  eco_buf_free(&out);
  yyjson_doc_free(doc);
}

static void test_values_of_unexpected_types_are_shown_and_not_believed(void **state) {
  (void)state;
  const char *const cases[] = {"{}", "{\"id\":null,\"status\":5,\"replicas\":\"none\",\"gpus\":{}}",
                               "{\"amount\":12,\"created_at\":[],\"balance_after\":\"lots\"}", "[]", "null"};
  const cli_view *const views[] = {&cli_view_instances, &cli_view_transactions,    &cli_view_regions,
                                   &cli_view_keys,      &cli_view_account_created, &cli_view_usage};
  for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
    for (size_t v = 0; v < sizeof(views) / sizeof(views[0]); v++) {
      yyjson_doc *doc = yyjson_read(cases[i], strlen(cases[i]), 0);
      yyjson_val *row = yyjson_doc_get_root(doc);
      eco_buf out;
      eco_buf_init(&out, 10000);
      assert_true(cli_view_table(views[v], &row, 1, 0, 80, true, &out));
      assert_true(cli_view_sheet(views[v], row, 0, true, &out));
      eco_buf_free(&out);
      yyjson_doc_free(doc);
    }
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_columns_are_aligned),
      cmocka_unit_test(test_a_table_keeps_to_the_width_of_the_terminal),
      cmocka_unit_test(test_colour_changes_nothing_but_colour),
      cmocka_unit_test(test_values_are_written_for_people),
      cmocka_unit_test(test_foreign_text_cannot_drive_the_terminal),
      cmocka_unit_test(test_an_instance_is_shown_as_row_and_as_sheet),
      cmocka_unit_test(test_values_of_unexpected_types_are_shown_and_not_believed),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
