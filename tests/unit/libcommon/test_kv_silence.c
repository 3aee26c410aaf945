// When the silence of a bucket's feed is believed: at once, until it has been a false alarm.
#include "../../../libcommon/src/kv_silence.h"
#include "gen.h"

static void test_the_first_silence_is_believed_at_once(void **state) {
  (void)state;
  assert_int_equal(kv_silence_wait_ms(0, false, true), 0);
  assert_int_equal(kv_silence_wait_ms(0, false, false), 0);
  assert_int_equal(kv_silence_wait_ms(0, true, true), 0);
}

static void test_false_alarms_are_believed_ever_later_but_never_longer_than_a_full_read_is_apart(void **state) {
  (void)state;
  int64_t wait_ms = 0;
  for (int i = 0; i < 100; i++) {
    const int64_t next_ms = kv_silence_wait_ms(wait_ms, true, false);
    assert_true(next_ms > wait_ms || next_ms == KV_SILENCE_MOST_MS);
    assert_in_range(next_ms, KV_SILENCE_FIRST_MS, KV_SILENCE_MOST_MS);
    wait_ms = next_ms;
  }
  assert_int_equal(wait_ms, KV_SILENCE_MOST_MS);
}

static void test_one_true_alarm_or_a_quiet_time_makes_the_next_believed_at_once(void **state) {
  (void)state;
  for (int64_t wait_ms = 0; wait_ms <= KV_SILENCE_MOST_MS; wait_ms += 1000) {
    assert_int_equal(kv_silence_wait_ms(wait_ms, true, true), 0);
    assert_int_equal(kv_silence_wait_ms(wait_ms, false, true), 0);
    assert_int_equal(kv_silence_wait_ms(wait_ms, false, false), 0);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_the_first_silence_is_believed_at_once),
      cmocka_unit_test(test_false_alarms_are_believed_ever_later_but_never_longer_than_a_full_read_is_apart),
      cmocka_unit_test(test_one_true_alarm_or_a_quiet_time_makes_the_next_believed_at_once),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
