// Identifiers, API keys, hashing, the model string.
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "ecolink/id.h"
#include "gen.h"

static const char *const PREFIXES[] = {"acc", "mem", "op", "key", "mdl", "fs", "inv", "txn", "ntc", "cor"};

static void test_a_new_id_is_of_its_prefix_and_of_no_other(void **state) {
  (void)state;
  for (int round = 0; round < 500; round++) {
    for (size_t i = 0; i < sizeof(PREFIXES) / sizeof(PREFIXES[0]); i++) {
      char id[ECO_ID_MAX];
      eco_id_new(PREFIXES[i], id);
      assert_int_equal(strlen(id), strlen(PREFIXES[i]) + 1 + 26);
      for (size_t k = 0; k < sizeof(PREFIXES) / sizeof(PREFIXES[0]); k++) {
        assert_int_equal(eco_id_is(id, PREFIXES[k]), i == k);
      }
    }
  }
}

static void test_ids_do_not_repeat_and_use_the_whole_alphabet(void **state) {
  (void)state;
  static char ids[2000][ECO_ID_MAX];
  bool seen[256] = {false};
  for (int i = 0; i < 2000; i++) {
    eco_id_new("key", ids[i]);
    for (const char *p = ids[i] + 4; *p != '\0'; p++) {
      seen[(unsigned char)*p] = true;
    }
    for (int k = 0; k < i; k++) {
      assert_string_not_equal(ids[i], ids[k]);
    }
  }
  int letters = 0;
  for (int c = 0; c < 256; c++) {
    letters += seen[c] ? 1 : 0;
  }
  assert_int_equal(letters, 32);
  assert_false(seen['i'] || seen['l'] || seen['o'] || seen['u']);
}

static void test_what_is_no_id_is_refused(void **state) {
  (void)state;
  const char *const cases[] = {"",
                               "acc",
                               "acc_",
                               "acc_0123456789abcdefghjkmnpqr",    // short by one
                               "acc_0123456789abcdefghjkmnpqrsx",  // long by one
                               "acc_0123456789abcdefghjkmnpqrU",   // not of the alphabet
                               "acc_0123456789Abcdefghjkmnpqrs",
                               "acc-0123456789abcdefghjkmnpqrs",
                               "mdl_0123456789abcdefghjkmnpqrs",
                               "accx_0123456789abcdefghjkmnpqr"};
  for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
    assert_false(eco_id_is(cases[i], "acc"));
  }
  assert_false(eco_id_is(NULL, "acc"));
  assert_true(eco_id_is("acc_0123456789abcdefghjkmnpqrs", "acc"));
}

static void test_api_keys_are_recognised_by_form_alone(void **state) {
  (void)state;
  for (int round = 0; round < 1000; round++) {
    char key[ECO_API_KEY_LEN + 1];
    eco_api_key_new(key);
    assert_int_equal(strlen(key), ECO_API_KEY_LEN);
    assert_true(eco_api_key_is(key, ECO_API_KEY_LEN));
    assert_false(eco_api_key_is(key, ECO_API_KEY_LEN - 1));
    char longer[ECO_API_KEY_LEN + 2];
    memcpy(longer, key, ECO_API_KEY_LEN);
    memcpy(longer + ECO_API_KEY_LEN, "0", 2);
    assert_false(eco_api_key_is(longer, ECO_API_KEY_LEN + 1));
    char broken[ECO_API_KEY_LEN + 1];
    memcpy(broken, key, sizeof(broken));
    broken[4 + round % 52] = "iIlLoOuU!-\0 "[round % 12];
    assert_false(eco_api_key_is(broken, ECO_API_KEY_LEN));
    memcpy(broken, key, sizeof(broken));
    broken[round % 4] ^= 1;
    assert_false(eco_api_key_is(broken, ECO_API_KEY_LEN));
  }
}

static void test_sha256_matches_the_published_vectors(void **state) {
  (void)state;
  const struct {
    const char *text;
    const char *hex;
  } cases[] = {
      {"", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"},
      {"abc", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"},
      {"abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq",
       "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1"},
  };
  for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
    uint8_t digest[32];
    char hex[ECO_SHA256_HEX_LEN + 1];
    eco_sha256(cases[i].text, strlen(cases[i].text), digest);
    eco_hex(digest, sizeof(digest), hex);
    assert_string_equal(hex, cases[i].hex);
  }
}

static void test_a_model_string_is_split_at_its_last_colon(void **state) {
  (void)state;
  const struct {
    const char *text;
    size_t name_len;
    int64_t instance;
  } cases[] = {{"my-llama:142", 8, 142},
               {"a:1", 1, 1},
               {"org/model:v2:7", 12, 7},
               {"x::5", 2, 5},
               {"m:9223372036854775807", 1, INT64_MAX}};
  for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
    size_t name_len = 0;
    int64_t instance = 0;
    assert_true(eco_model_string_parse(cases[i].text, strlen(cases[i].text), &name_len, &instance));
    assert_int_equal(name_len, cases[i].name_len);
    assert_true(instance == cases[i].instance);
  }
}

static void test_what_names_no_instance_is_refused(void **state) {
  (void)state;
  const char *const cases[] = {"",
                               "my-llama",
                               "my-llama:",
                               ":142",
                               ":",
                               "m:0",
                               "m:042",
                               "m:-1",
                               "m:+1",
                               "m: 1",
                               "m:1 ",
                               "m:1x",
                               "m:x1",
                               "m:1.0",
                               "m:9223372036854775808",
                               "m:99999999999999999999999"};
  for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
    size_t name_len = 7;
    int64_t instance = 7;
    assert_false(eco_model_string_parse(cases[i], strlen(cases[i]), &name_len, &instance));
    assert_int_equal(name_len, 7);
    assert_int_equal(instance, 7);
  }
}

static void test_generated_model_strings_come_back(void **state) {
  (void)state;
  gen g = {9};
  for (int i = 0; i < 100000; i++) {
    char text[200];
    int64_t want = gen_i64(&g) & INT64_MAX;
    want = want == 0 ? 1 : want;
    int name = (int)gen_range(&g, 1, 128);
    for (int k = 0; k < name; k++) {
      text[k] = "abcXYZ019._/-:"[gen_u64(&g) % 14];
    }
    int n = name + snprintf(text + name, sizeof(text) - (size_t)name, ":%" PRId64, want);
    size_t name_len = 0;
    int64_t instance = 0;
    // The string is not NUL-terminated for the parser: what lies behind must not matter.
    text[n] = '9';
    assert_true(eco_model_string_parse(text, (size_t)n, &name_len, &instance));
    assert_int_equal(name_len, name);
    assert_true(instance == want);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_a_new_id_is_of_its_prefix_and_of_no_other),
      cmocka_unit_test(test_ids_do_not_repeat_and_use_the_whole_alphabet),
      cmocka_unit_test(test_what_is_no_id_is_refused),
      cmocka_unit_test(test_api_keys_are_recognised_by_form_alone),
      cmocka_unit_test(test_sha256_matches_the_published_vectors),
      cmocka_unit_test(test_a_model_string_is_split_at_its_last_colon),
      cmocka_unit_test(test_what_names_no_instance_is_refused),
      cmocka_unit_test(test_generated_model_strings_come_back),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
