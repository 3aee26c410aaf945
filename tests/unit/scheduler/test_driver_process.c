// The process driver with real child processes: the conformance suite, what a child inherits, and a scheduler killed at
// every crash point. The program plays all parts: test, replica (--serve, --exit, ...) and scheduler (--scheduler).
#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "driver_conformance.h"
#include "driver_process_files.h"
#include "driver_process_proc.h"
#include "ecolink/crash.h"
#include "ecolink/log.h"

static char root[256];  // of this run: state, run
static char self[512];

// ---- the replica's part ----
static int listen_on(int port) {
  struct sockaddr_in address = {
      .sin_family = AF_INET, .sin_port = htons((uint16_t)port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  int fd = socket(AF_INET, SOCK_STREAM, 0);
  int on = 1;
  (void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
  if (bind(fd, (struct sockaddr *)&address, sizeof(address)) != 0 || listen(fd, 8) != 0) {
    perror("listen");
    _exit(9);
  }
  return fd;
}

static int env_port(void) {
  return (int)strtol(getenv("ECOLINK_PORT") ? getenv("ECOLINK_PORT") : "0", NULL, 10);
}

static void report(void) {
  extern char **environ;
  struct rlimit core;
  struct rlimit files;
  char cwd[512];
  (void)getrlimit(RLIMIT_CORE, &core);
  (void)getrlimit(RLIMIT_NOFILE, &files);
  printf("uid %d\ngid %d\n", (int)geteuid(), (int)getegid());
  printf("leader %d\n", getpgrp() == getpid() && getsid(0) == getpid());
  printf("no_new_privs %d\n", prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0));
  printf("core %d\nfiles_enough %d\n", (int)core.rlim_cur, files.rlim_cur >= 1024);
  printf("cwd %s\n", getcwd(cwd, sizeof(cwd)));
  for (char **e = environ; *e != NULL; e++) {
    printf("env %s\n", *e);
  }
  for (int fd = 0; fd < 4096; fd++) {
    char path[64];
    char target[256];
    (void)snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
    ssize_t n = readlink(path, target, sizeof(target) - 1);
    if (n >= 0) {
      target[n] = '\0';
      printf("fd %d %s\n", fd, target);
    }
  }
}

static int play_replica(const char *part) {
  (void)setvbuf(stdout, NULL, _IOLBF, 0);
  if (strcmp(part, "--exit") == 0) {
    puts("leaving with 3");
    fflush(stdout);
    _exit(3);
  }
  if (strcmp(part, "--stubborn") == 0) {
    (void)signal(SIGTERM, SIG_IGN);
  }
  if (strcmp(part, "--report") == 0) {
    report();
  }
  for (int i = 1; strcmp(part, "--chatter") == 0 && i <= 500; i++) {
    printf("line %d\n", i);
  }
  if (strcmp(part, "--flood") == 0) {
    for (int i = 0; i < 240000; i++) {
      printf("flood %d %0100d\n", i, 0);
    }
    puts("flood ended");
  }
  if (strcmp(part, "--with-child") == 0 && fork() == 0) {
    for (;;) {
      pause();
    }
  }
  if (strcmp(part, "--silent") != 0) {
    (void)listen_on(env_port());
  }
  for (;;) {
    pause();
  }
}

// ---- the rig ----
static driver *open_at(const char *base) {
  static char state_dir[300];
  static char run_dir[300];
  (void)snprintf(state_dir, sizeof(state_dir), "%s/state", base);
  (void)snprintf(run_dir, sizeof(run_dir), "%s/run", base);
  const process_driver_options options = {.state_dir = state_dir,
                                          .run_dir = run_dir,
                                          .bind_host = "127.0.0.1",
                                          .allow_commands = true,
                                          .simulator_path = "",
                                          .llama_cpp_path = "",
                                          .run_as_user = geteuid() == 0 ? "nobody" : ""};
  driver *d = NULL;
  eco_status st = process_driver_open(&options, &d);
  if (!eco_ok(st)) {
    fail_msg("open: %s", st.message);
  }
  return d;
}

static driver *open_here(void) {
  return open_at(root);
}

static void play(replica_spec *spec, const char *part) {
  static const char *commands[16][3];
  static int used;
  for (int i = 0; i < used; i++) {
    if (strcmp(commands[i][1], part) == 0) {
      spec->command = commands[i];
      return;
    }
  }
  assert_true(used < 16);
  commands[used][0] = self;
  commands[used][1] = part;
  spec->command = commands[used++];
}

static void behave(replica_spec *spec, replica_behaviour behaviour) {
  static const char *const parts[] = {"--serve", "--stubborn", "--exit", "--chatter"};
  play(spec, parts[behaviour]);
}

// ---- helpers ----
static int pid_in_file(const char *base, int64_t id, int replica) {
  char path[400];
  (void)snprintf(path, sizeof(path), "%s/run/%" PRId64 "-%d.pid", base, id, replica);
  FILE *f = fopen(path, "re");
  int pid = 0;
  if (f == NULL) {
    return 0;
  }
  if (fscanf(f, "%d", &pid) != 1) {
    pid = -1;
  }
  (void)fclose(f);
  return pid;
}

static int run_pid(const replica_observation *o) {
  return (int)strtol(o->run_id, NULL, 10);
}

// Live processes whose private directory lies under `base`: found by their environment, not by our books.
static int count_live(const char *base, int *pid_out) {
  char wanted[400];
  int found = 0;
  int n = snprintf(wanted, sizeof(wanted), "HOME=%s/state/homes/", base);
  DIR *d = opendir("/proc");
  for (struct dirent *e; (e = readdir(d)) != NULL;) {
    char path[300];
    static char env[65536];
    int pid = (int)strtol(e->d_name, NULL, 10);
    int64_t ticks = 0;
    (void)snprintf(path, sizeof(path), "/proc/%s/environ", e->d_name);
    int fd = pid > 0 ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    if (fd < 0) {
      continue;
    }
    ssize_t k = read(fd, env, sizeof(env));
    (void)close(fd);
    if (k > 0 && memmem(env, (size_t)k, wanted, (size_t)n) != NULL && process_start_ticks(pid, &ticks)) {
      found++;
      *pid_out = pid;
    }
  }
  (void)closedir(d);
  return found;
}

static bool wait_until(bool (*condition)(void *arg), void *arg) {
  for (int64_t until = eco_boottime_ms() + WAIT_MS; eco_boottime_ms() < until; (void)usleep(5000)) {
    if (condition(arg)) {
      return true;
    }
  }
  return false;
}

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
      {"GREETING", "hello"}, {"ECOLINK_PORT", "1"}, {"SECRET", "s3cret"}, {NULL, NULL}};
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
  static const driver_name_value env[] = {{"SECRET", "s3cret-value"}, {NULL, NULL}};
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
                                          .run_as_user = ""};
  driver *d = NULL;
  assert_true(eco_ok(process_driver_open(&options, &d)));
  static const char *const no_command[] = {NULL};
  static const driver_name_value preload[] = {{"LD_PRELOAD", "/tmp/x.so"}, {NULL, NULL}};
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

// ---- a scheduler that dies at every crash point ----
static void scheduler_fails(const char *what) {
  fprintf(stderr, "scheduler: %s\n", what);
  _exit(4);
}

static replica_observation scheduler_wait(driver *d, replica_phase phase, int64_t generation) {
  for (int64_t until = eco_boottime_ms() + WAIT_MS; eco_boottime_ms() < until; (void)usleep(3000)) {
    looking_for l = {.instance = 7, .replica = 1, .found = {.phase = REPLICA_ABSENT}};
    if (!eco_ok(d->ops->observe(d, REGION, look_at, &l))) {
      scheduler_fails("observe");
    }
    if (l.found.phase == phase && (generation == 0 || l.found.generation == generation)) {
      return l.found;
    }
  }
  scheduler_fails("nothing came of it");
  return (replica_observation){.phase = REPLICA_ABSENT};
}

// A life with everything in it: start, crash and restart, replacement, removal of one that will not go.
static int play_scheduler(const char *base) {
  eco_log_init("driver", ECO_LOG_TEXT, ECO_LOG_ERROR);
  driver *d = open_at(base);
  replica_spec spec = spec_of(7, 1, 1, BEHAVE_SERVE);
  if (!eco_ok(d->ops->apply(d, &spec))) {
    scheduler_fails("apply");
  }
  replica_observation o = scheduler_wait(d, REPLICA_ALIVE, 1);
  (void)kill(run_pid(&o), SIGKILL);
  (void)scheduler_wait(d, REPLICA_EXITED, 1);
  (void)scheduler_wait(d, REPLICA_ALIVE, 1);
  spec = spec_of(7, 1, 2, BEHAVE_STUBBORN);
  if (!eco_ok(d->ops->apply(d, &spec))) {
    scheduler_fails("apply again");
  }
  (void)scheduler_wait(d, REPLICA_ALIVE, 2);
  if (!eco_ok(d->ops->remove(d, REGION, 7, 1, 0))) {
    scheduler_fails("remove");
  }
  (void)scheduler_wait(d, REPLICA_ABSENT, 0);
  d->ops->close(d);
  return 0;
}

static bool at_most_one_lives(void *arg) {
  int pid = 0;
  return count_live(arg, &pid) <= 1;
}

// After the crash: the next start must find at most one process, know it, and go on. Returns what is wrong, or NULL.
static const char *recover(const char *base) {
  int pid = 0;
  if (!wait_until(at_most_one_lives, (void *)(uintptr_t)base)) {
    return "two processes of one replica live";
  }
  driver *d = open_at(base);
  (void)usleep(30000);  // a child that waits at the gate of a dead parent ends by itself
  int live = count_live(base, &pid);
  looking_for l = {.instance = 7, .replica = 1, .found = {.phase = REPLICA_ABSENT}};
  if (!eco_ok(d->ops->observe(d, REGION, look_at, &l))) {
    return "cannot observe";
  }
  bool gone_since = live == 1 && l.found.phase == REPLICA_EXITED && count_live(base, &pid) == 0;
  if (live > 1) {
    return "the next start doubled the replica";
  }
  if (live == 1 && !gone_since && (run_pid(&l.found) != pid || pid_in_file(base, 7, 1) != pid)) {
    return "the next start does not know the live replica";
  }
  replica_spec spec = spec_of(7, 1, 3, BEHAVE_SERVE);
  if (!eco_ok(d->ops->apply(d, &spec))) {
    return "cannot apply";
  }
  replica_observation o = scheduler_wait(d, REPLICA_ALIVE, 3);
  if (count_live(base, &pid) != 1 || pid != run_pid(&o) || pid_in_file(base, 7, 1) != pid) {
    return "after the next apply there is not exactly one";
  }
  if (!eco_ok(d->ops->remove(d, REGION, 7, 1, 1))) {
    return "cannot remove";
  }
  (void)scheduler_wait(d, REPLICA_ABSENT, 0);
  if (count_live(base, &pid) != 0 || pid_in_file(base, 7, 1) != 0) {
    return "something is left after remove";
  }
  d->ops->close(d);
  d = open_at(base);
  l.found.phase = REPLICA_ABSENT;
  l.seen = 0;
  bool empty = eco_ok(d->ops->observe(d, REGION, look_at, &l)) && l.seen == 0;
  d->ops->close(d);
  return empty ? NULL : "a record is left after remove";
}

enum { NOT_REACHED = 5 };

// One crash in a process of its own, so that many run at once. Status 0: recovered, NOT_REACHED: the point was not
// passed so often.
static int play_crash(const char *base, const char *point) {
  eco_log_init("driver", ECO_LOG_TEXT, ECO_LOG_ERROR);
  pid_t scheduler = fork();
  if (scheduler == 0) {
    (void)setenv("ECOLINK_CRASH_POINT", point, 1);
    (void)execl(self, self, "--scheduler", base, (char *)NULL);
    _exit(4);
  }
  int status = 0;
  (void)waitpid(scheduler, &status, 0);
  if (WIFEXITED(status) && WEXITSTATUS(status) == 0) {
    return NOT_REACHED;
  }
  if (!WIFSIGNALED(status) || WTERMSIG(status) != SIGKILL) {
    fprintf(stderr, "%s: the scheduler ended with %x\n", point, status);
    return 1;
  }
  const char *wrong = recover(base);
  if (wrong != NULL) {
    fprintf(stderr, "%s: %s\n", point, wrong);
  }
  return wrong == NULL ? 0 : 1;
}

enum { POINTS_MAX = 40, PASSAGES = 3, AT_ONCE = 8 };

typedef struct crash_points {
  const char *names[POINTS_MAX];
  int count;
} crash_points;

static void collect_point(const char *name, void *arg) {
  crash_points *p = arg;
  if (strncmp(name, "process.", 8) == 0 && p->count < POINTS_MAX) {
    p->names[p->count++] = name;
  }
}

static void reap(int *running, bool *first_reached, pid_t *pids, int jobs) {
  int status = 0;
  pid_t pid = wait(&status);
  --*running;
  int code = WIFEXITED(status) ? WEXITSTATUS(status) : 1;
  for (int i = 0; i < jobs; i++) {
    if (pids[i] == pid) {
      assert_true(code == 0 || code == NOT_REACHED);
      first_reached[i / PASSAGES] |= code == 0;
    }
  }
}

static void test_a_scheduler_killed_at_any_point_neither_loses_nor_doubles_a_replica(void **state) {
  (void)state;
  crash_points points = {.count = 0};
  bool reached[POINTS_MAX] = {false};
  pid_t pids[POINTS_MAX * PASSAGES] = {0};
  eco_crash_points_each(collect_point, &points);
  if (points.count == 0) {
    skip();  // built without crash points
  }
  assert_true(points.count >= 10);
  int running = 0;
  int jobs = points.count * PASSAGES;
  for (int i = 0; i < jobs; i++) {
    char base[300];
    char point[100];
    (void)snprintf(base, sizeof(base), "%s/crash-%d", root, i);
    (void)snprintf(point, sizeof(point), "%s:%d", points.names[i / PASSAGES], i % PASSAGES + 1);
    (void)mkdir(base, 0755);
    if (running == AT_ONCE) {
      reap(&running, reached, pids, jobs);
    }
    pids[i] = fork();
    if (pids[i] == 0) {
      (void)execl(self, self, "--crash", base, point, (char *)NULL);
      _exit(1);
    }
    running++;
  }
  while (running > 0) {
    reap(&running, reached, pids, jobs);
  }
  for (int i = 0; i < points.count; i++) {
    if (!reached[i]) {
      fail_msg("crash point %s was never reached", points.names[i]);
    }
  }
}

// ---- set-up ----
static int make_root(void **state) {
  (void)state;
  (void)snprintf(root, sizeof(root), "/tmp/test-driver-XXXXXX");
  return mkdtemp(root) != NULL && chmod(root, 0755) == 0 ? 0 : -1;
}

static int remove_root(void **state) {
  (void)state;
  char command[300];
  int pid = 0;
  while (count_live(root, &pid) > 0) {  // what a failed test left
    (void)kill(pid, SIGKILL);
  }
  (void)snprintf(command, sizeof(command), "rm -rf '%s'", root);
  return system(command);
}

int main(int argc, char **argv) {
  ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);
  self[n < 0 ? 0 : n] = '\0';
  rig = (conformance_rig){.open = open_here, .behave = behave};
  if (argc >= 3 && strcmp(argv[1], "--scheduler") == 0) {
    return play_scheduler(argv[2]);
  }
  if (argc >= 4 && strcmp(argv[1], "--crash") == 0) {
    return play_crash(argv[2], argv[3]);
  }
  if (argc >= 2) {
    return play_replica(argv[1]);
  }
  (void)signal(SIGPIPE, SIG_IGN);
  eco_log_init("driver", ECO_LOG_TEXT, ECO_LOG_ERROR);
  const struct CMUnitTest tests[] = {
      DRIVER_CONFORMANCE_TESTS,
      cmocka_unit_test(test_a_child_gets_nothing_of_ours),
      cmocka_unit_test(test_the_records_hold_no_secret),
      cmocka_unit_test(test_the_pid_file_names_the_live_process_and_nothing_else),
      cmocka_unit_test(test_an_exit_is_seen_at_once_also_of_an_adopted_replica),
      cmocka_unit_test(test_a_stranger_on_the_port_of_a_dead_replica_is_not_taken_for_it),
      cmocka_unit_test(test_children_of_a_replica_end_with_it),
      cmocka_unit_test(test_a_recycled_pid_is_never_touched),
      cmocka_unit_test(test_a_damaged_record_is_put_aside_and_harms_no_other),
      cmocka_unit_test(test_commands_and_unknown_engines_are_refused_with_the_field_at_fault),
      cmocka_unit_test(test_a_flood_of_output_is_bounded_and_keeps_its_positions),
      cmocka_unit_test(test_a_scheduler_killed_at_any_point_neither_loses_nor_doubles_a_replica),
  };
  return cmocka_run_group_tests(tests, make_root, remove_root);
}
