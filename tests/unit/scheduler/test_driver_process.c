// The process driver with real child processes: the conformance suite, and what a child inherits, leaves and may not
// do.
#include "driver_process_rig.h"

// ---- what a child gets ----
typedef struct report_lines {
  char text[32768];
  size_t len;
} report_lines;

static void collect_report(void *arg, const char *line, size_t len) {
  report_lines *r = arg;
  r->len += (size_t)snprintf(r->text + r->len, sizeof(r->text) - r->len, "\n%.*s", (int)len, line);
}

static int count_of(const char *text, const char *what) {
  int n = 0;
  for (const char *at = text; (at = strstr(at, what)) != NULL; at++) {
    n++;
  }
  return n;
}

static void test_a_child_gets_nothing_of_ours(void **state) {
  (void)state;
  static report_lines lines;
  static const driver_name_value env[] = {
      {"GREETING", "hello", false}, {"ECOLINK_PORT", "1", false}, {"SECRET", "s3cret", false}, {NULL, NULL, false}};
  static const char *const args[] = {"{host}:{port}", "{model}", NULL};
  int leaks[3] = {open("/etc/hostname", O_RDONLY), dup(2), socket(AF_INET, SOCK_STREAM, 0)};  // inheritable ones
  (void)setenv("OUR_SECRET", "not theirs", 1);
  driver *d = open_here();
  int64_t id = next_instance++;
  replica_spec spec = spec_of(id, 1, 1, BEHAVE_SERVE);
  play(&spec, "--report");
  spec.env = env;
  spec.args = args;
  spec.hf_token = "hf_token";
  apply_ok(d, &spec);
  replica_observation o = wait_for(d, id, 1, REPLICA_ALIVE, 1);
  int64_t next = 0;
  assert_true(eco_ok(d->ops->logs(d, REGION, id, 1, 0, 1000, collect_report, &lines, &next)));
  char expected[600];
  (void)snprintf(expected, sizeof(expected), "\nenv ECOLINK_PORT=%d\n", o.port);
  assert_non_null(strstr(lines.text, expected));
  assert_int_equal(count_of(lines.text, "\nenv ECOLINK_PORT="), 1);
  assert_non_null(strstr(lines.text, "\nenv ECOLINK_HOST=127.0.0.1\n"));
  assert_non_null(strstr(lines.text, "\nenv ECOLINK_SERVED_MODEL=my-model\n"));
  assert_non_null(strstr(lines.text, "\nenv GREETING=hello\n"));
  assert_non_null(strstr(lines.text, "\nenv HF_TOKEN=hf_token\n"));
  assert_non_null(strstr(lines.text, "\nenv PATH=/"));
  assert_null(strstr(lines.text, "OUR_SECRET"));
  (void)snprintf(expected, sizeof(expected), "\nenv HOME=%s/state/homes/%" PRId64 "-1\n", root, id);
  assert_non_null(strstr(lines.text, expected));
  (void)snprintf(expected, sizeof(expected), "\ncwd %s/state/homes/%" PRId64 "-1\n", root, id);
  assert_non_null(strstr(lines.text, expected));
  assert_non_null(strstr(lines.text, "\nleader 1\nno_new_privs 1\ncore 0\nfiles_enough 1\n"));
  if (geteuid() == 0) {
    assert_null(strstr(lines.text, "\nuid 0\n"));
    assert_null(strstr(lines.text, "\ngid 0\n"));
  }
  assert_int_equal(count_of(lines.text, "\nfd "), 3);  // and no more
  assert_non_null(strstr(lines.text, "\nfd 0 /dev/null\n"));
  assert_int_equal(count_of(lines.text, ".log"), 2);
  // Arguments are filled in.
  char path[64];
  char command[1024];
  (void)snprintf(path, sizeof(path), "/proc/%d/cmdline", run_pid(&o));
  int fd = open(path, O_RDONLY);
  ssize_t n = read(fd, command, sizeof(command));
  (void)close(fd);
  (void)snprintf(expected, sizeof(expected), "127.0.0.1:%d", o.port);
  assert_non_null(memmem(command, (size_t)n, expected, strlen(expected)));
  assert_non_null(memmem(command, (size_t)n, "my-model", 8));
  remove_and_wait(d, id, 1);
  d->ops->close(d);
  for (int i = 0; i < 3; i++) {
    (void)close(leaks[i]);
  }
}

static void test_the_records_hold_no_secret(void **state) {
  (void)state;
  static const driver_name_value env[] = {{"SECRET", "s3cret-value", false}, {NULL, NULL, false}};
  driver *d = open_here();
  int64_t id = next_instance++;
  replica_spec spec = spec_of(id, 1, 1, BEHAVE_SERVE);
  spec.env = env;
  spec.hf_token = "hf_secret-value";
  apply_ok(d, &spec);
  (void)wait_for(d, id, 1, REPLICA_ALIVE, 1);
  char command[600];
  (void)snprintf(command, sizeof(command), "! grep -rqE 'secret-value' %s/state/records %s/run", root, root);
  assert_int_equal(system(command), 0);
  remove_and_wait(d, id, 1);
  d->ops->close(d);
}

// ---- pid files, ports, exits ----
static bool known_or_above(void *arg, int port) {
  return port >= *(const int *)arg;
}

static void test_ports_are_those_of_the_range_that_are_free(void **state) {
  (void)state;
  process_ports ports;
  assert_true(eco_ok(process_ports_parse("20000-31999", &ports)));
  assert_true(ports.first == 20000 && ports.count == 12000);
  static const char *const wrong[] = {"", "80-90", "60000-65536", "31999-20000", "all"};
  for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
    assert_int_equal(process_ports_parse(wrong[i], &ports).code, ECO_INVALID_REQUEST);
  }
  ports = (process_ports){.first = 32100, .count = 3};
  int limit = 32102;
  for (int i = 0; i < 50; i++) {
    assert_in_range(process_port_choose("127.0.0.1", ports, 0, known_or_above, &limit), 32100, 32101);
  }
  assert_int_equal(process_port_choose("127.0.0.1", ports, 32099, known_or_above, &limit), 32099);  // where it was
  limit = 32100;
  assert_int_equal(process_port_choose("127.0.0.1", ports, 0, known_or_above, &limit), 0);
}

static void test_the_pid_file_names_the_live_process_and_nothing_else(void **state) {
  (void)state;
  driver *d = open_here();
  int64_t id = next_instance++;
  replica_spec spec = spec_of(id, 1, 1, BEHAVE_SERVE);
  apply_ok(d, &spec);
  replica_observation o = wait_for(d, id, 1, REPLICA_ALIVE, 1);
  assert_int_equal(pid_in_file(root, id, 1), run_pid(&o));
  assert_int_equal(kill(run_pid(&o), SIGKILL), 0);
  replica_observation dead = wait_for(d, id, 1, REPLICA_EXITED, 1);
  assert_non_null(strstr(dead.detail, "ended by signal 9 (Killed)"));
  assert_int_equal(pid_in_file(root, id, 1), 0);
  replica_observation again = wait_for(d, id, 1, REPLICA_ALIVE, 1);
  assert_int_equal(pid_in_file(root, id, 1), run_pid(&again));
  assert_int_equal(again.port, o.port);  // remembered
  assert_int_equal(again.restarts, 1);
  remove_and_wait(d, id, 1);
  assert_int_equal(pid_in_file(root, id, 1), 0);
  d->ops->close(d);
}

static void test_an_exit_is_seen_at_once_also_of_an_adopted_replica(void **state) {
  (void)state;
  driver *d = open_here();
  int64_t id = next_instance++;
  replica_spec spec = spec_of(id, 1, 1, BEHAVE_SERVE);
  apply_ok(d, &spec);
  replica_observation o = wait_for(d, id, 1, REPLICA_ALIVE, 1);
  d->ops->close(d);
  d = open_here();
  (void)wait_for(d, id, 1, REPLICA_ALIVE, 1);
  int64_t began = eco_boottime_ms();
  assert_int_equal(kill(run_pid(&o), SIGKILL), 0);
  (void)wait_for(d, id, 1, REPLICA_EXITED, 1);
  assert_true(eco_boottime_ms() - began < 500);
  remove_and_wait(d, id, 1);
  d->ops->close(d);
}

static void test_a_stranger_on_the_port_of_a_dead_replica_is_not_taken_for_it(void **state) {
  (void)state;
  driver *d = open_here();
  int64_t id = next_instance++;
  replica_spec spec = spec_of(id, 1, 1, BEHAVE_SERVE);
  apply_ok(d, &spec);
  replica_observation o = wait_for(d, id, 1, REPLICA_ALIVE, 1);
  assert_int_equal(kill(run_pid(&o), SIGKILL), 0);
  (void)wait_for(d, id, 1, REPLICA_EXITED, 1);
  int stranger = listen_on(o.port);
  replica_observation again = wait_for(d, id, 1, REPLICA_ALIVE, 1);
  assert_int_not_equal(again.port, o.port);  // it moved away
  // A replica that does not listen is not alive, whoever listens on its port.
  replica_spec silent = spec_of(id, 2, 1, BEHAVE_SERVE);
  play(&silent, "--silent");
  apply_ok(d, &silent);
  replica_observation quiet = wait_for(d, id, 2, REPLICA_STARTING, 1);
  while (quiet.port == 0 || quiet.run_id[0] == '\0') {
    quiet = wait_for(d, id, 2, REPLICA_STARTING, 1);
  }
  int squatter = listen_on(quiet.port);
  (void)usleep(300000);
  assert_int_equal(observe_one(d, id, 2).phase, REPLICA_STARTING);
  (void)close(squatter);
  (void)close(stranger);
  remove_and_wait(d, id, 1);
  remove_and_wait(d, id, 2);
  d->ops->close(d);
}

static bool nothing_lives(void *arg) {
  int pid = 0;
  return count_live(arg, &pid) == 0;
}

static void test_children_of_a_replica_end_with_it(void **state) {
  (void)state;
  driver *d = open_here();
  int64_t id = next_instance++;
  int pid = 0;
  replica_spec spec = spec_of(id, 1, 1, BEHAVE_SERVE);
  play(&spec, "--with-child");
  apply_ok(d, &spec);
  replica_observation o = wait_for(d, id, 1, REPLICA_ALIVE, 1);
  assert_int_equal(count_live(root, &pid), 2);
  assert_true(eco_ok(d->ops->remove(d, REGION, id, 1, 1)));
  (void)kill(run_pid(&o), SIGKILL);
  assert_true(wait_until(nothing_lives, root));
  (void)wait_for(d, id, 1, REPLICA_ABSENT, 0);
  d->ops->close(d);
}

static void test_a_recycled_pid_is_never_touched(void **state) {
  (void)state;
  driver *d = open_here();
  d->ops->close(d);
  // A record that names a live process of another start time: what a recycled pid looks like.
  pid_t bystander = fork();
  if (bystander == 0) {
    (void)setsid();
    (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
    for (;;) {
      pause();
    }
  }
  char state_dir[300];
  char run_dir[300];
  (void)snprintf(state_dir, sizeof(state_dir), "%s/state", root);
  (void)snprintf(run_dir, sizeof(run_dir), "%s/run", root);
  process_paths paths;
  assert_true(eco_ok(process_paths_open(state_dir, run_dir, &paths)));
  int64_t id = next_instance++;
  process_record record = {
      .instance_id = id, .replica_id = 1, .generation = 1, .state = PROCESS_RUNNING, .port = 20001, .pid = bystander};
  (void)snprintf(record.region, sizeof(record.region), "%s", REGION);
  assert_true(process_start_ticks(bystander, &record.start_ticks));
  record.start_ticks--;
  assert_true(eco_ok(process_boot_id(record.boot_id)));
  assert_true(eco_ok(process_record_write(&paths, &record)));
  d = open_here();
  assert_int_equal(observe_one(d, id, 1).phase, REPLICA_EXITED);
  remove_and_wait(d, id, 1);
  d->ops->close(d);
  assert_int_equal(waitpid(bystander, NULL, WNOHANG), 0);
  // The same number and time under another boot is another process too.
  record.start_ticks++;
  (void)snprintf(record.boot_id, sizeof(record.boot_id), "another-boot");
  assert_true(eco_ok(process_record_write(&paths, &record)));
  d = open_here();
  assert_int_equal(observe_one(d, id, 1).phase, REPLICA_EXITED);
  remove_and_wait(d, id, 1);
  d->ops->close(d);
  assert_int_equal(waitpid(bystander, NULL, WNOHANG), 0);
  (void)kill(bystander, SIGKILL);
  (void)waitpid(bystander, NULL, 0);
}

static void test_a_damaged_record_is_put_aside_and_harms_no_other(void **state) {
  (void)state;
  driver *d = open_here();
  int64_t id = next_instance++;
  replica_spec spec = spec_of(id, 1, 1, BEHAVE_SERVE);
  apply_ok(d, &spec);
  replica_observation o = wait_for(d, id, 1, REPLICA_ALIVE, 1);
  d->ops->close(d);
  char path[400];
  (void)snprintf(path, sizeof(path), "%s/state/records/%" PRId64 "-1.record", root, next_instance++);
  int fd = open(path, O_WRONLY | O_CREAT, 0600);
  assert_int_equal(write(fd, "garbage", 7), 7);
  (void)close(fd);
  d = open_here();
  assert_string_equal(wait_for(d, id, 1, REPLICA_ALIVE, 1).run_id, o.run_id);
  assert_int_equal(access(path, F_OK), -1);
  remove_and_wait(d, id, 1);
  d->ops->close(d);
}

// ---- folders and the address ----
static void test_without_a_run_dir_pids_lie_under_the_state_directory(void **state) {
  (void)state;
  char state_dir[300];
  char wanted[320];
  (void)snprintf(state_dir, sizeof(state_dir), "%s/no-run-dir", root);
  (void)snprintf(wanted, sizeof(wanted), "%s/run", state_dir);
  process_paths paths;
  assert_true(eco_ok(process_paths_open(state_dir, "", &paths)));
  assert_string_equal(paths.run, wanted);
  assert_int_equal(access(wanted, W_OK), 0);
}

static void test_a_name_to_bind_to_is_looked_up_once(void **state) {
  (void)state;
  char address[INET_ADDRSTRLEN];
  assert_true(eco_ok(process_host_resolve("localhost", address)));
  assert_string_equal(address, "127.0.0.1");
  assert_true(eco_ok(process_host_resolve("10.1.2.3", address)));
  assert_string_equal(address, "10.1.2.3");
  eco_status st = process_host_resolve("no-such-name.invalid", address);
  assert_int_equal(st.code, ECO_INVALID_REQUEST);
  assert_non_null(strstr(st.message, "no-such-name.invalid"));
}

// ---- admission ----
static void test_commands_and_unknown_engines_are_refused_with_the_field_at_fault(void **state) {
  (void)state;
  char state_dir[300];
  (void)snprintf(state_dir, sizeof(state_dir), "%s/admission", root);
  const process_driver_options options = {.state_dir = state_dir,
                                          .run_dir = state_dir,
                                          .bind_host = "127.0.0.1",
                                          .allow_commands = false,
                                          .simulator_path = self,
                                          .llama_cpp_path = "",
                                          .run_as_user = "",
                                          .ports = "20000-31999"};
  driver *d = NULL;
  assert_true(eco_ok(process_driver_open(&options, &d)));
  static const char *const no_command[] = {NULL};
  static const driver_name_value preload[] = {{"LD_PRELOAD", "/tmp/x.so", false}, {NULL, NULL, false}};
  const struct {
    const char *engine;
    const char *image;
    bool command;
    bool preload;
    const char *param;  // NULL: admitted
  } cases[] = {
      {"simulator", "ecolink/simulator", false, false, NULL},
      {"simulator", "", true, false, "command"},
      {"llama.cpp", "", false, false, "engine"},
      {"vllm", "vllm/vllm", false, false, "engine"},
      {"", "debian", false, false, "image"},
      {"simulator", "", false, true, "env"},
  };
  for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
    replica_spec spec = spec_of(1, 1, 1, BEHAVE_SERVE);
    spec.engine = cases[i].engine;
    spec.image = cases[i].image;
    spec.command = cases[i].command ? spec.command : no_command;
    spec.env = cases[i].preload ? preload : spec.env;
    eco_status st = d->ops->admit(d, &spec);
    assert_int_equal(st.code, cases[i].param ? ECO_INVALID_REQUEST : ECO_OK);
    assert_string_equal(st.param, cases[i].param ? cases[i].param : "");
  }
  d->ops->close(d);
}

// ---- logs are bounded ----
typedef struct flood {
  char path[400];
} flood;

static bool flood_bounded(void *arg) {
  const flood *f = arg;
  struct stat info;
  return stat(f->path, &info) == 0 && info.st_size > 20 * 1024 * 1024 &&
         (int64_t)info.st_blocks * 512 < 12 * 1024 * 1024;
}

static void test_a_flood_of_output_is_bounded_and_keeps_its_positions(void **state) {
  (void)state;
  driver *d = open_here();
  int64_t id = next_instance++;
  replica_spec spec = spec_of(id, 1, 1, BEHAVE_SERVE);
  play(&spec, "--flood");
  apply_ok(d, &spec);
  (void)wait_for(d, id, 1, REPLICA_ALIVE, 1);
  flood f;
  (void)snprintf(f.path, sizeof(f.path), "%s/state/logs/%" PRId64 "-1.log", root, id);
  assert_true(wait_until(flood_bounded, &f));
  int64_t next = 0;
  log_lines tail = read_logs(d, id, -1, 2, &next);
  assert_string_equal(tail.last, "flood ended");
  // Reading from a position that was dropped goes on at the first whole line that is left.
  log_lines first = read_logs(d, id, 0, 1, &next);
  assert_int_equal(first.count, 1);
  assert_int_equal(strncmp(first.first, "flood ", 6), 0);
  assert_true(next > 10 * 1024 * 1024);
  remove_and_wait(d, id, 1);
  d->ops->close(d);
}

int main(int argc, char **argv) {
  rig_begin();
  if (argc >= 2) {
    return play_replica(argv[1]);
  }
  (void)signal(SIGPIPE, SIG_IGN);
  eco_log_init("driver", ECO_LOG_TEXT, ECO_LOG_ERROR);
  const struct CMUnitTest tests[] = {
      DRIVER_CONFORMANCE_TESTS,
      cmocka_unit_test(test_a_child_gets_nothing_of_ours),
      cmocka_unit_test(test_the_records_hold_no_secret),
      cmocka_unit_test(test_ports_are_those_of_the_range_that_are_free),
      cmocka_unit_test(test_the_pid_file_names_the_live_process_and_nothing_else),
      cmocka_unit_test(test_an_exit_is_seen_at_once_also_of_an_adopted_replica),
      cmocka_unit_test(test_a_stranger_on_the_port_of_a_dead_replica_is_not_taken_for_it),
      cmocka_unit_test(test_children_of_a_replica_end_with_it),
      cmocka_unit_test(test_a_recycled_pid_is_never_touched),
      cmocka_unit_test(test_a_damaged_record_is_put_aside_and_harms_no_other),
      cmocka_unit_test(test_without_a_run_dir_pids_lie_under_the_state_directory),
      cmocka_unit_test(test_a_name_to_bind_to_is_looked_up_once),
      cmocka_unit_test(test_commands_and_unknown_engines_are_refused_with_the_field_at_fault),
      cmocka_unit_test(test_a_flood_of_output_is_bounded_and_keeps_its_positions),
  };
  return cmocka_run_group_tests(tests, make_root, remove_root);
}
