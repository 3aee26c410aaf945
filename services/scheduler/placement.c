// Placement: pure, deterministic, and able to say what was short.
#include "placement.h"

#include <string.h>

static bool is_wanted(const placement_request *r, const char *region) {
  if (*r->pinned_region) {
    return strcmp(r->pinned_region, region) == 0;
  }
  if (r->wanted_count == 0) {
    return true;
  }
  for (size_t i = 0; i < r->wanted_count; i++) {
    if (strcmp(r->wanted[i], region) == 0) {
      return true;
    }
  }
  return false;
}

static bool fits(const placement_request *r, const placement_room *room) {
  return room->usable && !room->retired && room->free >= r->gpu_count && is_wanted(r, room->region);
}

static bool region_known(const placement_room *rooms, size_t n, const char *region) {
  for (size_t i = 0; i < n; i++) {
    if (strcmp(rooms[i].region, region) == 0) {
      return true;
    }
  }
  return false;
}

static bool type_known(const placement_room *rooms, size_t n, const char *type) {
  for (size_t i = 0; i < n; i++) {
    if (strcmp(rooms[i].gpu_type, type) == 0 && !rooms[i].retired) {
      return true;
    }
  }
  return false;
}

// More free GPUs first, so that regions fill evenly; then by name.
static bool is_better(const placement_room *a, const placement_room *b) {
  return a->free != b->free ? a->free > b->free : strcmp(a->region, b->region) < 0;
}

// The best `want` rooms of one type ((region, type) pairs are unique in the input: its rooms are in distinct regions).
// Returns how many. One walk: a region may have thousands of nodes, an installation thousands of rooms.
static size_t best_rooms(const placement_request *r, const placement_room *rooms, size_t n, const char *type,
                         size_t want, const placement_room *best[SCHED_REPLICAS_MAX]) {
  size_t found = 0;
  for (size_t i = 0; i < n; i++) {
    const placement_room *room = &rooms[i];
    if (strcmp(room->gpu_type, type) != 0 || !fits(r, room)) {
      continue;
    }
    size_t at = found;
    for (; at > 0 && is_better(room, best[at - 1]); at--) {
      if (at < want) {
        best[at] = best[at - 1];
      }
    }
    if (at < want) {
      best[at] = room;
      found += found < want ? 1 : 0;
    }
  }
  return found;
}

// Whether the type of rooms[at] was met before it.
static bool is_repeated(const placement_room *rooms, size_t at) {
  for (size_t i = 0; i < at; i++) {
    if (strcmp(rooms[i].gpu_type, rooms[at].gpu_type) == 0) {
      return true;
    }
  }
  return false;
}

static eco_status check_names(const placement_request *r, const placement_room *rooms, size_t n) {
  for (size_t i = 0; i < r->wanted_count; i++) {
    if (!region_known(rooms, n, r->wanted[i])) {
      return eco_error_param(ECO_INVALID_REQUEST, "regions", "There is no region \"%s\"; GET /regions lists them.",
                             r->wanted[i]);
    }
  }
  if (*r->gpu_type && !type_known(rooms, n, r->gpu_type)) {
    return eco_error_param(ECO_INVALID_REQUEST, "gpu_type",
                           "There is no GPU type \"%s\" on offer; GET /gpu-types lists them.", r->gpu_type);
  }
  if (*r->pinned_region && r->wanted_count > 0) {
    bool named = false;
    for (size_t i = 0; i < r->wanted_count; i++) {
      named = named || strcmp(r->wanted[i], r->pinned_region) == 0;
    }
    if (!named) {
      return eco_error_param(ECO_INVALID_REQUEST, "regions",
                             "The model lies on a shared filesystem in region \"%s\": it can run only there.",
                             r->pinned_region);
    }
  }
  return eco_success();
}

static eco_status refuse(const placement_request *r, size_t want, size_t best, const char *best_type) {
  const char *type = *r->gpu_type ? r->gpu_type : "any type";
  if (*r->pinned_region) {
    return eco_error(
        ECO_INSUFFICIENT_CAPACITY,
        "Region \"%s\", where the model's filesystem lies, has no room for %d GPU(s) of %s. Try later or with "
        "fewer GPUs.",
        r->pinned_region, r->gpu_count, type);
  }
  if (best == 1) {
    return eco_error(
        ECO_INSUFFICIENT_CAPACITY,
        "%zu regions with %d free GPU(s) of %s each are needed, only 1 has room. Try later, allow more regions, "
        "or set allow_single_region.",
        want, r->gpu_count, best_type ? best_type : type);
  }
  return eco_error(ECO_INSUFFICIENT_CAPACITY,
                   "No%s region has %d free GPU(s) of %s. Try later, or with fewer or other GPUs.",
                   r->wanted_count ? " wanted" : "", r->gpu_count, type);
}

eco_status placement_decide(const placement_request *r, const placement_room *rooms, size_t n, placement *out) {
  ECO_TRY(check_names(r, rooms, n));
  size_t want = *r->pinned_region ? 1 : 2;
  const placement_room *chosen[SCHED_REPLICAS_MAX] = {NULL, NULL};
  size_t chosen_count = 0;
  for (size_t i = 0; i < n; i++) {
    bool other = *r->gpu_type && strcmp(rooms[i].gpu_type, r->gpu_type) != 0;
    if (other || is_repeated(rooms, i)) {
      continue;
    }
    const placement_room *best[SCHED_REPLICAS_MAX] = {NULL, NULL};
    size_t found = best_rooms(r, rooms, n, rooms[i].gpu_type, want, best);
    if (found == 0 || found < chosen_count) {
      continue;
    }
    bool cheaper = chosen_count == 0 || best[0]->hourly_rate_micros < chosen[0]->hourly_rate_micros ||
                   (best[0]->hourly_rate_micros == chosen[0]->hourly_rate_micros &&
                    strcmp(best[0]->gpu_type, chosen[0]->gpu_type) < 0);
    if (found > chosen_count || cheaper) {
      chosen_count = found;
      memcpy(chosen, best, sizeof(chosen));
    }
  }
  if (chosen_count < want && !(chosen_count == 1 && r->allow_single_region)) {
    return refuse(r, want, chosen_count, chosen_count ? chosen[0]->gpu_type : NULL);
  }
  *out = (placement){.gpu_type = chosen[0]->gpu_type,
                     .hourly_rate_micros = chosen[0]->hourly_rate_micros,
                     .replica_count = chosen_count};
  for (size_t i = 0; i < chosen_count; i++) {
    out->regions[i] = chosen[i]->region;
  }
  return eco_success();
}

const char *placement_other_region(const placement_request *r, const placement_room *rooms, size_t n,
                                   const char *const *taken, size_t taken_count) {
  const placement_room *pick = NULL;
  for (size_t i = 0; i < n; i++) {
    placement_room room = rooms[i];
    room.retired = false;  // an instance keeps its type
    bool is_taken = false;
    for (size_t k = 0; k < taken_count; k++) {
      is_taken = is_taken || strcmp(taken[k], room.region) == 0;
    }
    if (!is_taken && strcmp(room.gpu_type, r->gpu_type) == 0 && fits(r, &room) &&
        (!pick || is_better(&rooms[i], pick))) {
      pick = &rooms[i];
    }
  }
  return pick ? pick->region : NULL;
}
