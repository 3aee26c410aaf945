// Request bodies, paths and the stored login.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../libcommon/gen.h"
#include "api.h"
#include "body.h"
#include "profile.h"
#include "wait.h"

static cli_app app;

static int begin(void **state) {
  (void)state;
  memset(&app, 0, sizeof(app));
  app.arena = eco_arena_new();
  return 0;
}

static int finish(void **state) {
  (void)state;
  eco_arena_free(app.arena);
  return 0;
}

static void parse(const char *line) {
  char *copy = eco_strdup(app.arena, line);
  char **argv = eco_alloc_array(app.arena, 64, sizeof(*argv));
  int argc = 0;
  char *at = NULL;
  for (char *word = strtok_r(copy, " ", &at); word != NULL; word = strtok_r(NULL, " ", &at)) {
    argv[argc++] = word;
  }
  eco_status st = cli_args_parse(argc, argv, &app.args);
  if (!eco_ok(st)) {
    fail_msg("\"%s\": %s", line, st.message);
  }
}

static void assert_body(const char *line, const char *want) {
  parse(line);
  int code = 0;
  yyjson_mut_doc *body = cli_body_build(&app, &code);
  assert_non_null(body);
  char *text = yyjson_mut_write(body, 0, NULL);
  assert_string_equal(text, want);
  free(text);
  yyjson_mut_doc_free(body);
}

static void test_a_launch_sends_every_field_that_was_given(void **state) {
  (void)state;
  assert_int_equal(setenv("ECO_TEST_SECRET", "hush", 1), 0);
  assert_body("launch mdl_1", "{\"model_id\":\"mdl_1\"}");
  assert_body(
      "launch mdl_1 --name n -e vllm -g h100 -c 2 -r eu,us -r ap --allow-single-region --custom --custom-api-path /g "
      "-p 80 "
      "--arg --x --env A=b=c --env E= --secret-env ECO_TEST_SECRET --health-path /h --filesystem fs_1,fs_2 "
      "--shared-memory-mb 64 --startup-deadline 60 --drain 5 --wait -- serve --port {port}",
      "{\"model_id\":\"mdl_1\",\"command\":[\"serve\",\"--port\",\"{port}\"],\"name\":\"n\",\"engine\":\"vllm\","
      "\"gpu_type\":\"h100\",\"gpu_count\":2,\"regions\":[\"eu\",\"us\",\"ap\"],\"allow_single_region\":true,"
      "\"openai_compatible\":false,\"custom_api_path\":\"/g\",\"port\":80,\"args\":[\"--x\"],"
      "\"env\":{\"A\":\"b=c\",\"E\":\"\"},\"secret_env\":{\"ECO_TEST_SECRET\":\"hush\"},\"health_path\":\"/h\","
      "\"filesystems\":[\"fs_1\",\"fs_2\"],\"shared_memory_mb\":64,\"startup_deadline_s\":60,\"drain_s\":5}");
}

static void test_operators_bodies(void **state) {
  (void)state;
  assert_body("admin topup acc_1 25.50 --description x", "{\"amount\":\"25.50\",\"description\":\"x\"}");
  assert_body(
      "admin regions put eu --driver process --gpu h100=8 --gpu a=1",
      "{\"driver\":\"process\",\"gpus\":[{\"gpu_type\":\"h100\",\"total\":8},{\"gpu_type\":\"a\",\"total\":1}]}");
  assert_body("admin gpu-types put h100 --hourly-rate 1.60 --memory-gb 80",
              "{\"hourly_rate\":\"1.60\",\"memory_gb\":80}");
  assert_body("keys create ci --role member --rate-limit 5 --spend-cap 3 --expires 2027-01-31T00:00:00Z",
              "{\"name\":\"ci\",\"role\":\"member\",\"rate_limit_per_minute\":5,\"spend_cap\":\"3\","
              "\"expires_at\":\"2027-01-31T00:00:00Z\"}");
}

static void test_a_repeated_flag_is_one_member(void **state) {
  (void)state;
  assert_body("launch mdl_1 --custom --custom", "{\"model_id\":\"mdl_1\",\"openai_compatible\":false}");
}

static void test_a_secret_is_read_from_its_file(void **state) {
  (void)state;
  char path[] = "/tmp/eco-cli-XXXXXX";
  int fd = mkstemp(path);
  assert_true(fd >= 0);
  assert_int_equal(write(fd, "hf_abc\n", 7), 7);
  (void)close(fd);
  char line[200];
  (void)snprintf(line, sizeof(line), "models create m --repo a/b --hf-token-file %s", path);
  assert_body(line, "{\"name\":\"m\",\"repo\":\"a/b\",\"hf_token\":\"hf_abc\"}");
  assert_int_equal(truncate(path, 0), 0);
  const char *secret = NULL;
  assert_false(eco_ok(cli_read_secret(app.arena, path, &secret)));
  assert_int_equal(unlink(path), 0);
  assert_false(eco_ok(cli_read_secret(app.arena, path, &secret)));
}

static void test_paths_are_filled_and_encoded(void **state) {
  (void)state;
  int code = 0;
  parse("logs my-llama:142 --tail 5 --replica 2");
  assert_string_equal(cli_api_path(&app, app.args.command->route, &code),
                      "/inference-instances/142/logs?tail_lines=5&replica_id=2");
  parse("admin regions show a/../b?c");
  assert_string_equal(cli_api_path(&app, app.args.command->route, &code), "/admin/regions/a%2f..%2fb%3fc");
  parse("transactions --type gpu_usage --instance m:7");
  assert_string_equal(cli_api_path(&app, app.args.command->route, &code),
                      "/billing/transactions?type=gpu_usage&instance_id=7");
  assert_string_equal(cli_api_add_query(app.arena, "/x?a=b", "cursor", "a&b=c d"), "/x?a=b&cursor=a%26b%3dc%20d");
}

static void test_urls_are_checked(void **state) {
  (void)state;
  char url[CLI_URL_MAX];
  assert_true(eco_ok(cli_url_normalise("https://host:8443///", url)));
  assert_string_equal(url, "https://host:8443");
  const char *const bad[] = {"",           "host",       "ftp://x",          "http://",
                             "https:///",  "http://a b", "http://user@host", "http://h?x",
                             "http://h#x", "http://h\n"};
  for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
    assert_false(eco_ok(cli_url_normalise(bad[i], url)));
  }
}

static void test_a_stored_key_goes_only_to_its_own_url(void **state) {
  (void)state;
  char folder[] = "/tmp/eco-cli-XXXXXX";
  assert_non_null(mkdtemp(folder));
  assert_int_equal(setenv("XDG_CONFIG_HOME", folder, 1), 0);
  (void)unsetenv("ECOLINK_URL");
  (void)unsetenv("ECOLINK_API_KEY");
  cli_profile p;
  assert_true(eco_ok(cli_profile_load(NULL, &p)));
  assert_string_equal(p.url, "http://127.0.0.1:8080");
  assert_string_equal(p.key, "");
  assert_true(eco_ok(cli_profile_store("https://a.example", "eco_secret")));
  char path[CLI_PATH_MAX];
  assert_true(eco_ok(cli_profile_path(path)));
  struct stat st;
  assert_int_equal(stat(path, &st), 0);
  assert_int_equal(st.st_mode & 0777, 0600);
  assert_true(eco_ok(cli_profile_load(NULL, &p)));
  assert_string_equal(p.url, "https://a.example");
  assert_string_equal(p.key, "eco_secret");
  assert_true(eco_ok(cli_profile_load("https://a.example/", &p)));
  assert_string_equal(p.key, "eco_secret");
  assert_true(eco_ok(cli_profile_load("https://b.example", &p)));
  assert_string_equal(p.key, "");
  assert_int_equal(setenv("ECOLINK_URL", "http://c.example", 1), 0);
  assert_true(eco_ok(cli_profile_load(NULL, &p)));
  assert_string_equal(p.url, "http://c.example");
  assert_string_equal(p.key, "");
  assert_int_equal(setenv("ECOLINK_API_KEY", "eco_other", 1), 0);
  assert_true(eco_ok(cli_profile_load(NULL, &p)));
  assert_string_equal(p.key, "eco_other");
  assert_int_equal(setenv("ECOLINK_API_KEY", "eco_\r\nX: y", 1), 0);
  assert_false(eco_ok(cli_profile_load(NULL, &p)));
  (void)unsetenv("ECOLINK_API_KEY");
  (void)unsetenv("ECOLINK_URL");
  (void)unlink(path);
  path[strlen(path) - strlen("/config")] = '\0';
  (void)rmdir(path);
  (void)rmdir(folder);
}

static void test_exit_codes_follow_the_http_status(void **state) {
  (void)state;
  assert_int_equal(cli_exit_of_status(200), CLI_EXIT_OK);
  assert_int_equal(cli_exit_of_status(201), CLI_EXIT_OK);
  assert_int_equal(cli_exit_of_status(401), CLI_EXIT_UNAUTHORIZED);
  assert_int_equal(cli_exit_of_status(403), CLI_EXIT_UNAUTHORIZED);
  assert_int_equal(cli_exit_of_status(402), CLI_EXIT_API);
  assert_int_equal(cli_exit_of_status(302), CLI_EXIT_API);
  assert_int_equal(cli_exit_of_status(503), CLI_EXIT_API);
}

static void test_waiting_ends_where_nothing_better_can_come(void **state) {
  (void)state;
  const struct {
    const char *status;
    int running;
    int ready;  // with some replicas; with all of them it is as `running`
    int stopped;
  } cases[] = {{"pending", 0, 0, 0},   {"provisioning", 0, 0, 0}, {"running", 1, 0, 0}, {"stopping", -1, -1, 0},
               {"stopped", -1, -1, 1}, {"failed", -1, -1, 1},     {"", 0, 0, 0}};
  for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
    for (int all = 0; all <= 1; all++) {
      assert_int_equal(cli_wait_judge(CLI_WAIT_RUNNING, cases[i].status, all), cases[i].running);
      assert_int_equal(cli_wait_judge(CLI_WAIT_STOPPED, cases[i].status, all), cases[i].stopped);
      assert_int_equal(cli_wait_judge(CLI_WAIT_READY, cases[i].status, all), all ? cases[i].running : cases[i].ready);
    }
  }
}

static void test_what_can_be_waited_for_has_a_word(void **state) {
  (void)state;
  cli_wait_for what = CLI_WAIT_STOPPED;
  for (int i = CLI_WAIT_RUNNING; i <= CLI_WAIT_STOPPED; i++) {
    assert_true(cli_wait_parse(cli_wait_word((cli_wait_for)i), &what));
    assert_int_equal(what, i);
  }
  assert_false(cli_wait_parse("Ready", &what));
  assert_false(cli_wait_parse("", &what));
}

static void test_the_progress_shows_state_time_and_each_region(void **state) {
  (void)state;
  const char json[] =
      "{\"model\":\"my-llama:142\",\"status\":\"provisioning\",\"status_detail\":\"downloading weights 37 "
      "%\",\"replicas\":["
      "{\"region\":\"eu-1\",\"status\":\"ready\",\"restarts\":0},"
      "{\"region\":\"us-1\",\"status\":\"starting\",\"status_detail\":\"loading\",\"restarts\":1}]}";
  yyjson_doc *doc = yyjson_read(json, sizeof(json) - 1, 0);
  eco_buf out;
  eco_buf_init(&out, 4096);
  assert_true(cli_wait_frame(yyjson_doc_get_root(doc), 72, 0, false, &out));
  assert_string_equal(out.data,
                      "my-llama:142  provisioning  1m 12s  downloading weights 37 %\n"
                      "  eu-1        ready\n"
                      "  us-1        starting      loading, 1 restarts\n");
  eco_buf_free(&out);
  yyjson_doc_free(doc);
}

int main(void) {
#define WITH_APP(test) cmocka_unit_test_setup_teardown(test, begin, finish)
  const struct CMUnitTest tests[] = {
      WITH_APP(test_a_launch_sends_every_field_that_was_given),
      WITH_APP(test_operators_bodies),
      WITH_APP(test_a_repeated_flag_is_one_member),
      WITH_APP(test_a_secret_is_read_from_its_file),
      WITH_APP(test_paths_are_filled_and_encoded),
      WITH_APP(test_urls_are_checked),
      WITH_APP(test_a_stored_key_goes_only_to_its_own_url),
      WITH_APP(test_exit_codes_follow_the_http_status),
      WITH_APP(test_waiting_ends_where_nothing_better_can_come),
      WITH_APP(test_what_can_be_waited_for_has_a_word),
      WITH_APP(test_the_progress_shows_state_time_and_each_region),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
