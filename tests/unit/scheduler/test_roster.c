// Whose turn it is to be judged.
#include <stdio.h>
#include <string.h>

#include "cmocka_all.h"
#include "roster.h"

#define SET(field, text) (void)snprintf(field, sizeof(field), "%s", text)

static replica_observation observed(void) {
  replica_observation seen = {
      .instance_id = 142, .replica_id = 1, .generation = 1, .phase = REPLICA_ALIVE, .port = 8000, .ready_since_us = 77};
  SET(seen.run_id, "run.0");
  SET(seen.host, "10.0.0.1");
  SET(seen.detail, "running");
  return seen;
}

static void test_what_was_judged_waits_until_something_differs(void **state) {
  (void)state;
  roster_entry e = {.version = 7, .seen = 9, .due_ms = 5000};
  assert_int_equal(roster_turn_of(&e, 7, 9, 4999), ROSTER_WAITS);
  assert_int_equal(roster_turn_of(&e, 8, 9, 4999), ROSTER_NOW);   // its row was changed
  assert_int_equal(roster_turn_of(&e, 6, 9, 4999), ROSTER_NOW);   // or goes back: a restored database
  assert_int_equal(roster_turn_of(&e, 7, 10, 4999), ROSTER_NOW);  // something else is seen of it
  assert_int_equal(roster_turn_of(&e, 7, 9, 5000), ROSTER_DUE);   // its time has come
  assert_int_equal(roster_turn_of(&e, 8, 9, 5000), ROSTER_NOW);
  e.due_ms = 0;
  assert_int_equal(roster_turn_of(&e, 7, 9, 4999), ROSTER_NOW);  // something was pending
}

static void test_a_replica_that_is_new_has_its_turn(void **state) {
  (void)state;
  roster r = {.list = NULL};
  roster_key keys[] = {{.instance_id = 1, .replica_id = 1, .version = 1}};
  assert_true(roster_follow(&r, keys, 1));
  assert_int_equal(roster_turn_of(roster_find(&r, 1, 1), 1, roster_digest(NULL), 0), ROSTER_NOW);
  assert_int_equal(roster_next_ms(&r), 0);
  roster_free(&r);
}

static void test_who_stays_is_remembered_and_who_goes_is_forgotten(void **state) {
  (void)state;
  roster r = {.list = NULL};
  roster_key first[] = {{1, 1, 3}, {1, 2, 3}, {5, 1, 8}};
  assert_true(roster_follow(&r, first, 3));
  for (size_t i = 0; i < 3; i++) {
    r.list[i].version = first[i].version;
    r.list[i].due_ms = 1000 * ((int64_t)i + 1);
    r.list[i].memory.failures = (int)i;
  }
  roster_key later[] = {{1, 2, 4}, {3, 1, 1}, {5, 1, 8}};
  assert_true(roster_follow(&r, later, 3));
  assert_null(roster_find(&r, 1, 1));
  assert_int_equal(roster_find(&r, 1, 2)->memory.failures, 1);
  assert_int_equal(roster_find(&r, 1, 2)->version, 3);  // what was judged, not what is
  assert_int_equal(roster_find(&r, 3, 1)->version, 0);
  assert_int_equal(roster_find(&r, 5, 1)->due_ms, 3000);
  roster_find(&r, 3, 1)->due_ms = 9000;
  assert_int_equal(roster_next_ms(&r), 2000);
  assert_true(roster_follow(&r, NULL, 0));
  assert_true(roster_next_ms(&r) == INT64_MAX);
  roster_free(&r);
}

static void test_whatever_an_observation_tells_makes_a_difference(void **state) {
  (void)state;
  replica_observation before = observed();
  assert_true(roster_digest(&before) != roster_digest(NULL));
  for (int change = 0; change < 10; change++) {
    replica_observation seen = observed();
    switch (change) {
      case 0:
        seen.generation++;
        break;
      case 1:
        seen.phase = REPLICA_STARTING;
        break;
      case 2:
        seen.need = DRIVER_NEEDS_APPLY;
        break;
      case 3:
        seen.port++;
        break;
      case 4:
        seen.restarts++;
        break;
      case 5:
        seen.ready_since_us++;
        break;
      case 6:
        seen.exits_us[REPLICA_EXITS_KEPT - 1] = 1;
        break;
      case 7:
        SET(seen.run_id, "run.1");
        break;
      case 8:
        SET(seen.host, "10.0.0.2");
        break;
      default:
        SET(seen.detail, "running again");
        break;
    }
    assert_true(roster_digest(&seen) != roster_digest(&before));
  }
}

static void test_what_lies_behind_a_texts_end_makes_none(void **state) {
  (void)state;
  replica_observation before = observed();
  replica_observation seen = observed();
  seen.detail[sizeof(seen.detail) - 1] = 'x';
  assert_true(roster_digest(&seen) == roster_digest(&before));
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_what_was_judged_waits_until_something_differs),
      cmocka_unit_test(test_a_replica_that_is_new_has_its_turn),
      cmocka_unit_test(test_who_stays_is_remembered_and_who_goes_is_forgotten),
      cmocka_unit_test(test_whatever_an_observation_tells_makes_a_difference),
      cmocka_unit_test(test_what_lies_behind_a_texts_end_makes_none),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
