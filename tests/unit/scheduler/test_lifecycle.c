// Every cell of the lifecycle table, and what must hold for all of them.
#include <stdio.h>
#include <string.h>

#include "cmocka_all.h"
#include "transition.h"

// The table once more, as words: state by event. "." stays with nothing done, "!" refused.
//                                    CONFIRMED DISCARDED SOME NONE RESTART STOP EXPIRED CRASH LOST GONE
static const char *const EXPECTED[LIFECYCLE_STATES] = {
    /* pending      */ "provisioning failed . . ! stopping . . . .",
    /* provisioning */ ". ! running . provisioning stopping failed failed failed .",
    /* running      */ ". ! . provisioning running stopping . failed failed .",
    /* stopping     */ ". . . . ! . . . . stopped",
    /* stopped      */ ". . . . ! . . . . .",
    /* failed       */ ". . . . ! . . . . failed",
};

static void test_every_cell_is_as_written_down(void **state) {
  (void)state;
  for (int s = ST_PENDING; s <= ST_FAILED; s++) {
    char row[256];
    snprintf(row, sizeof(row), "%s", EXPECTED[s - 1]);
    char *save = NULL;
    char *cell = strtok_r(row, " ", &save);
    for (int e = 0; e < EV_COUNT; e++, cell = strtok_r(NULL, " ", &save)) {
      lifecycle_step step = lifecycle_next((instance_status)s, (lifecycle_event)e);
      assert_non_null(cell);
      if (!strcmp(cell, ".")) {
        assert_int_equal(step.action, ACT_NONE);
        assert_int_equal(step.next, s);
      } else if (!strcmp(cell, "!")) {
        assert_int_equal(step.action, ACT_REFUSE);
        assert_int_equal(step.next, s);
      } else {
        assert_string_equal(instance_status_word(step.next), cell);
        assert_true(step.action != ACT_NONE && step.action != ACT_REFUSE);
      }
    }
    assert_null(cell);
  }
}

static void test_stop_is_legal_in_every_state_and_idempotent(void **state) {
  (void)state;
  for (int s = ST_PENDING; s <= ST_FAILED; s++) {
    lifecycle_step step = lifecycle_next((instance_status)s, EV_STOP);
    assert_true(step.action == ACT_STOP || step.action == ACT_NONE);
    assert_int_equal(step.action == ACT_STOP, s <= ST_RUNNING);
  }
}

static void test_nothing_leaves_a_terminal_state(void **state) {
  (void)state;
  for (int e = 0; e < EV_COUNT; e++) {
    assert_int_equal(lifecycle_next(ST_STOPPED, (lifecycle_event)e).next, ST_STOPPED);
    assert_int_equal(lifecycle_next(ST_FAILED, (lifecycle_event)e).next, ST_FAILED);
  }
}

static void test_an_unknown_state_or_event_is_refused(void **state) {
  (void)state;
  assert_int_equal(lifecycle_next((instance_status)0, EV_STOP).action, ACT_REFUSE);
  assert_int_equal(lifecycle_next(ST_RUNNING, EV_COUNT).action, ACT_REFUSE);
}

static instance_row sample(instance_status status) {
  instance_row i = {.status = status, .total_replicas = 1, .replica_count = 1, .generation = 1};
  i.replicas[0] = (replica_row){.id = 1, .status = RS_READY, .ready = true, .generation = 1};
  return i;
}

static void test_a_stop_ends_charging_at_that_moment(void **state) {
  (void)state;
  instance_row i = sample(ST_RUNNING);
  assert_int_equal(transition_apply(&i, EV_STOP, TR_USER_REQUESTED, 77), ACT_STOP);
  assert_int_equal(i.status, ST_STOPPING);
  assert_int_equal(i.charge_end_us, 77);
  assert_int_equal(i.stop_requested_at_us, 77);
  assert_false(i.replicas[0].ready);
  assert_int_equal(transition_apply(&i, EV_STOP, TR_ADMIN, 99), ACT_NONE);
  assert_int_equal(i.charge_end_us, 77);
  assert_int_equal(i.reason, TR_USER_REQUESTED);
}

static void test_recovering_starts_the_deadline_anew_but_not_the_count_of_exits(void **state) {
  (void)state;
  instance_row i = sample(ST_RUNNING);
  i.replicas[0].attempt_began_us = 5;
  assert_int_equal(transition_apply(&i, EV_NONE_READY, TR_NONE, 1000), ACT_RECOVER);
  assert_int_equal(i.status, ST_PROVISIONING);
  assert_int_equal(i.startup_began_us, 1000);
  assert_int_equal(i.progress_at_us, 1000);
  assert_int_equal(i.replicas[0].attempt_began_us, 5);
}

static void test_five_ready_minutes_make_a_run_steady(void **state) {
  (void)state;
  replica_row r = {0};
  replica_set_ready(&r, true, 1000);
  replica_set_ready(&r, false, 1000 + SCHED_STEADY_US - 1);
  assert_int_equal(r.steady_at_us, 0);
  replica_set_ready(&r, true, 1000);
  replica_set_ready(&r, false, 1000 + SCHED_STEADY_US);
  assert_int_equal(r.steady_at_us, 1000 + SCHED_STEADY_US);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_every_cell_is_as_written_down),
      cmocka_unit_test(test_stop_is_legal_in_every_state_and_idempotent),
      cmocka_unit_test(test_nothing_leaves_a_terminal_state),
      cmocka_unit_test(test_an_unknown_state_or_event_is_refused),
      cmocka_unit_test(test_a_stop_ends_charging_at_that_moment),
      cmocka_unit_test(test_recovering_starts_the_deadline_anew_but_not_the_count_of_exits),
      cmocka_unit_test(test_five_ready_minutes_make_a_run_steady),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
