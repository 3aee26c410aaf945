// The arena: zeroed, aligned, never overlapping, freed as a whole; protobuf-c unpacks into it.
#include <stdalign.h>
#include <string.h>

#include "ecolink/arena.h"
#include "ecolink/v1/common.pb-c.h"
#include "gen.h"

static void test_allocations_are_zeroed_aligned_and_do_not_overlap(void **state) {
  (void)state;
  gen g = {2};
  enum { COUNT = 3000 };
  static unsigned char *blocks[COUNT];
  static size_t sizes[COUNT];
  eco_arena *arena = eco_arena_new();
  for (int i = 0; i < COUNT; i++) {
    sizes[i] = (size_t)gen_range(&g, 0, i % 100 == 0 ? 40000 : 200);
    blocks[i] = eco_alloc(arena, sizes[i]);
    assert_non_null(blocks[i]);
    assert_int_equal((uintptr_t)blocks[i] % alignof(max_align_t), 0);
    for (size_t k = 0; k < sizes[i]; k++) {
      assert_int_equal(blocks[i][k], 0);
    }
    memset(blocks[i], i & 0xFF, sizes[i]);
  }
  for (int i = 0; i < COUNT; i++) {
    for (size_t k = 0; k < sizes[i]; k++) {
      assert_int_equal(blocks[i][k], i & 0xFF);
    }
  }
  eco_arena_free(arena);
}

static void test_strings_are_copied(void **state) {
  (void)state;
  eco_arena *arena = eco_arena_new();
  assert_string_equal(eco_strdup(arena, NULL), "");
  assert_string_equal(eco_strdup(arena, "ready"), "ready");
  assert_string_equal(eco_strndup(arena, "my-llama:142", 8), "my-llama");
  assert_string_equal(eco_strndup(arena, "ab", 99), "ab");
  assert_string_equal(eco_sprintf(arena, "%s:%d", "my-llama", 142), "my-llama:142");
  assert_memory_equal(eco_memdup(arena, "a\0b", 3), "a\0b", 3);
  assert_non_null(eco_memdup(arena, NULL, 0));
  char big[9000];
  memset(big, 'x', sizeof(big) - 1);
  big[sizeof(big) - 1] = '\0';
  assert_string_equal(eco_sprintf(arena, "%s", big), big);
  eco_arena_free(arena);
}

static void test_empty_allocations_have_addresses_of_their_own(void **state) {
  (void)state;
  eco_arena *arena = eco_arena_new();
  assert_ptr_not_equal(eco_alloc(arena, 0), eco_alloc(arena, 0));
  int *numbers = eco_alloc_array(arena, 10, sizeof(int));
  assert_int_equal(numbers[9], 0);
  eco_arena_free(arena);
  eco_arena_free(NULL);
}

static void test_protobuf_unpacks_into_the_arena(void **state) {
  (void)state;
  Ecolink__V1__KeyValue kv = ECOLINK__V1__KEY_VALUE__INIT;
  kv.name = (char *)"engine";
  kv.value = (char *)"vllm";
  uint8_t packed[64];
  size_t n = ecolink__v1__key_value__pack(&kv, packed);
  eco_arena *arena = eco_arena_new();
  Ecolink__V1__KeyValue *back = ecolink__v1__key_value__unpack(eco_arena_pb(arena), n, packed);
  assert_non_null(back);
  assert_string_equal(back->name, "engine");
  assert_string_equal(back->value, "vllm");
  assert_null(ecolink__v1__key_value__unpack(eco_arena_pb(arena), 3, (const uint8_t *)"\x0A\xFF\xFF"));
  eco_arena_free(arena);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_allocations_are_zeroed_aligned_and_do_not_overlap),
      cmocka_unit_test(test_strings_are_copied),
      cmocka_unit_test(test_empty_allocations_have_addresses_of_their_own),
      cmocka_unit_test(test_protobuf_unpacks_into_the_arena),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
