// Help, completion and the manual page all come from the command table.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../libcommon/gen.h"
#include "complete.h"
#include "help.h"

static const char *completed(const char *line) {
  static char copy[1024];
  static char text[65536];
  const char *words[32];
  size_t count = 0;
  (void)snprintf(copy, sizeof(copy), "%s", line);
  char *at = copy;
  for (char *word = strsep(&at, " "); word != NULL; word = strsep(&at, " ")) {
    words[count++] = word;
  }
  eco_buf out;
  eco_buf_init(&out, sizeof(text) - 1);
  assert_true(cli_complete_write(words, count, &out));
  (void)snprintf(text, sizeof(text), "%s", out.len > 0 ? out.data : "");
  eco_buf_free(&out);
  return text;
}

static bool offers(const char *line, const char *word) {
  const char *text = completed(line);
  size_t n = strlen(word);
  for (const char *p = text; *p != '\0'; p = strchr(p, '\n') + 1) {
    if (strncmp(p, word, n) == 0 && (p[n] == '\t' || p[n] == '\n')) {
      return true;
    }
  }
  return false;
}

static void test_completion_offers_what_may_come_next(void **state) {
  (void)state;
  assert_true(offers("", "launch"));
  assert_false(offers("", "__complete"));
  assert_true(offers("la", "launch"));
  assert_false(offers("la", "logs"));
  assert_true(offers("models ", "create"));
  assert_true(offers("models cr", "create"));
  assert_true(offers("admin gpu-types ", "put"));
  assert_true(offers("launch --", "--gpu-type"));
  assert_true(offers("launch --j", "--json"));
  assert_true(offers("launch m -e ", "vllm"));
  assert_true(offers("launch m --engine v", "vllm"));
  assert_true(offers("launch m --engine = v", "vllm"));
  assert_false(offers("launch m --engine v", "tgi"));
  assert_true(offers("--json ps --status ", "running"));
  assert_true(offers("completion ", "zsh"));
  assert_true(offers("help ", "models"));
  assert_true(offers("models create x --hf-token-file ", ":files"));
  assert_string_equal(completed("launch m --name "), "");
  assert_string_equal(completed("show 142 "), "");
  assert_string_equal(completed("no such thing --x "), completed(""));
}

static void test_every_command_is_reached_by_completion(void **state) {
  (void)state;
  for (const cli_command *c = cli_commands; c->path != NULL; c++) {
    if (!c->hidden) {
      assert_true(offers(c->path, cli_command_word(c)));
    }
    for (const cli_option *o = c->options; o != NULL && o->name != NULL; o++) {
      char line[256];
      char option[64];
      (void)snprintf(line, sizeof(line), "%s --", c->path);
      (void)snprintf(option, sizeof(option), "--%s", o->name);
      assert_true(offers(line, option));
    }
  }
}

static void test_help_names_every_argument_and_option(void **state) {
  (void)state;
  for (const cli_command *c = cli_commands; c->path != NULL; c++) {
    eco_buf out;
    eco_buf_init(&out, CLI_HELP_MAX);
    assert_true(cli_help_write(c, false, &out));
    assert_non_null(strstr(out.data, c->path));
    for (const cli_option *o = c->options; c->run != NULL && o != NULL && o->name != NULL; o++) {
      char option[64];
      (void)snprintf(option, sizeof(option), "--%s", o->name);
      assert_non_null(strstr(out.data, option));
    }
    for (char *line = out.data; *line != '\0';) {
      size_t n = strcspn(line, "\n");
      assert_true(n == 0 || line[n - 1] != ' ');
      line += n + 1;
    }
    eco_buf_free(&out);
  }
}

static void test_the_overview_lists_the_commands_at_the_top(void **state) {
  (void)state;
  eco_buf out;
  eco_buf_init(&out, CLI_HELP_MAX);
  assert_true(cli_help_write(NULL, true, &out));
  for (const cli_command *c = cli_commands; c->path != NULL; c++) {
    if (!c->hidden && cli_command_is_child(c, "")) {
      assert_non_null(strstr(out.data, c->summary));
    }
  }
  assert_null(strstr(out.data, "__man"));
  eco_buf_free(&out);
}

static void test_the_manual_page_in_the_tree_is_the_one_the_table_makes(void **state) {
  (void)state;
  char path[1024];
  const char *here = __FILE__;
  const char *tests = strstr(here, "tests/unit/cli/");
  assert_non_null(tests);
  (void)snprintf(path, sizeof(path), "%.*sservices/cli/ecolink.1", (int)(tests - here), here);
  FILE *f = fopen(path, "re");
  assert_non_null(f);
  char *kept = calloc(1, CLI_HELP_MAX);
  size_t n = fread(kept, 1, CLI_HELP_MAX - 1, f);
  assert_int_equal(fclose(f), 0);
  eco_buf out;
  eco_buf_init(&out, CLI_HELP_MAX);
  assert_true(cli_man_write(&out));
  assert_int_equal(n, out.len);
  assert_string_equal(kept, out.data);
  free(kept);
  eco_buf_free(&out);
}

static void test_there_are_scripts_for_two_shells(void **state) {
  (void)state;
  assert_non_null(strstr(cli_complete_script("bash"), "complete -F _ecolink ecolink"));
  assert_non_null(strstr(cli_complete_script("zsh"), "#compdef ecolink"));
  assert_null(cli_complete_script("fish"));
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_completion_offers_what_may_come_next),
      cmocka_unit_test(test_every_command_is_reached_by_completion),
      cmocka_unit_test(test_help_names_every_argument_and_option),
      cmocka_unit_test(test_the_overview_lists_the_commands_at_the_top),
      cmocka_unit_test(test_the_manual_page_in_the_tree_is_the_one_the_table_makes),
      cmocka_unit_test(test_there_are_scripts_for_two_shells),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
