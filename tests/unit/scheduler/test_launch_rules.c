// What a launch may say, the engines' arguments, and what readiness accepts.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cmocka_all.h"
#include "launch_rules.h"
#include "lifecycle.h"
#include "readiness.h"
#include "scheduler_limits.h"

typedef Ecolink__V1__LaunchRequest request;

static request good(void) {
  request r = ECOLINK__V1__LAUNCH_REQUEST__INIT;
  r.model_id = (char *)"mdl_1";
  r.engine = (char *)"vllm";
  return r;
}

static eco_status judge(const request *r, launch_config *c) {
  return launch_validate(r, 900, 30, c);
}

static void refused(const request *r, const char *param) {
  launch_config c;
  eco_status st = judge(r, &c);
  assert_int_equal(st.code, ECO_INVALID_REQUEST);
  assert_string_equal(st.param, param);
  assert_true(strlen(st.message) > 10);
}

static void test_defaults_are_filled_in(void **state) {
  (void)state;
  request r = good();
  launch_config c;
  assert_true(eco_ok(judge(&r, &c)));
  assert_true(c.openai_compatible && c.lists_models);
  assert_int_equal(c.gpu_count, 1);
  assert_int_equal(c.port, 8000);
  assert_int_equal(c.startup_deadline_s, 900);
  assert_int_equal(c.drain_s, 30);
  assert_string_equal(c.health_path, "/health");
}

static void test_a_custom_container_answers_at_its_root_by_default(void **state) {
  (void)state;
  request r = good();
  r.engine = (char *)"";
  r.image = (char *)"me/mine:1";
  r.openai_compatible_set_case = ECOLINK__V1__LAUNCH_REQUEST__OPENAI_COMPATIBLE_SET_OPENAI_COMPATIBLE;
  r.openai_compatible = 0;
  launch_config c;
  assert_true(eco_ok(judge(&r, &c)));
  assert_string_equal(c.health_path, "/");
  assert_string_equal(c.custom_api_path, "/");
  assert_false(c.lists_models);
}

static void test_each_bad_field_is_refused_by_its_name(void **state) {
  (void)state;
  request r = good();
  r.model_id = (char *)"";
  refused(&r, "model_id");
  r = good();
  r.platform_model = (char *)"both";
  refused(&r, "model_id");
  r = good();
  r.name = (char *)"-x";
  refused(&r, "name");
  r = good();
  r.image = (char *)"two words";
  refused(&r, "image");
  r = good();
  r.port_set_case = ECOLINK__V1__LAUNCH_REQUEST__PORT_SET_PORT;
  r.port = 65536;
  refused(&r, "port");
  r = good();
  r.startup_deadline_set_case = ECOLINK__V1__LAUNCH_REQUEST__STARTUP_DEADLINE_SET_STARTUP_DEADLINE_S;
  r.startup_deadline_s = SCHED_STARTUP_DEADLINE_S_MAX + 1;
  refused(&r, "startup_deadline_s");
  char *twice[] = {(char *)"east", (char *)"east"};
  r = good();
  r.regions = twice;
  r.n_regions = 2;
  refused(&r, "regions");
  Ecolink__V1__KeyValue kv = ECOLINK__V1__KEY_VALUE__INIT;
  Ecolink__V1__KeyValue *env[] = {&kv, &kv};
  kv.name = (char *)"A";
  r = good();
  r.env = env;
  r.n_env = 2;
  refused(&r, "env");  // twice
  r.n_env = 1;
  kv.name = (char *)"1A";
  refused(&r, "env");
  kv.name = (char *)"ECOLINK_PORT";
  refused(&r, "env");
}

static void test_paths_with_dot_segments_queries_or_blanks_are_refused(void **state) {
  (void)state;
  static const char *const bad[] = {"health", "/a/../b", "/..", "/.", "/a/.", "/a?b", "/a#b", "/a b", "/a\tb", "/\x80"};
  static const char *const fine[] = {"/", "/health", "/a/b.c", "/...", "/a/..b", "/a%20b"};
  for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
    request r = good();
    r.health_path = (char *)bad[i];
    refused(&r, "health_path");
  }
  for (size_t i = 0; i < sizeof(fine) / sizeof(fine[0]); i++) {
    request r = good();
    launch_config c;
    r.health_path = (char *)fine[i];
    assert_true(eco_ok(judge(&r, &c)));
  }
}

static void test_names_follow_the_documented_pattern(void **state) {
  (void)state;
  char longest[SCHED_NAME_MAX + 2];
  memset(longest, 'a', sizeof(longest));
  longest[SCHED_NAME_MAX + 1] = '\0';
  assert_false(launch_name_ok(longest));
  longest[SCHED_NAME_MAX] = '\0';
  assert_true(launch_name_ok(longest));
  assert_true(launch_name_ok("My-Llama/3.1_x"));
  assert_false(launch_name_ok(""));
  assert_false(launch_name_ok(".x"));
  assert_false(launch_name_ok("a:b"));
  assert_false(launch_name_ok("a b"));
}

static bool has_pair(const char *const *args, const char *flag, const char *value) {
  for (; args[0] && args[1]; args++) {
    if (!strcmp(args[0], flag) && !strcmp(args[1], value)) {
      return true;
    }
  }
  return false;
}

static void test_every_preset_is_named_and_served_under_the_registered_name(void **state) {
  (void)state;
  for (size_t i = 0; i < preset_count(); i++) {
    const engine_preset *p = preset_at(i);
    assert_non_null(strstr(preset_names(), p->name));
    assert_ptr_equal(preset_find(p->name), p);
    bool names = false;
    for (size_t k = 0; p->args[k]; k++) {
      names = names || !strcmp(p->args[k], "{model}");
    }
    for (size_t k = 0; p->command[k]; k++) {
      names = names || !strcmp(p->command[k], "{model}");
    }
    // TGI knows no such option and would not start; it answers whatever name it is asked for
    assert_int_equal(names, strcmp(p->name, "tgi") != 0);
    assert_true(names || !p->lists_models);
    assert_true(p->port >= 1024);  // replicas are not root and have no capability
  }
}

static void test_weights_come_from_the_repository_or_the_path_and_the_launchs_own_flag_wins(void **state) {
  (void)state;
  eco_arena *arena = eco_arena_new();
  request r = good();
  Ecolink__V1__Model m = ECOLINK__V1__MODEL__INIT;
  m.source = ECOLINK__V1__MODEL_SOURCE__MODEL_SOURCE_HUGGINGFACE;
  m.repo = (char *)"org/name";
  m.revision = (char *)"abc";
  const char *const *args = launch_arguments(preset_find("vllm"), &m, &r, arena);
  assert_true(has_pair(args, "--model", "org/name") && has_pair(args, "--revision", "abc"));
  assert_true(has_pair(args, "--served-model-name", "{model}"));
  m.source = ECOLINK__V1__MODEL_SOURCE__MODEL_SOURCE_SHARED_FILESYSTEM;
  m.path = (char *)"/shared/x.gguf";
  args = launch_arguments(preset_find("llama.cpp"), &m, &r, arena);
  assert_true(has_pair(args, "--model", "/shared/x.gguf"));
  char *own[] = {(char *)"--model", (char *)"/elsewhere"};
  r.args = own;
  r.n_args = 2;
  args = launch_arguments(preset_find("llama.cpp"), &m, &r, arena);
  assert_false(has_pair(args, "--model", "/shared/x.gguf"));
  assert_true(has_pair(args, "--model", "/elsewhere"));
  eco_arena_free(arena);
}

static void test_a_hold_covers_a_day_of_every_replica(void **state) {
  (void)state;
  int64_t hold = 0;
  assert_true(launch_hold_micros(1600000, 1, 2, &hold));
  assert_int_equal(hold, 76800000);
  assert_false(launch_hold_micros(INT64_MAX / 2, 64, 2, &hold));
}

static void test_readiness_wants_the_exact_model_name(void **state) {
  (void)state;
  static const char body[] = "{\"object\":\"list\",\"data\":[{\"id\":\"other\"},{\"id\":\"my-llama\",\"x\":[1]}]}";
  assert_true(readiness_names_model(body, sizeof(body) - 1, "my-llama"));
  assert_false(readiness_names_model(body, sizeof(body) - 1, "my-llam"));
  static const char *const garbage[] = {"",      "{", "null", "[]", "{\"data\":3}", "{\"data\":[1,null,{\"id\":3}]}",
                                        "<html>"};
  for (size_t i = 0; i < sizeof(garbage) / sizeof(garbage[0]); i++) {
    assert_false(readiness_names_model(garbage[i], strlen(garbage[i]), "my-llama"));
  }
}

// Beside this file's own path in the tree.
static FILE *open_readme(void) {
  static const char own[] = "tests/unit/scheduler/test_launch_rules.c";
  char path[4096];
  size_t root = strlen(__FILE__) - (sizeof(own) - 1);
  snprintf(path, sizeof(path), "%.*sservices/scheduler/README.md", (int)root, __FILE__);
  return fopen(path, "r");
}

static void test_the_readmes_picture_is_the_table(void **state) {
  (void)state;
  char *drawn = NULL;
  size_t len = 0;
  FILE *out = open_memstream(&drawn, &len);
  assert_non_null(out);
  lifecycle_draw(out);
  fclose(out);
  FILE *readme = open_readme();
  assert_non_null(readme);
  char text[16384];
  size_t n = fread(text, 1, sizeof(text) - 1, readme);
  fclose(readme);
  text[n] = '\0';
  assert_non_null(strstr(text, drawn));
  free(drawn);
}

static void test_engines_that_can_ask_for_a_token_unless_the_launch_has_its_own_way(void **state) {
  (void)state;
  static const char *const asking[] = {"vllm", "sglang", "tgi", "llama.cpp", "tei", "infinity", "simulator"};
  request r = good();
  for (size_t i = 0; i < sizeof(asking) / sizeof(asking[0]); i++) {
    assert_true(launch_takes_token(preset_find(asking[i]), &r));
  }
  assert_false(launch_takes_token(preset_find("ollama"), &r));
  assert_false(launch_takes_token(NULL, &r));
  char *args[] = {(char *)"--api-key=mine"};
  r.args = args;
  r.n_args = 1;
  assert_false(launch_takes_token(preset_find("vllm"), &r));
  r.n_args = 0;
  Ecolink__V1__KeyValue variable = ECOLINK__V1__KEY_VALUE__INIT;
  Ecolink__V1__KeyValue *env[] = {&variable};
  variable.name = (char *)"VLLM_API_KEY";
  r.env = env;
  r.n_env = 1;
  assert_false(launch_takes_token(preset_find("vllm"), &r));
  assert_true(launch_takes_token(preset_find("tgi"), &r));
  r.n_env = 0;
  char *command[] = {(char *)"serve"};
  r.command = command;
  r.n_command = 1;
  assert_false(launch_takes_token(preset_find("vllm"), &r));
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_defaults_are_filled_in),
      cmocka_unit_test(test_a_custom_container_answers_at_its_root_by_default),
      cmocka_unit_test(test_each_bad_field_is_refused_by_its_name),
      cmocka_unit_test(test_paths_with_dot_segments_queries_or_blanks_are_refused),
      cmocka_unit_test(test_names_follow_the_documented_pattern),
      cmocka_unit_test(test_every_preset_is_named_and_served_under_the_registered_name),
      cmocka_unit_test(test_weights_come_from_the_repository_or_the_path_and_the_launchs_own_flag_wins),
      cmocka_unit_test(test_engines_that_can_ask_for_a_token_unless_the_launch_has_its_own_way),
      cmocka_unit_test(test_a_hold_covers_a_day_of_every_replica),
      cmocka_unit_test(test_readiness_wants_the_exact_model_name),
      cmocka_unit_test(test_the_readmes_picture_is_the_table),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
