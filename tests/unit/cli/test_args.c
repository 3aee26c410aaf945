// The argument parser over the real command table.
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../libcommon/gen.h"
#include "args.h"
#include "ecolink/clock.h"
#include "ecolink/money.h"

static cli_args args;

// Splits at blanks; "''" stands for an empty word.
static eco_status parse(const char *line) {
  static char copy[4096];
  static char *argv[256];
  int argc = 0;
  (void)snprintf(copy, sizeof(copy), "%s", line);
  for (char *word = strtok_r(copy, " ", &argv[255]); word != NULL; word = strtok_r(NULL, " ", &argv[255])) {
    argv[argc++] = strcmp(word, "''") == 0 ? word + 2 : word;
  }
  return cli_args_parse(argc, argv, &args);
}

static void assert_good(const char *line) {
  eco_status st = parse(line);
  if (!eco_ok(st)) {
    fail_msg("\"%s\": %s", line, st.message);
  }
}

static void assert_bad(const char *line, const char *part) {
  eco_status st = parse(line);
  assert_int_equal(st.code, ECO_INVALID_REQUEST);
  if (strstr(st.message, part) == NULL) {
    fail_msg("\"%s\": \"%s\" does not say \"%s\"", line, st.message, part);
  }
}

static void test_words_lead_to_the_command_and_its_arguments(void **state) {
  (void)state;
  assert_good("models create my-llama --repo org/name");
  assert_string_equal(args.command->path, "models create");
  assert_string_equal(cli_args_positional(&args, "name"), "my-llama");
  assert_string_equal(cli_args_text(&args, "repo"), "org/name");
  assert_null(cli_args_text(&args, "revision"));
  assert_false(args.help);
}

static void test_options_stand_anywhere_and_in_every_form(void **state) {
  (void)state;
  const char *const lines[] = {"--json logs -n 5 142 -f", "logs --json --tail 5 --follow 142", "logs 142 -fn5 --json",
                               "logs --tail=5 142 -f --json", "--json logs -n5 -f -- 142"};
  for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++) {
    assert_good(lines[i]);
    assert_string_equal(args.command->path, "logs");
    assert_int_equal(cli_args_int(&args, "tail", 0), 5);
    assert_true(cli_args_has(&args, "follow"));
    assert_true(cli_args_has(&args, "json"));
    assert_string_equal(cli_args_positional(&args, "id"), "142");
  }
}

static void test_a_group_alone_asks_for_help(void **state) {
  (void)state;
  const char *const lines[] = {"",          "models",       "admin", "admin gpu-types", "-h", "models create --help",
                               "launch -h", "--json models"};
  for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++) {
    assert_good(lines[i]);
    assert_true(args.help);
  }
}

static void test_slips_are_told_with_what_was_meant(void **state) {
  (void)state;
  assert_bad("modles", "did you mean \"models\"?");
  assert_bad("models craete", "did you mean \"models create\"?");
  assert_bad("admin gpu-type list", "did you mean \"admin gpu-types\"?");
  assert_bad("launch m --gpu-typ h100", "did you mean --gpu-type?");
  assert_bad("ps --jsn", "did you mean --json?");
  assert_bad("xyzzyplugh", "there is no command \"xyzzyplugh\"");
  assert_bad("ps --qqqqqqqqqq", "there is no option --qqqqqqqqqq here");
  assert_bad("ps -Q", "there is no option -Q");
}

static void test_what_is_missing_or_too_much_is_told(void **state) {
  (void)state;
  assert_bad("show", "<id> is missing");
  assert_bad("show ''", "<id> is empty");
  assert_bad("show 1 2", "\"2\" is one argument too many");
  assert_bad("filesystems create x", "--region is missing");
  assert_bad("models create x --repo", "--repo needs a value");
  assert_bad("ps --all=yes", "--all takes no value");
  assert_bad("models create x --repo a --repo b", "--repo is given twice");
  assert_bad("launch m serve", "written after --");
}

static void test_what_follows_dashes_is_the_containers_command(void **state) {
  (void)state;
  assert_good("launch my-llama --wait -- serve --port {port} -- x");
  assert_string_equal(cli_args_positional(&args, "model"), "my-llama");
  assert_int_equal(args.positional_count, 6);
  assert_string_equal(args.positionals[1], "serve");
  assert_string_equal(args.positionals[2], "--port");
  assert_string_equal(args.positionals[5], "x");
  assert_good("launch --platform-model p -- serve");
  assert_null(cli_args_positional(&args, "model"));
  assert_string_equal(args.positionals[1], "serve");
}

static void test_a_negative_amount_is_no_option(void **state) {
  (void)state;
  assert_good("admin corrections create acc_1 -5.25 --reason x");
  assert_string_equal(cli_args_positional(&args, "amount"), "-5.25");
}

static void test_values_are_checked_by_kind(void **state) {
  (void)state;
  assert_bad("launch m -c two", "--gpu-count: \"two\" is not a whole number");
  assert_bad("launch m -c 1.5", "whole number");
  assert_bad("launch m -c ''", "whole number");
  assert_bad("launch m -c 99999999999999999999", "whole number");
  assert_bad("admin topup acc_1 ten", "amount of dollars");
  assert_bad("admin topup acc_1 1.0000001", "amount of dollars");
  assert_bad("launch m --env =x", "NAME=VALUE");
  assert_bad("admin regions put r --gpu h100", "TYPE=COUNT");
  assert_bad("admin regions put r --gpu h100=-1", "TYPE=COUNT");
  assert_bad("keys create k --expires tomorrow", "a span");
  assert_bad("chat m hi --temperature 0,5", "a number");
  assert_good("chat m hi --temperature 0.5");
  assert_good("keys create k --expires 2027-01-31T00:00:00Z");
  assert_good("launch m --env A=b=c --env HOME --env E=");
}

static void test_spans_are_read(void **state) {
  (void)state;
  const struct {
    const char *text;
    int64_t seconds;
  } good[] = {{"45s", 45}, {"10m", 600}, {"12h", 43200}, {"30d", 2592000}, {"2w", 1209600}, {"0s", 0}};
  for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
    int64_t seconds = -1;
    assert_true(cli_span_parse(good[i].text, &seconds));
    assert_int_equal(seconds, good[i].seconds);
  }
  const char *const bad[] = {"", "5", "m", "5 m", "-5m", "5mm", "5y", "1.5h", "99999999999d"};
  for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
    int64_t seconds = -1;
    assert_false(cli_span_parse(bad[i], &seconds));
  }
}

// Every command of the table takes every one of its options, in long form, with a value of its kind.
static const char *value_for(const cli_option *o) {
  switch (o->kind) {
    case CLI_INT:
    case CLI_NUMBER:
    case CLI_MONEY:
      return "5";
    case CLI_TIME:
      return "1d";
    case CLI_MAP:
      return "A=b";
    case CLI_ROOM:
      return "a=1";
    default:
      return "text";
  }
}

static void test_every_option_of_every_command_is_understood(void **state) {
  (void)state;
  for (const cli_command *c = cli_commands; c->path != NULL; c++) {
    if (c->run == NULL) {
      continue;
    }
    char line[4096];
    int n = snprintf(line, sizeof(line), "%s", c->path);
    for (const cli_positional *p = c->positionals; p != NULL && p->name != NULL; p++) {
      n += snprintf(line + n, sizeof(line) - (size_t)n, p->dashed ? "" : " 5");
    }
    size_t options = 0;
    for (const cli_option *o = c->options; o != NULL && o->name != NULL; o++, options++) {
      n += snprintf(line + n, sizeof(line) - (size_t)n, " --%s%s%s", o->name, cli_option_takes_value(o) ? "=" : "",
                    cli_option_takes_value(o) ? value_for(o) : "");
    }
    assert_good(line);
    assert_ptr_equal(args.command, c);
    assert_int_equal(args.given_count, options);
  }
}

static void test_the_table_is_sound(void **state) {
  (void)state;
  for (const cli_command *c = cli_commands; c->path != NULL; c++) {
    assert_ptr_equal(cli_command_find(c->path), c);  // no path twice
    assert_true(c->summary != NULL && c->summary[0] != '\0');
    const char *space = strrchr(c->path, ' ');
    if (space != NULL) {
      char group[128];
      (void)snprintf(group, sizeof(group), "%.*s", (int)(space - c->path), c->path);
      assert_non_null(cli_command_find(group));
      assert_null(cli_command_find(group)->run);
    }
    for (const cli_option *o = c->options; o != NULL && o->name != NULL; o++) {
      assert_ptr_equal(cli_option_find(c, o->name, strlen(o->name)), o);
      assert_true(o->letter == '\0' || cli_option_find_letter(c, o->letter) == o);
      assert_true(!cli_option_takes_value(o) || o->value != NULL);
      assert_non_null(o->help);
      for (const cli_option *g = cli_global_options; g->name != NULL; g++) {
        assert_string_not_equal(o->name, g->name);
        assert_true(o->letter == '\0' || o->letter != g->letter);
      }
    }
    for (const cli_positional *p = c->positionals; p != NULL && p->name != NULL; p++) {
      assert_non_null(p->help);
      assert_true(!p->rest || p[1].name == NULL);
      char in_route[64];
      (void)snprintf(in_route, sizeof(in_route), "{%s}", p->name);
      assert_true(p->place != CLI_PATH || (c->route != NULL && strstr(c->route, in_route) != NULL));
    }
  }
}

static void test_no_line_of_random_words_breaks_the_parser(void **state) {
  (void)state;
  static const char *const words[] = {"models", "create", "launch", "--json", "-",     "--",  "-f",        "-n",
                                      "--tail", "142",    "x",      "--env",  "A=b",   "=",   "--limit=5", "-h",
                                      "chat",   "admin",  "topup",  "-5",     "--x=y", "-abc"};
  gen g = {31};
  for (int round = 0; round < 50000; round++) {
    char *argv[12];
    int argc = (int)gen_range(&g, 0, 12);
    for (int i = 0; i < argc; i++) {
      argv[i] = (char *)(uintptr_t)words[gen_u64(&g) % (sizeof(words) / sizeof(words[0]))];
    }
    eco_status st = cli_args_parse(argc, argv, &args);
    assert_true(eco_ok(st) || (st.code == ECO_INVALID_REQUEST && st.message[0] != '\0'));
    assert_true(!eco_ok(st) || args.help || args.command->run != NULL);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_words_lead_to_the_command_and_its_arguments),
      cmocka_unit_test(test_options_stand_anywhere_and_in_every_form),
      cmocka_unit_test(test_a_group_alone_asks_for_help),
      cmocka_unit_test(test_slips_are_told_with_what_was_meant),
      cmocka_unit_test(test_what_is_missing_or_too_much_is_told),
      cmocka_unit_test(test_what_follows_dashes_is_the_containers_command),
      cmocka_unit_test(test_a_negative_amount_is_no_option),
      cmocka_unit_test(test_values_are_checked_by_kind),
      cmocka_unit_test(test_spans_are_read),
      cmocka_unit_test(test_every_option_of_every_command_is_understood),
      cmocka_unit_test(test_the_table_is_sound),
      cmocka_unit_test(test_no_line_of_random_words_breaks_the_parser),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
