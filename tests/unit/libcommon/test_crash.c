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

static void arm(const char *path, const char *text) {
  FILE *f = fopen(path, "w");
  assert_non_null(f);
  assert_true(fputs(text, f) >= 0);
  assert_int_equal(fclose(f), 0);
}

static void test_a_point_can_be_chosen_in_a_file_at_any_time(void **state) {
  (void)state;
  char path[] = "/tmp/eco-crash-XXXXXX";
  int fd = mkstemp(path);
  assert_true(fd >= 0);
  (void)close(fd);
  char named[64];
  (void)snprintf(named, sizeof named, "@%s", path);
  arm(path, "");
  assert_int_equal(rounds_until_death(named, 10), -1);
  arm(path, "test.first:4\n");
#ifdef ECO_TEST_BUILD
  assert_int_equal(rounds_until_death(named, 10), 3);
#else
  assert_int_equal(rounds_until_death(named, 10), -1);
#endif
  assert_int_equal(unlink(path), 0);
  assert_int_equal(rounds_until_death(named, 10), -1);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_every_point_is_listed_once),
      cmocka_unit_test(test_the_chosen_passage_kills_the_process_in_test_builds_only),
      cmocka_unit_test(test_a_point_can_be_chosen_in_a_file_at_any_time),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
