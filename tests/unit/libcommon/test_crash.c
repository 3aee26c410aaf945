// Crash points: listed once each, and deadly in test builds when chosen.
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "ecolink/crash.h"
#include "gen.h"

static void pass_first(void) {
  ECO_CRASH_POINT("test.first");
}

static void pass_second(void) {
  ECO_CRASH_POINT("test.second");
}

static void pass_second_elsewhere(void) {
  ECO_CRASH_POINT("test.second");
}

static void collect(const char *name, void *arg) {
  char *names = arg;
  size_t used = strlen(names);
  (void)snprintf(names + used, 256 - used, "%s,", name);
}

static void test_every_point_is_listed_once(void **state) {
  (void)state;
  char names[256] = "";
  eco_crash_points_each(collect, names);
#ifdef ECO_TEST_BUILD
  assert_non_null(strstr(names, "test.first,"));
  const char *second = strstr(names, "test.second,");
  assert_non_null(second);
  assert_null(strstr(second + 1, "test.second,"));
#else
  assert_string_equal(names, "");
#endif
}

// Passes first, second, second-elsewhere `rounds` times in a child; returns how often it got through before it died,
// or -1 when it was not killed.
static int rounds_until_death(const char *point, int rounds) {
  int pipe_fds[2];
  assert_int_equal(pipe(pipe_fds), 0);
  pid_t pid = fork();
  if (pid == 0) {
    if (point != NULL) {
      (void)setenv("ECOLINK_CRASH_POINT", point, 1);
    }
    for (int i = 0; i < rounds; i++) {
      pass_first();
      pass_second();
      pass_second_elsewhere();
      if (write(pipe_fds[1], "x", 1) != 1) {
        _exit(2);
      }
    }
    _exit(0);
  }
  assert_true(pid > 0);
  (void)close(pipe_fds[1]);
  int status = 0;
  assert_int_equal(waitpid(pid, &status, 0), pid);
  char passed[100];
  ssize_t n = read(pipe_fds[0], passed, sizeof(passed));
  (void)close(pipe_fds[0]);
  if (WIFSIGNALED(status)) {
    assert_int_equal(WTERMSIG(status), SIGKILL);
    return (int)n;
  }
  assert_int_equal(WEXITSTATUS(status), 0);
  assert_int_equal(n, rounds);
  return -1;
}

static void test_the_chosen_passage_kills_the_process_in_test_builds_only(void **state) {
  (void)state;
  const struct {
    const char *point;
    int rounds_before;
  } cases[] = {
      {"test.first", 0},    {"test.first:1", 0},     {"test.first:4", 3},  {"test.second:2", 0},
      {"test.second:3", 1}, {"test.second:9", 4},    {"test.first:10", 9}, {"test.first:11", -1},
      {"test.fir", -1},     {"test.first.more", -1}, {"other", -1},        {"", -1},
      {NULL, -1},
  };
  for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
#ifdef ECO_TEST_BUILD
    assert_int_equal(rounds_until_death(cases[i].point, 10), cases[i].rounds_before);
#else
    assert_int_equal(rounds_until_death(cases[i].point, 10), -1);
#endif
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_every_point_is_listed_once),
      cmocka_unit_test(test_the_chosen_passage_kills_the_process_in_test_builds_only),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
