// Placement against a brute-force oracle, on generated rooms, and the refusals' words.
#include <stdio.h>
#include <string.h>

#include "cmocka_all.h"
#include "placement.h"

static uint32_t seed = 12345;
static int pick(int n) {
  seed = seed * 1664525u + 1013904223u;
  return (int)((seed >> 8) % (uint32_t)n);
}

static const char *const REGIONS[] = {"a", "b", "c", "d"};
static const char *const TYPES[] = {"t1", "t2", "t3"};
static const int64_t RATES[] = {100, 200, 200};

typedef struct world {
  placement_room rooms[12];
  size_t n;
  const char *wanted[2];
  placement_request request;
} world;

static void generate(world *w) {
  *w = (world){0};
  for (int r = 0; r < 4; r++) {
    bool usable = pick(5) != 0;
    for (int t = 0; t < 3; t++) {
      if (pick(4) != 0) {
        w->rooms[w->n++] =
            (placement_room){REGIONS[r], TYPES[t], usable, t == 2 && pick(3) == 0, pick(6) - 1, RATES[t]};
      }
    }
  }
  w->request = (placement_request){.pinned_region = pick(4) == 0 ? REGIONS[pick(4)] : "",
                                   .gpu_type = pick(2) ? "" : TYPES[pick(3)],
                                   .gpu_count = 1 + pick(3),
                                   .allow_single_region = pick(2) != 0};
  w->request.wanted = w->wanted;
  w->request.wanted_count = (size_t)pick(3);
  for (size_t i = 0; i < w->request.wanted_count; i++) {
    w->wanted[i] = REGIONS[pick(4)];
  }
}

static const placement_room *room_of(const world *w, const char *region, const char *type) {
  for (size_t i = 0; i < w->n; i++) {
    if (!strcmp(w->rooms[i].region, region) && !strcmp(w->rooms[i].gpu_type, type)) {
      return &w->rooms[i];
    }
  }
  return NULL;
}

static bool allowed(const world *w, const char *region) {
  const placement_request *q = &w->request;
  if (*q->pinned_region) {
    return !strcmp(q->pinned_region, region);
  }
  for (size_t i = 0; i < q->wanted_count; i++) {
    if (!strcmp(q->wanted[i], region)) {
      return true;
    }
  }
  return q->wanted_count == 0;
}

static int regions_with_room(const world *w, const char *type) {
  int n = 0;
  for (int r = 0; r < 4; r++) {
    const placement_room *room = room_of(w, REGIONS[r], type);
    n += room && room->usable && !room->retired && room->free >= w->request.gpu_count && allowed(w, REGIONS[r]);
  }
  return n;
}

// What the best answer is: most replicas first (up to what is wanted), then the lowest price.
static int oracle(const world *w, int64_t *rate) {
  int want = *w->request.pinned_region ? 1 : 2;
  int best = 0;
  for (int t = 0; t < 3; t++) {
    if (*w->request.gpu_type && strcmp(w->request.gpu_type, TYPES[t]) != 0) {
      continue;
    }
    int n = regions_with_room(w, TYPES[t]);
    n = n > want ? want : n;
    if (n > best || (n == best && n > 0 && RATES[t] < *rate)) {
      best = n;
      *rate = RATES[t];
    }
  }
  return best == want || (best == 1 && w->request.allow_single_region) ? best : 0;
}

static void test_every_generated_placement_agrees_with_the_oracle(void **state) {
  (void)state;
  int placed = 0;
  int refused = 0;
  for (int i = 0; i < 50000; i++) {
    world w;
    generate(&w);
    placement p;
    eco_status st = placement_decide(&w.request, w.rooms, w.n, &p);
    if (st.code == ECO_INVALID_REQUEST) {
      continue;  // names an unknown region or type: judged below
    }
    int64_t rate = 0;
    int expected = oracle(&w, &rate);
    if (!eco_ok(st)) {
      assert_int_equal(st.code, ECO_INSUFFICIENT_CAPACITY);
      assert_int_equal(expected, 0);
      refused++;
      continue;
    }
    assert_int_equal(p.replica_count, expected);
    assert_int_equal(p.hourly_rate_micros, rate);
    for (size_t k = 0; k < p.replica_count; k++) {
      const placement_room *room = room_of(&w, p.regions[k], p.gpu_type);
      assert_non_null(room);
      assert_true(room->usable && !room->retired && room->free >= w.request.gpu_count && allowed(&w, p.regions[k]));
    }
    if (p.replica_count == 2) {
      assert_string_not_equal(p.regions[0], p.regions[1]);
    }
    placed++;
  }
  assert_true(placed > 5000 && refused > 5000);
}

static void test_a_refusal_says_what_was_short(void **state) {
  (void)state;
  placement_room rooms[] = {{"east", "sim", true, false, 4, 100}, {"west", "sim", true, false, 0, 100}};
  placement_request q = {.pinned_region = "", .gpu_type = "", .gpu_count = 2};
  placement p;
  eco_status st = placement_decide(&q, rooms, 2, &p);
  assert_int_equal(st.code, ECO_INSUFFICIENT_CAPACITY);
  assert_non_null(strstr(st.message, "2 regions"));
  assert_non_null(strstr(st.message, "allow_single_region"));
  q.allow_single_region = true;
  assert_true(eco_ok(placement_decide(&q, rooms, 2, &p)));
  assert_int_equal(p.replica_count, 1);
  assert_string_equal(p.regions[0], "east");
}

static void test_a_model_on_a_filesystem_gets_one_replica_where_it_lies(void **state) {
  (void)state;
  placement_room rooms[] = {{"east", "sim", true, false, 9, 100}, {"west", "sim", true, false, 1, 100}};
  placement_request q = {.pinned_region = "west", .gpu_type = "sim", .gpu_count = 1};
  placement p;
  assert_true(eco_ok(placement_decide(&q, rooms, 2, &p)));
  assert_int_equal(p.replica_count, 1);
  assert_string_equal(p.regions[0], "west");
  const char *wanted[] = {"east"};
  q.wanted = wanted;
  q.wanted_count = 1;
  eco_status st = placement_decide(&q, rooms, 2, &p);
  assert_int_equal(st.code, ECO_INVALID_REQUEST);
  assert_string_equal(st.param, "regions");
}

static void test_unknown_names_are_refused_with_their_field(void **state) {
  (void)state;
  placement_room rooms[] = {{"east", "sim", true, false, 9, 100}};
  const char *wanted[] = {"mars"};
  placement_request q = {.pinned_region = "", .gpu_type = "", .gpu_count = 1, .wanted = wanted, .wanted_count = 1};
  placement p;
  assert_string_equal(placement_decide(&q, rooms, 1, &p).param, "regions");
  q.wanted_count = 0;
  q.gpu_type = "h9000";
  assert_string_equal(placement_decide(&q, rooms, 1, &p).param, "gpu_type");
}

static void test_regions_fill_evenly_the_one_with_most_free_gpus_first(void **state) {
  (void)state;
  placement_room rooms[] = {
      {"a", "sim", true, false, 3, 100}, {"b", "sim", true, false, 5, 100}, {"c", "sim", true, false, 4, 100}};
  placement_request q = {.pinned_region = "", .gpu_type = "", .gpu_count = 1};
  placement p;
  assert_true(eco_ok(placement_decide(&q, rooms, 3, &p)));
  assert_string_equal(p.regions[0], "b");
  assert_string_equal(p.regions[1], "c");
}

static void test_another_region_is_wanted_has_room_and_is_none_of_those_taken(void **state) {
  (void)state;
  placement_room rooms[] = {{"a", "sim", true, false, 9, 100},
                            {"b", "sim", true, false, 9, 100},
                            {"c", "sim", true, true, 2, 100},
                            {"d", "sim", false, false, 9, 100},
                            {"e", "big", true, false, 9, 100}};
  const char *taken[] = {"a", "b"};
  placement_request q = {.pinned_region = "", .gpu_type = "sim", .gpu_count = 2};
  assert_string_equal(placement_other_region(&q, rooms, 5, taken, 2), "c");  // an instance keeps a retired type
  q.gpu_count = 3;
  assert_null(placement_other_region(&q, rooms, 5, taken, 2));
  const char *wanted[] = {"a", "b"};
  q.gpu_count = 1;
  q.wanted = wanted;
  q.wanted_count = 2;
  assert_null(placement_other_region(&q, rooms, 5, taken, 2));
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_every_generated_placement_agrees_with_the_oracle),
      cmocka_unit_test(test_a_refusal_says_what_was_short),
      cmocka_unit_test(test_a_model_on_a_filesystem_gets_one_replica_where_it_lies),
      cmocka_unit_test(test_regions_fill_evenly_the_one_with_most_free_gpus_first),
      cmocka_unit_test(test_another_region_is_wanted_has_room_and_is_none_of_those_taken),
      cmocka_unit_test(test_unknown_names_are_refused_with_their_field),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
