// Settings from the environment.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "ecolink/config.h"
#include "gen.h"

static struct {
  const char *listen;
  const char *region;
  const char *token;
  const char *optional_token;
  const char *format;
  int64_t workers;
  bool debug;
} cfg;

static const eco_setting MAIN_TABLE[] = {
    {.name = "LISTEN", .kind = ECO_SET_STR, .target = &cfg.listen, .fallback = "127.0.0.1:0", .help = "address"},
    {.name = "REGION", .kind = ECO_SET_STR, .target = &cfg.region, .fallback = "", .help = "where this stands"},
    {.name = "TOKEN", .kind = ECO_SET_SECRET, .target = &cfg.token, .fallback = NULL, .help = "the token"},
    {.name = "OPTIONAL_TOKEN",
     .kind = ECO_SET_SECRET,
     .target = &cfg.optional_token,
     .fallback = "",
     .help = "another"},
    ECO_SETTING_END,
};
static const eco_setting KIT_TABLE[] = {
    {.name = "LOG_FORMAT",
     .kind = ECO_SET_CHOICE,
     .target = &cfg.format,
     .fallback = "json",
     .help = "form of the log",
     .choices = "json,text"},
    {.name = "WORKERS",
     .kind = ECO_SET_I64,
     .target = &cfg.workers,
     .fallback = "4",
     .help = "threads",
     .min = 1,
     .max = 64},
    {.name = "DEBUG", .kind = ECO_SET_BOOL, .target = &cfg.debug, .fallback = "false", .help = "more checks"},
    ECO_SETTING_END,
};
static const eco_setting *const TABLES[] = {MAIN_TABLE, KIT_TABLE, NULL};

static int clean(void **state) {
  (void)state;
  (void)clearenv();
  (void)setenv("ECOLINK_GATEWAY_TOKEN", "s3cret", 1);
  memset(&cfg, 0, sizeof(cfg));
  return 0;
}

static void set(const char *name, const char *value) {
  char variable[128];
  (void)snprintf(variable, sizeof(variable), "ECOLINK_GATEWAY_%s", name);
  assert_int_equal(setenv(variable, value, 1), 0);
}

static eco_status load(void) {
  return eco_config_load("gateway", TABLES);
}

static void assert_refused(const char *part) {
  eco_status st = load();
  assert_int_equal(st.code, ECO_INVALID_REQUEST);
  if (strstr(st.message, part) == NULL) {
    fail_msg("\"%s\" does not say \"%s\"", st.message, part);
  }
}

static void test_defaults_hold_where_nothing_is_set(void **state) {
  (void)state;
  assert_true(eco_ok(load()));
  assert_string_equal(cfg.listen, "127.0.0.1:0");
  assert_string_equal(cfg.region, "");
  assert_string_equal(cfg.token, "s3cret");
  assert_string_equal(cfg.optional_token, "");
  assert_string_equal(cfg.format, "json");
  assert_int_equal(cfg.workers, 4);
  assert_false(cfg.debug);
}

static void test_the_environment_wins_over_defaults(void **state) {
  (void)state;
  set("LISTEN", "0.0.0.0:80");
  set("LOG_FORMAT", "text");
  set("WORKERS", "64");
  set("DEBUG", "true");
  (void)setenv("ECOLINK_REGISTRY_ANYTHING", "of another service", 1);
  (void)setenv("ECOLINK_GATEWAYS", "not our prefix", 1);
  assert_true(eco_ok(load()));
  assert_string_equal(cfg.listen, "0.0.0.0:80");
  assert_string_equal(cfg.format, "text");
  assert_int_equal(cfg.workers, 64);
  assert_true(cfg.debug);
}

static void test_a_missing_required_setting_is_named(void **state) {
  (void)state;
  (void)unsetenv("ECOLINK_GATEWAY_TOKEN");
  assert_refused("ECOLINK_GATEWAY_TOKEN is not set");
  set("TOKEN", "");
  assert_refused("ECOLINK_GATEWAY_TOKEN is empty");
}

static void test_an_unknown_name_is_refused_with_the_nearest_match(void **state) {
  (void)state;
  const char *const cases[][2] = {
      {"LISEN", "ECOLINK_GATEWAY_LISTEN?"},
      {"LISTNE", "ECOLINK_GATEWAY_LISTEN?"},
      {"WORKER", "ECOLINK_GATEWAY_WORKERS?"},
      {"LOGFORMAT", "ECOLINK_GATEWAY_LOG_FORMAT?"},
      {"TOKENS_FILE", "ECOLINK_GATEWAY_"},
      {"listen", "ECOLINK_GATEWAY_listen is not a setting"},
      {"XQZJKWVYXQZJKWVYXQ", "--help lists them"},
      {"LISTEN_FILE", "ECOLINK_GATEWAY_LISTEN"},
      {"", "is not a setting"},
  };
  for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
    (void)clean(NULL);
    set(cases[i][0], "x");
    assert_refused(cases[i][1]);
  }
}

static void test_one_slip_in_any_name_finds_that_name(void **state) {
  (void)state;
  gen g = {13};
  const char *const names[] = {"LISTEN", "REGION", "OPTIONAL_TOKEN", "LOG_FORMAT", "WORKERS"};
  for (int i = 0; i < 2000; i++) {
    const char *name = names[gen_u64(&g) % 5];
    size_t n = strlen(name);
    char slip[32];
    memcpy(slip, name, n + 1);
    size_t at = (size_t)gen_range(&g, 0, (int64_t)n - 1);
    if (i % 2 == 0) {
      slip[at] = 'Z';
    } else {
      memmove(slip + at, slip + at + 1, n - at);
    }
    (void)clean(NULL);
    set(slip, "x");
    char want[64];
    (void)snprintf(want, sizeof(want), "did you mean ECOLINK_GATEWAY_%s?", name);
    assert_refused(want);
  }
}

static void test_a_very_long_unknown_name_is_refused_too(void **state) {
  (void)state;
  char name[4000];
  memset(name, 'A', sizeof(name) - 1);
  name[sizeof(name) - 1] = '\0';
  char variable[4100];
  (void)snprintf(variable, sizeof(variable), "ECOLINK_GATEWAY_%s", name);
  assert_int_equal(setenv(variable, "x", 1), 0);
  assert_refused("is not a setting");
}

static void test_names_that_kubernetes_injects_pass(void **state) {
  (void)state;
  const char *const cases[][2] = {
      {"SERVICE_HOST", "10.0.0.1"},
      {"SERVICE_PORT", "80"},
      {"SERVICE_PORT_HTTP", "80"},
      {"PORT", "tcp://10.0.0.1:80"},
      {"PORT_80_TCP", "tcp://10.0.0.1:80"},
      {"PORT_80_TCP_PROTO", "tcp"},
      {"PORT_80_TCP_PORT", "80"},
      {"PORT_80_TCP_ADDR", "10.0.0.1"},
      {"PORT_53_UDP", "udp://10.0.0.1:53"},
      {"ADMIN_SERVICE_HOST", "10.0.0.2"},  // of a Service named ecolink-gateway-admin
      {"ADMIN_SERVICE_PORT_METRICS", "9090"},
      {"ADMIN_PORT", "tcp://10.0.0.2:9090"},
      {"ADMIN_PORT_9090_TCP_ADDR", "10.0.0.2"},
  };
  for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
    (void)clean(NULL);
    set(cases[i][0], cases[i][1]);
    assert_true(eco_ok(load()));
  }
  (void)clean(NULL);
  set("ADMIN_PORT", "9090");  // a slip of ours, not an address of theirs
  assert_refused("ECOLINK_GATEWAY_ADMIN_PORT is not a setting");
}

static void test_numbers_outside_their_range_or_form_are_refused(void **state) {
  (void)state;
  const char *const bad[] = {
      "0", "65", "-1", "4x", "", " 4", "+4", "4 ", "0x4", "1e1", "four", "4.0", "99999999999999999999"};
  for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
    set("WORKERS", bad[i]);
    assert_refused("ECOLINK_GATEWAY_WORKERS");
  }
  for (int n = 1; n <= 64; n++) {
    char text[16];
    (void)snprintf(text, sizeof(text), "%d", n);
    set("WORKERS", text);
    assert_true(eco_ok(load()));
    assert_int_equal(cfg.workers, n);
  }
}

static void test_booleans_and_choices_take_their_words_only(void **state) {
  (void)state;
  const char *const bad[] = {"1", "yes", "TRUE", "", "true "};
  for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
    (void)clean(NULL);
    set("DEBUG", bad[i]);
    assert_refused("ECOLINK_GATEWAY_DEBUG");
  }
  const char *const words[] = {"jso", "jsonx", "json,text", "", "Text"};
  for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
    (void)clean(NULL);
    set("LOG_FORMAT", words[i]);
    assert_refused("json,text");
  }
}

static void write_file(const char *path, const void *data, size_t n) {
  FILE *f = fopen(path, "w");
  assert_non_null(f);
  assert_int_equal(fwrite(data, 1, n, f), n);
  assert_int_equal(fclose(f), 0);
}

// Makes an empty file of the template, and has the token come from it.
static void token_in_file(char *path) {
  int fd = mkstemp(path);
  assert_true(fd >= 0);
  (void)close(fd);
  (void)unsetenv("ECOLINK_GATEWAY_TOKEN");
  set("TOKEN_FILE", path);
}

static void test_a_secret_comes_from_its_file(void **state) {
  (void)state;
  char path[] = "/tmp/eco-config-XXXXXX";
  token_in_file(path);
  const char *const contents[] = {"from a file", "from a file\n", "from a file\r\n"};
  for (size_t i = 0; i < 3; i++) {
    write_file(path, contents[i], strlen(contents[i]));
    assert_true(eco_ok(load()));
    assert_string_equal(cfg.token, "from a file");
  }
  write_file(path, "two\n\n", 5);
  assert_true(eco_ok(load()));
  assert_string_equal(cfg.token, "two\n");
  write_file(path, "\n", 1);
  assert_refused("is empty");
  write_file(path, "a\0b", 3);
  assert_refused("NUL byte");
  static char large[64 * 1024 + 1];
  memset(large, 'k', sizeof(large));
  write_file(path, large, sizeof(large));
  assert_refused("holds more than");
  write_file(path, large, sizeof(large) - 1);
  assert_true(eco_ok(load()));
  assert_int_equal(strlen(cfg.token), sizeof(large) - 1);
  set("TOKEN", "twice");
  assert_refused("are both set");
  (void)unsetenv("ECOLINK_GATEWAY_TOKEN");
  assert_int_equal(unlink(path), 0);
  assert_refused("No such file");
}

static void test_a_secret_is_read_again_from_its_file(void **state) {
  (void)state;
  char path[] = "/tmp/eco-config-XXXXXX";
  token_in_file(path);
  write_file(path, "first\n", 6);
  assert_true(eco_ok(load()));
  const eco_setting token = {.name = "TOKEN", .kind = ECO_SET_SECRET, .target = &cfg.token, .fallback = NULL};
  const char *before = cfg.token;
  assert_true(eco_ok(eco_config_reread("gateway", &token)));
  assert_ptr_equal(cfg.token, before);  // the same text is kept once, however often it is read
  write_file(path, "second\n", 7);
  assert_true(eco_ok(eco_config_reread("gateway", &token)));
  assert_string_equal(cfg.token, "second");
  assert_int_equal(unlink(path), 0);
  assert_false(eco_ok(eco_config_reread("gateway", &token)));
  assert_string_equal(cfg.token, "second");
  (void)unsetenv("ECOLINK_GATEWAY_TOKEN_FILE");
  set("TOKEN", "third");
  assert_true(eco_ok(eco_config_reread("gateway", &token)));  // not by a file: as it was loaded
  assert_string_equal(cfg.token, "second");
}

static void test_no_refusal_shows_a_secret(void **state) {
  (void)state;
  set("TOKEN", "hush-hush");
  set("TOKEN_FILE", "/nonexistent");
  assert_null(strstr(load().message, "hush"));

  char path[] = "/tmp/ecolink-config-XXXXXX";
  int fd = mkstemp(path);
  assert_true(fd >= 0);
  close(fd);
  write_file(path, "hush-hush\0more", 14);
  assert_int_equal(unsetenv("ECOLINK_GATEWAY_TOKEN"), 0);
  set("TOKEN_FILE", path);
  assert_false(eco_ok(load()));
  assert_null(strstr(load().message, "hush"));
  assert_int_equal(unlink(path), 0);
}

static void test_help_names_every_setting_and_no_secret_value(void **state) {
  (void)state;
  char *text = NULL;
  size_t n = 0;
  FILE *out = open_memstream(&text, &n);
  eco_config_help(out, "gateway", TABLES);
  assert_int_equal(fclose(out), 0);
  const char *const wanted[] = {"ECOLINK_GATEWAY_LISTEN",
                                "ECOLINK_GATEWAY_TOKEN (or …_FILE)",
                                "required",
                                "default: 127.0.0.1:0",
                                "one of: json,text",
                                "from 1 to 64",
                                "true or false"};
  for (size_t i = 0; i < sizeof(wanted) / sizeof(wanted[0]); i++) {
    assert_non_null(strstr(text, wanted[i]));
  }
  assert_null(strstr(text, "s3cret"));
  free(text);
}

int main(void) {
#define WITH_CLEAN_ENVIRONMENT(test) cmocka_unit_test_setup(test, clean)
  const struct CMUnitTest tests[] = {
      WITH_CLEAN_ENVIRONMENT(test_defaults_hold_where_nothing_is_set),
      WITH_CLEAN_ENVIRONMENT(test_the_environment_wins_over_defaults),
      WITH_CLEAN_ENVIRONMENT(test_a_missing_required_setting_is_named),
      WITH_CLEAN_ENVIRONMENT(test_an_unknown_name_is_refused_with_the_nearest_match),
      WITH_CLEAN_ENVIRONMENT(test_one_slip_in_any_name_finds_that_name),
      WITH_CLEAN_ENVIRONMENT(test_a_very_long_unknown_name_is_refused_too),
      WITH_CLEAN_ENVIRONMENT(test_names_that_kubernetes_injects_pass),
      WITH_CLEAN_ENVIRONMENT(test_numbers_outside_their_range_or_form_are_refused),
      WITH_CLEAN_ENVIRONMENT(test_booleans_and_choices_take_their_words_only),
      WITH_CLEAN_ENVIRONMENT(test_a_secret_comes_from_its_file),
      WITH_CLEAN_ENVIRONMENT(test_a_secret_is_read_again_from_its_file),
      WITH_CLEAN_ENVIRONMENT(test_no_refusal_shows_a_secret),
      WITH_CLEAN_ENVIRONMENT(test_help_names_every_setting_and_no_secret_value),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
