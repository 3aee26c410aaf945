// Sealed secrets: only the right key opens them, and no damaged box opens.
#include <string.h>

#include "ecolink/id.h"
#include "ecolink/seal.h"
#include "gen.h"

static void test_a_sealed_secret_opens_with_its_key_alone(void **state) {
  (void)state;
  gen g = {10};
  eco_seal_key public_key;
  eco_seal_key secret_key;
  eco_seal_key other_public;
  eco_seal_key other_secret;
  eco_seal_keypair(&public_key, &secret_key);
  eco_seal_keypair(&other_public, &other_secret);
  for (int i = 0; i < 300; i++) {
    eco_arena *arena = eco_arena_new();
    char plain[500];
    size_t n = (size_t)gen_range(&g, 0, sizeof(plain));
    for (size_t k = 0; k < n; k++) {
      plain[k] = (char)gen_u64(&g);
    }
    uint8_t *box = NULL;
    size_t box_len = 0;
    eco_seal(&public_key, plain, n, arena, &box, &box_len);
    assert_int_equal(box_len, n + ECO_SEAL_OVERHEAD);
    char *opened = NULL;
    size_t opened_len = 0;
    assert_true(eco_ok(eco_unseal(&public_key, &secret_key, box, box_len, arena, &opened, &opened_len)));
    assert_int_equal(opened_len, n);
    assert_memory_equal(opened, plain, n);
    assert_int_equal(opened[n], '\0');
    assert_int_equal(eco_unseal(&other_public, &other_secret, box, box_len, arena, &opened, &opened_len).code,
                     ECO_INVALID_REQUEST);
    box[gen_u64(&g) % box_len] ^= (uint8_t)(1 + gen_u64(&g) % 255);
    assert_int_equal(eco_unseal(&public_key, &secret_key, box, box_len, arena, &opened, &opened_len).code,
                     ECO_INVALID_REQUEST);
    eco_arena_free(arena);
  }
}

static void test_boxes_of_the_same_secret_differ(void **state) {
  (void)state;
  eco_seal_key public_key;
  eco_seal_key secret_key;
  eco_seal_keypair(&public_key, &secret_key);
  eco_arena *arena = eco_arena_new();
  uint8_t *a = NULL;
  uint8_t *b = NULL;
  size_t n = 0;
  eco_seal(&public_key, "hf_token", 8, arena, &a, &n);
  eco_seal(&public_key, "hf_token", 8, arena, &b, &n);
  assert_memory_not_equal(a, b, n);
  eco_arena_free(arena);
}

static void test_what_is_too_short_to_be_a_box_is_refused(void **state) {
  (void)state;
  eco_seal_key public_key;
  eco_seal_key secret_key;
  eco_seal_keypair(&public_key, &secret_key);
  eco_arena *arena = eco_arena_new();
  char *plain = NULL;
  size_t n = 0;
  uint8_t box[ECO_SEAL_OVERHEAD] = {0};
  for (size_t len = 0; len <= sizeof(box); len++) {
    assert_int_equal(eco_unseal(&public_key, &secret_key, box, len, arena, &plain, &n).code, ECO_INVALID_REQUEST);
  }
  eco_arena_free(arena);
}

static void test_keys_travel_as_lower_case_hex(void **state) {
  (void)state;
  for (int i = 0; i < 100; i++) {
    eco_seal_key public_key;
    eco_seal_key secret_key;
    eco_seal_keypair(&public_key, &secret_key);
    char hex[2 * ECO_SEAL_KEY_LEN + 1];
    eco_hex(public_key.bytes, ECO_SEAL_KEY_LEN, hex);
    eco_seal_key back;
    assert_true(eco_ok(eco_seal_key_parse(hex, &back)));
    assert_memory_equal(back.bytes, public_key.bytes, ECO_SEAL_KEY_LEN);
    hex[i % 64] = "gZ /:@`A"[i % 8];
    assert_int_equal(eco_seal_key_parse(hex, &back).code, ECO_INVALID_REQUEST);
    hex[63] = '\0';
    assert_int_equal(eco_seal_key_parse(hex, &back).code, ECO_INVALID_REQUEST);
  }
  eco_seal_key back;
  assert_int_equal(eco_seal_key_parse("", &back).code, ECO_INVALID_REQUEST);
  assert_int_equal(eco_seal_key_parse(NULL, &back).code, ECO_INVALID_REQUEST);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_a_sealed_secret_opens_with_its_key_alone),
      cmocka_unit_test(test_boxes_of_the_same_secret_differ),
      cmocka_unit_test(test_what_is_too_short_to_be_a_box_is_refused),
      cmocka_unit_test(test_keys_travel_as_lower_case_hex),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
