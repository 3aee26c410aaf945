// The meter's rules on generated histories, against a per-second oracle of what was true and what could be seen.
#include <string.h>

#include "cmocka_all.h"
#include "meter.h"
#include "scheduler_limits.h"

enum { SECONDS = 400, INTERVALS_MAX = SECONDS };
static const int64_t US = 1000000;
static uint32_t seed = 99;
static int pick(int n) {
  seed = seed * 1664525u + 1013904223u;
  return (int)((seed >> 8) % (uint32_t)n);
}

// One generated history: which run lives and whether it is Ready, second by second; when the observer looks; where it
// has gaps.
typedef struct history {
  int run[SECONDS];
  bool ready[SECONDS];
  bool looks[SECONDS];
  bool gap[SECONDS];  // the observer is another one from here on
  int stop;           // charging ends here; SECONDS: never
} history;

typedef struct interval {
  int64_t from, to;
  int run;
} interval;

static void generate(history *h) {
  int run = 1;
  bool ready = false;
  bool down = false;
  for (int s = 0; s < SECONDS; s++) {
    if (pick(25) == 0) {
      run++;
      ready = false;
    }
    if (pick(8) == 0) {
      ready = !ready;
    }
    if (pick(40) == 0) {
      down = !down;
    }
    h->run[s] = run;
    h->ready[s] = ready;
    h->looks[s] = !down && pick(3) != 0;
    h->gap[s] = down || pick(60) == 0;
  }
  h->stop = pick(3) == 0 ? pick(SECONDS) : SECONDS;
}

typedef struct observer {
  bool open, confirmed;
  int run;
  int64_t started, last_ready, watermark;
  interval done[INTERVALS_MAX];
  int count;
} observer;

static void look(observer *o, const history *h, int s) {
  int64_t now = s * US + US / 2;
  bool same = o->open && h->run[s] == o->run;
  meter_input in = {.started_us = o->open ? o->started : 0,
                    .confirmed = o->confirmed,
                    .evidence = !o->open || same ? (h->ready[s] ? METER_READY : METER_NOT_READY) : METER_ENDED,
                    .seen_us = now,
                    .last_ready_us = o->last_ready,
                    .watermark_us = o->watermark,
                    .charge_end_us = s >= h->stop ? h->stop * US + US / 4 : 0,
                    .now_us = now};
  meter_step step = meter_judge(&in);
  switch (step.verdict) {
    case METER_BEGIN:
      o->open = o->confirmed = true;
      o->run = h->run[s];
      o->started = step.at_us;
      o->last_ready = now;
      break;
    case METER_GO_ON:
      o->confirmed = true;
      o->last_ready = now;
      break;
    case METER_END:
      assert_true(step.at_us >= o->started);
      assert_true(step.at_us <= now);
      o->done[o->count++] = (interval){o->started, step.at_us, o->run};
      o->open = o->confirmed = false;
      o->last_ready = 0;
      break;
    case METER_WAIT:
      return;
    case METER_NOTHING:
      break;
  }
  o->watermark = now;
}

// Charged time must have been seen Ready at its two ends, in one run, without the observer having changed in between
// except where the same run was Ready again; and it never lies behind the stop.
static void check_interval(const history *h, const interval *v) {
  int from = (int)(v->from / US);
  int to = (int)(v->to / US);
  assert_true(h->ready[from] && h->looks[from] && h->run[from] == v->run);
  for (int s = from; s <= to && s < SECONDS; s++) {
    if (h->looks[s] && s * US + US / 2 <= v->to && s < h->stop) {
      // no look inside it, up to its end, saw anything but this run Ready
      assert_int_equal(h->run[s], v->run);
      assert_true(h->ready[s]);
    }
  }
  assert_true(v->to <= h->stop * US + US / 4 || h->stop == SECONDS);
}

static void test_no_generated_history_charges_what_was_not_seen(void **state) {
  (void)state;
  int64_t charged = 0;
  for (int round = 0; round < 3000; round++) {
    history h;
    generate(&h);
    observer o = {0};
    for (int s = 0; s < SECONDS; s++) {
      if (h.gap[s]) {
        o.confirmed = false;
        o.last_ready = 0;
      }
      if (h.looks[s]) {
        look(&o, &h, s);
      }
    }
    for (int i = 0; i < o.count; i++) {
      check_interval(&h, &o.done[i]);
      charged += o.done[i].to - o.done[i].from;
      assert_true(i == 0 || o.done[i].from >= o.done[i - 1].to);  // never twice at one instant
    }
  }
  assert_true(charged > 1000 * US);
}

// Looked at every second without a gap, the meter must find nearly all Ready time: it is no excuse to charge nothing.
static void test_an_observer_that_never_blinks_misses_at_most_a_second_an_interval(void **state) {
  (void)state;
  for (int round = 0; round < 1000; round++) {
    history h;
    generate(&h);
    h.stop = SECONDS;
    observer o = {0};
    int truth = 0;
    int stretches = 0;
    for (int s = 0; s < SECONDS; s++) {
      h.looks[s] = true;
      truth += h.ready[s];
      stretches += h.ready[s] && (s == 0 || !h.ready[s - 1] || h.run[s] != h.run[s - 1]);
      look(&o, &h, s);
    }
    int64_t sum = o.open ? o.watermark - o.started : 0;
    for (int i = 0; i < o.count; i++) {
      sum += o.done[i].to - o.done[i].from;
    }
    assert_true(sum <= truth * US);
    assert_true(sum >= (truth - 2 * stretches) * US);
  }
}

static void test_a_run_seen_ready_after_the_stop_request_is_charged_to_its_very_moment(void **state) {
  (void)state;
  meter_input in = {.started_us = 10,
                    .confirmed = true,
                    .evidence = METER_READY,
                    .seen_us = 120,
                    .charge_end_us = 100,
                    .now_us = 130};
  meter_step step = meter_judge(&in);
  assert_int_equal(step.verdict, METER_END);
  assert_int_equal(step.at_us, 100);
  in.seen_us = 90;  // looked before the request: proves nothing about it yet
  assert_int_equal(meter_judge(&in).verdict, METER_GO_ON);
}

// The clock was set back after the request: waiting until it says again what it said then could take hours.
static void test_a_stop_does_not_wait_for_a_clock_that_was_set_back(void **state) {
  (void)state;
  const int64_t stop = 5000 * US;
  meter_input in = {.started_us = 10 * US,
                    .confirmed = true,
                    .evidence = METER_READY,
                    .last_ready_us = stop - US / 2,
                    .watermark_us = stop - US,
                    .charge_end_us = stop,
                    .seen_us = stop - 45 * US,
                    .now_us = stop - 45 * US};
  assert_int_equal(meter_judge(&in).verdict, METER_END);
  assert_int_equal(meter_judge(&in).at_us, stop - US / 2);
  in.last_ready_us = stop - 45 * US;
  assert_int_equal(meter_judge(&in).at_us, stop - US);
  in.last_ready_us = stop + US;
  assert_int_equal(meter_judge(&in).at_us, stop);
  in.seen_us = in.now_us = stop - US;  // as two machines' clocks may differ
  assert_int_equal(meter_judge(&in).verdict, METER_GO_ON);
}

static void test_after_a_gap_an_interval_ends_at_the_last_watermark(void **state) {
  (void)state;
  meter_input in = {.started_us = 10, .evidence = METER_ENDED, .exit_us = 180, .watermark_us = 50, .now_us = 200};
  assert_int_equal(meter_judge(&in).at_us, 50);
  in.evidence = METER_READY;
  assert_int_equal(meter_judge(&in).verdict, METER_GO_ON);
}

static void test_a_nodes_clock_is_clamped_between_watermark_and_now(void **state) {
  (void)state;
  meter_input in = {
      .started_us = 10, .confirmed = true, .evidence = METER_ENDED, .exit_us = 20, .watermark_us = 50, .now_us = 200};
  assert_int_equal(meter_judge(&in).at_us, 50);
  in.exit_us = 900;
  assert_int_equal(meter_judge(&in).at_us, 200);
  in.exit_us = 120;
  assert_int_equal(meter_judge(&in).at_us, 120);
}

// A clock that was set back stands before the watermark: billing may have charged up to that already.
static void test_no_interval_begins_or_ends_before_the_watermark_whatever_the_clock_does(void **state) {
  (void)state;
  int back = 0;
  int stopped_back = 0;
  const int64_t tick = US / 100;  // ten seconds in all, so that clocks differ by more and by less than is allowed
  for (int round = 0; round < 200000; round++) {
    int64_t now = (1 + pick(1000)) * tick;
    meter_input in = {.started_us = pick(3) ? (1 + pick(1000)) * tick : 0,
                      .confirmed = pick(2) == 0,
                      .evidence = (meter_evidence)pick(METER_ENDED + 1),
                      .seen_us = now,
                      .exit_us = pick(1000) * tick,
                      .last_ready_us = pick(1000) * tick,
                      .watermark_us = pick(1000) * tick,
                      .now_us = now};
    if (in.started_us && pick(2)) {
      in.charge_end_us = in.watermark_us + pick(1000) * tick;  // never less: transition_keep_proved
    }
    meter_step step = meter_judge(&in);
    back += now < in.watermark_us;
    if (step.verdict == METER_BEGIN || step.verdict == METER_END) {
      assert_true(step.at_us >= in.watermark_us);
    }
    if (step.verdict == METER_BEGIN) {
      assert_true(step.at_us == now || step.at_us == in.watermark_us);
    }
    if (step.verdict == METER_END && in.charge_end_us > in.started_us) {
      assert_true(step.at_us <= in.charge_end_us);
    }
    if (in.charge_end_us && now + SCHED_NODE_CLOCK_US < in.charge_end_us && in.evidence == METER_READY) {
      assert_int_equal(step.verdict, METER_END);
      stopped_back++;
    }
  }
  assert_true(back > 1000);
  assert_true(stopped_back > 1000);
}

static void test_doubt_stops_the_watermark_and_nothing_begins_after_the_end_of_charging(void **state) {
  (void)state;
  meter_input in = {.started_us = 10, .confirmed = true, .evidence = METER_DOUBT, .now_us = 200};
  assert_int_equal(meter_judge(&in).verdict, METER_WAIT);
  meter_input late = {.evidence = METER_READY, .charge_end_us = 100, .seen_us = 50, .now_us = 120};
  assert_int_equal(meter_judge(&late).verdict, METER_NOTHING);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_no_generated_history_charges_what_was_not_seen),
      cmocka_unit_test(test_an_observer_that_never_blinks_misses_at_most_a_second_an_interval),
      cmocka_unit_test(test_a_run_seen_ready_after_the_stop_request_is_charged_to_its_very_moment),
      cmocka_unit_test(test_a_stop_does_not_wait_for_a_clock_that_was_set_back),
      cmocka_unit_test(test_after_a_gap_an_interval_ends_at_the_last_watermark),
      cmocka_unit_test(test_a_nodes_clock_is_clamped_between_watermark_and_now),
      cmocka_unit_test(test_no_interval_begins_or_ends_before_the_watermark_whatever_the_clock_does),
      cmocka_unit_test(test_doubt_stops_the_watermark_and_nothing_begins_after_the_end_of_charging),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
