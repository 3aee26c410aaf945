// When an instance is judged again, and which replicas are asked again.
#include <stdio.h>
#include <string.h>

#include "cmocka_all.h"
#include "pace.h"

#define SET(field, text) (void)snprintf(field, sizeof(field), "%s", text)

typedef struct scene {
  instance_row inst;
  replica_facts facts[SCHED_REPLICAS_MAX];
  reconcile_plan plan;
} scene;

// One replica here, Ready, answered a second ago; another one elsewhere, Ready too.
static scene settled(void) {
  scene s = {
      .inst = {
          .id = 142, .version = 9, .status = ST_RUNNING, .generation = 1, .total_replicas = 2, .replica_count = 2}};
  for (int i = 0; i < 2; i++) {
    s.inst.replicas[i] = (replica_row){.id = i + 1, .generation = 1, .rolled = 1, .ready = true, .port = 8000};
  }
  SET(s.inst.replicas[0].run_id, "run");
  SET(s.inst.replicas[0].host, "10.0.0.1");
  replica_facts *f = &s.facts[0];
  f->here = true;
  f->probe = PROBE_OK;
  f->seen = (replica_observation){
      .generation = 1, .phase = REPLICA_ALIVE, .port = 8000, .need = DRIVER_NEEDS_NOTHING, .ready_since_us = 77};
  SET(f->seen.run_id, "run");
  SET(f->seen.host, "10.0.0.1");
  f->memory = (replica_memory){.answered_ms = 1000000, .answered_version = 9, .answered_ready_us = 77};
  return s;
}

static pace pace_after(const scene *s) {
  return pace_of(&s->inst, s->facts, &s->plan);
}

static bool trusted(const scene *s, int64_t now_ms) {
  return pace_trusts(&s->inst, &s->inst.replicas[0], &s->facts[0].seen, &s->facts[0].memory, now_ms);
}

static void test_a_settled_instance_is_quiet(void **state) {
  (void)state;
  scene s = settled();
  assert_int_equal(pace_after(&s), PACE_QUIET);
}

static int64_t due_after(const scene *s, int64_t now_ms) {
  return pace_due_ms(&s->inst, s->facts, &s->plan, now_ms);
}

static void test_whats_pending_is_judged_soon(void **state) {
  (void)state;
  scene s = settled();
  s.plan.undecided = true;
  assert_int_equal(due_after(&s, 1000001), 0);
  s = settled();
  s.inst.replicas[1].ready = false;
  assert_int_equal(due_after(&s, 1000001), 1000001 + PACE_WAITING_MS);
}

static void test_a_settled_instance_is_judged_when_its_answer_is_old(void **state) {
  (void)state;
  scene s = settled();
  int64_t due_ms = due_after(&s, 1000001);
  assert_true(trusted(&s, due_ms - PACE_QUIET_MS - 1));  // gathered with others, but no later than that
  assert_false(trusted(&s, due_ms));
  assert_true(due_ms <= 1000001 + PACE_ASK_MS + PACE_QUIET_MS);
  assert_int_equal(due_ms % PACE_QUIET_MS, 0);
  s.facts[0].memory.answered_ms = 1000;  // long ago: it was not asked for want of something
  assert_true(due_after(&s, 1000001) > 1000001);
  s = settled();
  s.facts[0].seen.ready_since_us = 0;
  assert_true(due_after(&s, 1000001) <= 1000001 + PACE_QUIET_MS);
}

static void test_whatever_is_pending_keeps_the_pace_up(void **state) {
  (void)state;
  scene s = settled();
  s.plan.actions[0] = DO_APPLY;
  assert_int_equal(pace_after(&s), PACE_BUSY);
  s = settled();
  s.plan.undecided = true;
  assert_int_equal(pace_after(&s), PACE_BUSY);
  s = settled();
  s.facts[0].memory.failures = 1;
  assert_int_equal(pace_after(&s), PACE_BUSY);
  s = settled();
  s.facts[0].seen.need = DRIVER_NEEDS_APPLY;
  assert_int_equal(pace_after(&s), PACE_BUSY);
  s = settled();
  SET(s.facts[0].memory.trouble, "refused");
  assert_int_equal(pace_after(&s), PACE_BUSY);
  s = settled();
  s.inst.replicas[0].ready = false;
  assert_int_equal(pace_after(&s), PACE_BUSY);
  s = settled();
  s.inst.generation = 2;  // a restart is under way
  assert_int_equal(pace_after(&s), PACE_BUSY);
  s = settled();
  s.inst.status = ST_STOPPING;
  assert_int_equal(pace_after(&s), PACE_BUSY);
  s = settled();
  s.facts[0].seen.phase = REPLICA_ABSENT;
  s.facts[0].probe = PROBE_NONE;
  assert_int_equal(pace_after(&s), PACE_BUSY);
}

static void test_a_starting_replica_waits_for_its_cluster(void **state) {
  (void)state;
  scene s = settled();
  s.facts[0].seen.phase = REPLICA_STARTING;
  s.facts[0].probe = PROBE_NONE;
  s.inst.replicas[0].ready = false;
  assert_int_equal(pace_after(&s), PACE_WAITING);
  s = settled();
  s.inst.replicas[1].ready = false;  // elsewhere: the instance's deadlines run
  assert_int_equal(pace_after(&s), PACE_WAITING);
  s.inst.replicas[1].gone = true;
  s.facts[0].seen.phase = REPLICA_EXITED;
  s.facts[0].probe = PROBE_NONE;
  assert_int_equal(pace_after(&s), PACE_WAITING);
}

static void test_a_good_answer_is_believed_for_a_while(void **state) {
  (void)state;
  scene s = settled();
  assert_true(trusted(&s, 1000000));
  assert_true(trusted(&s, 1000000 + PACE_ASK_MS * 3 / 4 - 1));
  assert_false(trusted(&s, 1000000 + PACE_ASK_MS));
}

// Of what held when it was asked one thing is different; from CIRCUMSTANCES on nothing.
enum { CIRCUMSTANCES = 5 };
static void change_circumstance(scene *s, int which) {
  replica_observation *seen = &s->facts[0].seen;
  s->inst.version += which == 0;  // health's verdict is such a change
  seen->ready_since_us += which == 1;
  SET(seen->run_id, which == 2 ? "other" : "run");
  SET(seen->host, which == 3 ? "10.0.0.2" : "10.0.0.1");
  seen->port += which == 4;
}

static void test_a_good_answer_is_void_once_anything_changes(void **state) {
  (void)state;
  for (int change = 0; change < CIRCUMSTANCES + 4; change++) {
    scene s = settled();
    change_circumstance(&s, change);
    switch (change) {
      case CIRCUMSTANCES:
        s.facts[0].memory.failures = 1;
        break;
      case CIRCUMSTANCES + 1:
        s.inst.replicas[0].ready = false;
        break;
      case CIRCUMSTANCES + 2:
        s.facts[0].seen.phase = REPLICA_STARTING;
        break;
      case CIRCUMSTANCES + 3:
        s.facts[0].memory.answered_ms = 0;
        break;
      default:
        break;
    }
    assert_false(trusted(&s, 1000001));
  }
}

static bool spared(const scene *s, int64_t now_ms) {
  return pace_spares(&s->inst, &s->inst.replicas[0], &s->facts[0].seen, &s->facts[0].memory, now_ms);
}

// Its node calls it Ready, we got no answer a moment ago.
static scene silent(void) {
  scene s = settled();
  s.inst.replicas[0].ready = false;
  s.facts[0].memory.failures = 3;
  s.facts[0].memory.answered_ms = 0;
  s.facts[0].memory.silent_ms = 1000000;
  return s;
}

static void test_a_silent_replica_is_left_alone_for_a_while(void **state) {
  (void)state;
  scene s = silent();
  assert_true(spared(&s, 1000000));
  assert_true(spared(&s, 1000000 + PACE_SILENT_MS - 1));
  assert_false(spared(&s, 1000000 + PACE_SILENT_MS));
  assert_int_equal(due_after(&s, 1000001), 0);  // it is looked at all the same
}

static void test_a_silent_replica_is_asked_once_anything_changes(void **state) {
  (void)state;
  for (int change = 0; change < CIRCUMSTANCES + 3; change++) {
    scene s = silent();
    change_circumstance(&s, change);
    switch (change) {
      case CIRCUMSTANCES:
        s.facts[0].memory.silent_ms = 0;  // it answered, if only with an error
        break;
      case CIRCUMSTANCES + 1:
        s.inst.replicas[0].interval_started_us = 5;  // its uptime is to be decided
        break;
      case CIRCUMSTANCES + 2:
        s.inst.replicas[0].ready = true;  // to be given up soon, if it is hung
        break;
      default:
        break;
    }
    assert_false(spared(&s, 1000001));
  }
}

static void test_a_driver_that_does_not_judge_is_asked_each_time(void **state) {
  (void)state;
  scene s = settled();
  s.facts[0].seen.ready_since_us = s.facts[0].memory.answered_ready_us = 0;
  assert_false(trusted(&s, 1000001));
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_a_settled_instance_is_quiet),
      cmocka_unit_test(test_whats_pending_is_judged_soon),
      cmocka_unit_test(test_a_settled_instance_is_judged_when_its_answer_is_old),
      cmocka_unit_test(test_whatever_is_pending_keeps_the_pace_up),
      cmocka_unit_test(test_a_starting_replica_waits_for_its_cluster),
      cmocka_unit_test(test_a_good_answer_is_believed_for_a_while),
      cmocka_unit_test(test_a_good_answer_is_void_once_anything_changes),
      cmocka_unit_test(test_a_silent_replica_is_left_alone_for_a_while),
      cmocka_unit_test(test_a_silent_replica_is_asked_once_anything_changes),
      cmocka_unit_test(test_a_driver_that_does_not_judge_is_asked_each_time),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
