// HuggingFace repositories and revisions by form, and what the Hub's answers mean.

#include "repos.h"

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

static void test_repositories_by_example(void **state) {
  (void)state;
  const char *good[] = {
      "meta-llama/Llama-3.1-8B-Instruct", "a/b", "Qwen/Qwen2.5-0.5B", "_x/y_z", "01-ai/Yi", "a.b/c.d"};
  const char *bad[] = {"",       "gpt2", "/b",    "a/",     "a/b/c", "a//b",       "a/b.git", "a/b--c",
                       "a--b/c", "a/..", "../a",  "a/b..c", "a /b",  "a/b\n",      "-a/b",    ".a/b",
                       "a-/b",   "a/b.", "a/b?x", "a/b#c",  "a:b/c", "http://a/b", "a/b%2f",  "a/\xc3\xa9"};
  for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
    if (!registry_repo_valid(good[i])) {
      fail_msg("%s is a repository", good[i]);
    }
  }
  for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
    if (registry_repo_valid(bad[i])) {
      fail_msg("%s is no repository", bad[i]);
    }
  }
}

static void test_each_part_has_at_most_96_bytes(void **state) {
  (void)state;
  for (int n = 90; n < 100; n++) {
    char repo[256];
    char part[128];
    memset(part, 'a', sizeof part);
    part[n] = '\0';
    (void)snprintf(repo, sizeof repo, "%s/b", part);
    assert_int_equal(registry_repo_valid(repo), n <= 96);
    (void)snprintf(repo, sizeof repo, "b/%s", part);
    assert_int_equal(registry_repo_valid(repo), n <= 96);
  }
}

static void test_revisions_by_example(void **state) {
  (void)state;
  const char *good[] = {"main",          "v1.0", "refs/pr/12", "0123456789abcdef0123456789abcdef01234567",
                        "feature/x_y-z", "a.b"};
  const char *bad[] = {"",     "-rf",    "/main",    "main/", "a//b", ".a",   "a.",    "a/.b",
                       "a..b", "a.lock", "x/a.lock", "a b",   "a~1",  "a^",   "a:b",   "a?",
                       "a*",   "a[b",    "a\\b",     "a@{b",  "a\n",  "a%2f", "a\x7f", "\xc3\xa9"};
  for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
    if (!registry_revision_valid(good[i])) {
      fail_msg("%s is a revision", good[i]);
    }
  }
  for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
    if (registry_revision_valid(bad[i])) {
      fail_msg("%s is no revision", bad[i]);
    }
  }
}

// Whatever passes can stand in a URL and in a shell word as it is.
static void test_generated_revisions_and_repositories_hold_safe_bytes_only(void **state) {
  (void)state;
  uint64_t seed = 7;
  int accepted = 0;
  for (int i = 0; i < 200000; i++) {
    char text[12];
    size_t n = 0;
    for (; n < sizeof text - 1; n++) {
      seed = seed * 6364136223846793005U + 1442695040888963407U;
      uint32_t r = (uint32_t)(seed >> 40);
      if (r % 8 == 0) {
        break;
      }
      uint8_t byte = (uint8_t)(r % 16 == 1 ? 1 + (r >> 4) % 255 : (uint32_t) "aZ0/._-"[(r >> 4) % 7]);
      memcpy(&text[n], &byte, 1);
    }
    text[n] = '\0';
    if (registry_repo_valid(text) || registry_revision_valid(text)) {
      accepted++;
      assert_int_equal(strspn(text, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._/-"),
                       strlen(text));
      assert_null(strstr(text, ".."));
      assert_null(strstr(text, "//"));
      assert_true(text[0] != '/' && text[0] != '-' && text[0] != '.');
    }
  }
  assert_true(accepted > 1000);
}

static void test_only_a_definite_no_of_the_hub_refuses(void **state) {
  (void)state;
  for (int status = 0; status < 600; status++) {
    for (int token = 0; token < 2; token++) {
      registry_hub_verdict expected = REGISTRY_HUB_ACCEPT;
      if (status == 404 || ((status == 401 || status == 403) && token == 0)) {
        expected = REGISTRY_HUB_NO_REPO;
      }
      assert_int_equal(registry_hub_judge(status, "", token == 1), expected);
    }
  }
  assert_int_equal(registry_hub_judge(404, "RevisionNotFound", false), REGISTRY_HUB_NO_REVISION);
  assert_int_equal(registry_hub_judge(404, "RepoNotFound", true), REGISTRY_HUB_NO_REPO);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_repositories_by_example),
      cmocka_unit_test(test_each_part_has_at_most_96_bytes),
      cmocka_unit_test(test_revisions_by_example),
      cmocka_unit_test(test_generated_revisions_and_repositories_hold_safe_bytes_only),
      cmocka_unit_test(test_only_a_definite_no_of_the_hub_refuses),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
