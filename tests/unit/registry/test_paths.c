// Paths of shared filesystems: whatever goes in, what comes out lies under the mount, or nothing does.

#include "paths.h"

// clang-format off
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
// clang-format on

typedef struct path_case {
  const char *mount;
  const char *in;
  registry_path_verdict verdict;
  const char *out;
} path_case;

static void test_paths_by_example(void **state) {
  (void)state;
  const path_case cases[] = {
      {"/shared", "/shared/models/my-llama-finetune/", REGISTRY_PATH_OK, "/shared/models/my-llama-finetune"},
      {"/shared", "/shared", REGISTRY_PATH_OK, "/shared"},
      {"/shared", "/shared/", REGISTRY_PATH_OK, "/shared"},
      {"/shared", "models/x", REGISTRY_PATH_OK, "/shared/models/x"},
      {"/shared", "./models/./x//y/.", REGISTRY_PATH_OK, "/shared/models/x/y"},
      {"/shared", "//shared///a", REGISTRY_PATH_OK, "/shared/a"},
      {"/shared", "...", REGISTRY_PATH_OK, "/shared/..."},
      {"/shared", "a..b/.hidden/..c", REGISTRY_PATH_OK, "/shared/a..b/.hidden/..c"},
      {"/shared", "", REGISTRY_PATH_EMPTY, NULL},
      {"/shared", "..", REGISTRY_PATH_DOT_DOT, NULL},
      {"/shared", "/shared/../etc/passwd", REGISTRY_PATH_DOT_DOT, NULL},
      {"/shared", "/shared/a/../b", REGISTRY_PATH_DOT_DOT, NULL},
      {"/shared", "a/..", REGISTRY_PATH_DOT_DOT, NULL},
      {"/shared", "/etc/passwd", REGISTRY_PATH_ESCAPES, NULL},
      {"/shared", "/", REGISTRY_PATH_ESCAPES, NULL},
      {"/shared", "/sharedness/x", REGISTRY_PATH_ESCAPES, NULL},
      {"/shared", "/share", REGISTRY_PATH_ESCAPES, NULL},
      {"/shared", "/shared/a\nb", REGISTRY_PATH_BAD_BYTE, NULL},
      {"/shared", "/shared/a\x7f", REGISTRY_PATH_BAD_BYTE, NULL},
      {"/data/team", "/data/team/x", REGISTRY_PATH_OK, "/data/team/x"},
      {"/data/team", "/data", REGISTRY_PATH_ESCAPES, NULL},
  };
  for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
    char out[REGISTRY_PATH_MAX + 1];
    registry_path_verdict verdict = registry_path_normalise(cases[i].mount, cases[i].in, out);
    if (verdict != cases[i].verdict || (cases[i].out != NULL && strcmp(out, cases[i].out) != 0)) {
      fail_msg("%s in %s: verdict %d", cases[i].in, cases[i].mount, (int)verdict);
    }
    assert_int_equal(registry_path_complaint(verdict)[0] == '\0', verdict == REGISTRY_PATH_OK);
  }
}

static uint64_t seed = 42;
static uint32_t next_random(void) {
  seed = seed * 6364136223846793005U + 1442695040888963407U;
  return (uint32_t)(seed >> 33);
}

static void test_no_generated_path_leaves_its_mount(void **state) {
  (void)state;
  static const char *const pieces[] = {"/",   "/",  "..",  ".",   "shared", "a",   "...",
                                       "b.c", "//", "../", "/..", "etc",    "%2e", " "};
  int accepted = 0;
  int refused = 0;
  for (int i = 0; i < 100000; i++) {
    char in[256] = "";
    size_t len = 0;
    for (uint32_t n = next_random() % 9; n > 0; n--) {
      len +=
          (size_t)snprintf(in + len, sizeof in - len, "%s", pieces[next_random() % (sizeof pieces / sizeof pieces[0])]);
    }
    char out[REGISTRY_PATH_MAX + 1];
    if (registry_path_normalise("/shared", in, out) != REGISTRY_PATH_OK) {
      refused++;
      continue;
    }
    accepted++;
    assert_true(strcmp(out, "/shared") == 0 || strncmp(out, "/shared/", 8) == 0);
    assert_null(strstr(out, "//"));
    assert_null(strstr(out, "/../"));
    assert_null(strstr(out, "/./"));
    assert_int_not_equal(out[strlen(out) - 1], '/');
    char again[REGISTRY_PATH_MAX + 1];
    assert_int_equal(registry_path_normalise("/shared", out, again), REGISTRY_PATH_OK);
    assert_string_equal(again, out);
  }
  assert_true(accepted > 1000 && refused > 1000);
}

static void test_lengths_around_the_bound(void **state) {
  (void)state;
  for (size_t n = REGISTRY_PATH_MAX - 12; n <= REGISTRY_PATH_MAX + 4; n++) {
    char in[REGISTRY_PATH_MAX + 16];
    char out[REGISTRY_PATH_MAX + 1];
    memset(in, 'a', n);
    in[n] = '\0';
    memcpy(in, "/shared/", 8);
    assert_int_equal(registry_path_normalise("/shared", in, out) == REGISTRY_PATH_OK, n <= REGISTRY_PATH_MAX);
    memset(in, 'a', n);  // relative: "/shared/" is put before it
    assert_int_equal(registry_path_normalise("/shared", in, out) == REGISTRY_PATH_OK, n + 8 <= REGISTRY_PATH_MAX);
  }
}

static void test_mounts_by_example(void **state) {
  (void)state;
  const path_case cases[] = {
      {NULL, "/shared", REGISTRY_PATH_OK, "/shared"},     {NULL, "/data//team/", REGISTRY_PATH_OK, "/data/team"},
      {NULL, "/mnt/./x", REGISTRY_PATH_OK, "/mnt/x"},     {NULL, "", REGISTRY_PATH_EMPTY, NULL},
      {NULL, "shared", REGISTRY_PATH_RELATIVE, NULL},     {NULL, "/", REGISTRY_PATH_RESERVED, NULL},
      {NULL, "///.", REGISTRY_PATH_RESERVED, NULL},       {NULL, "/proc", REGISTRY_PATH_RESERVED, NULL},
      {NULL, "/etc/x", REGISTRY_PATH_RESERVED, NULL},     {NULL, "//usr/./lib", REGISTRY_PATH_RESERVED, NULL},
      {NULL, "/usrlocal", REGISTRY_PATH_OK, "/usrlocal"}, {NULL, "/a/../b", REGISTRY_PATH_DOT_DOT, NULL},
  };
  for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
    char out[REGISTRY_PATH_MAX + 1];
    registry_path_verdict verdict = registry_mount_normalise(cases[i].in, out);
    if (verdict != cases[i].verdict || (cases[i].out != NULL && strcmp(out, cases[i].out) != 0)) {
      fail_msg("%s: verdict %d", cases[i].in, (int)verdict);
    }
  }
}

static void test_mounts_overlap_when_one_hides_the_other(void **state) {
  (void)state;
  assert_true(registry_mounts_overlap("/a", "/a"));
  assert_true(registry_mounts_overlap("/a", "/a/b"));
  assert_true(registry_mounts_overlap("/a/b", "/a"));
  assert_false(registry_mounts_overlap("/a", "/ab"));
  assert_false(registry_mounts_overlap("/a/b", "/a/c"));
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_paths_by_example),
      cmocka_unit_test(test_no_generated_path_leaves_its_mount),
      cmocka_unit_test(test_lengths_around_the_bound),
      cmocka_unit_test(test_mounts_by_example),
      cmocka_unit_test(test_mounts_overlap_when_one_hides_the_other),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
