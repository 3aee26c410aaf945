// Keys hash to the same bytes here as where they are made.
#include <stdlib.h>
#include <string.h>

#include "cmocka_all.h"
#include "ecolink/id.h"
#include "key_hash.h"

static void test_every_length_hashes_as_the_registry_does(void **state) {
  (void)state;
  char text[200];
  for (size_t i = 0; i < sizeof text; i++) {
    text[i] = (char)(i * 31 + 7);
  }
  for (size_t n = 0; n <= sizeof text; n++) {
    uint8_t ours[32];
    uint8_t theirs[32];
    gw_key_hash(text, n, ours);
    eco_sha256(text, n, theirs);
    assert_memory_equal(ours, theirs, sizeof ours);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_every_length_hashes_as_the_registry_does),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
