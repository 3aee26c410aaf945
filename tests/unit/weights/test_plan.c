// What is read out of the Hub's list of files, and what is refused.
// clang-format off
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>
// clang-format on
#include "plan.h"

#define SHA "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
#define GIT "0123456789abcdef0123456789abcdef01234567"

static eco_status read_plan(const char *siblings, eco_arena *arena, weights_plan *plan) {
  char body[4096];
  int n = snprintf(body, sizeof(body), "{\"sha\":\"" GIT "\",\"siblings\":%s}", siblings);
  return weights_plan_read(body, (size_t)n, arena, plan);
}

static void test_large_and_small_files_are_listed_with_size_and_hash(void **state) {
  (void)state;
  eco_arena *arena = eco_arena_new();
  weights_plan plan;
  assert_true(eco_ok(read_plan("[{\"rfilename\":\"config.json\",\"size\":7,\"blobId\":\"" GIT "\"},"
                               "{\"rfilename\":\"a/model.safetensors\",\"size\":1,\"blobId\":\"" GIT
                               "\",\"lfs\":{\"sha256\":\"" SHA "\",\"size\":5000000000}}]",
                               arena, &plan)));
  assert_string_equal(plan.commit, GIT);
  assert_int_equal(plan.count, 2);
  assert_int_equal(plan.bytes, 5000000007);
  assert_false(plan.files[0].has_sha256);
  assert_string_equal(plan.files[1].path, "a/model.safetensors");
  assert_string_equal(plan.files[1].blob, SHA);
  assert_true(plan.files[1].has_sha256);
  eco_arena_free(arena);
}

static void test_answers_that_cannot_be_used_are_refused(void **state) {
  (void)state;
  static const char *const bad[] = {
      "7",
      "[]",
      "[{\"rfilename\":\"../x\",\"size\":7,\"blobId\":\"" GIT "\"}]",
      "[{\"rfilename\":\"/etc/passwd\",\"size\":7,\"blobId\":\"" GIT "\"}]",
      "[{\"rfilename\":\"a//b\",\"size\":7,\"blobId\":\"" GIT "\"}]",
      "[{\"rfilename\":\"a\\u0000b\",\"size\":7,\"blobId\":\"x\"}]",
      "[{\"rfilename\":\"config.json\",\"size\":-1,\"blobId\":\"" GIT "\"}]",
      "[{\"rfilename\":\"config.json\",\"blobId\":\"" GIT "\"}]",
      "[{\"rfilename\":\"config.json\",\"size\":7,\"blobId\":\"../../x\"}]",
      "[{\"rfilename\":\"config.json\",\"size\":7}]",
      "[{\"rfilename\":\"m.safetensors\",\"lfs\":{\"sha256\":\"" GIT "\",\"size\":7}}]",
      "[{\"rfilename\":\"a.json\",\"size\":9223372036854775807,\"blobId\":\"" GIT
      "\"},{\"rfilename\":\"b.json\",\"size\":9223372036854775807,\"blobId\":\"" GIT "\"}]",
  };
  for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
    eco_arena *arena = eco_arena_new();
    weights_plan plan;
    if (eco_ok(read_plan(bad[i], arena, &plan))) {
      fail_msg("taken: %s", bad[i]);
    }
    eco_arena_free(arena);
  }
  eco_arena *arena = eco_arena_new();
  weights_plan plan;
  assert_false(eco_ok(weights_plan_read("", 0, arena, &plan)));
  assert_false(eco_ok(weights_plan_read("<html>", 6, arena, &plan)));
  eco_arena_free(arena);
}

static void test_one_format_of_the_weights_is_enough(void **state) {
  (void)state;
  assert_true(weights_is_wanted("pytorch_model.bin", false));
  assert_false(weights_is_wanted("pytorch_model.bin", true));
  assert_false(weights_is_wanted("original/consolidated.00.pth", true));
  assert_true(weights_is_wanted("model-00001-of-00002.safetensors", true));
  assert_true(weights_is_wanted("tokenizer.json", true));
  assert_false(weights_is_wanted("tf_model.h5", false));
  assert_false(weights_is_wanted("onnx/model.onnx", false));
  assert_false(weights_is_wanted(".gitattributes", false));
}

static void test_paths_stay_below_their_folder(void **state) {
  (void)state;
  static const char *const good[] = {"a", "a/b", "a.b/..c", "...", "a b/c"};
  static const char *const bad[] = {"",    "/",    "/a",     "a/",   "a//b", ".",       "..",
                                    "./a", "a/..", "a/../b", "a\\b", "a\nb", "\xc3\xa4"};
  for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
    assert_true(weights_path_ok(good[i]));
  }
  for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
    assert_false(weights_path_ok(bad[i]));
  }
}

static void test_a_repository_has_its_folder_of_the_hubs_cache(void **state) {
  (void)state;
  char out[64];
  assert_true(weights_folder("org/name", out, sizeof(out)));
  assert_string_equal(out, "models--org--name");
  assert_true(weights_folder("gpt2", out, sizeof(out)));
  assert_string_equal(out, "models--gpt2");
  assert_false(weights_folder("a/b/c", out, sizeof(out)));
  assert_false(weights_folder("../b", out, sizeof(out)));
  assert_false(
      weights_folder("org/a-name-that-is-much-too-long-for-the-room-that-is-there-for-it-here", out, sizeof(out)));
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_large_and_small_files_are_listed_with_size_and_hash),
      cmocka_unit_test(test_answers_that_cannot_be_used_are_refused),
      cmocka_unit_test(test_one_format_of_the_weights_is_enough),
      cmocka_unit_test(test_paths_stay_below_their_folder),
      cmocka_unit_test(test_a_repository_has_its_folder_of_the_hubs_cache),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
