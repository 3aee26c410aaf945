// The process driver under a scheduler that is killed at every crash point. The program plays all parts: test,
// scheduler
// (--scheduler), one crash with its recovery (--crash) and the replica.
#include "driver_process_rig.h"

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

int main(int argc, char **argv) {
  rig_begin();
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
      cmocka_unit_test(test_a_scheduler_killed_at_any_point_neither_loses_nor_doubles_a_replica),
  };
  return cmocka_run_group_tests(tests, make_root, remove_root);
}
