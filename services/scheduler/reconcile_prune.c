// What exists in a region without a row: left over by a crash, or moved away.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ecolink/crash.h"
#include "ecolink/log.h"
#include "reconcile_internal.h"

static int compare_keys(const void *a, const void *b) {
  const roster_key *x = a;
  const roster_key *y = b;
  return roster_compare(x->instance_id, x->replica_id, y->instance_id, y->replica_id);
}

static bool has_row(const pass *p, const replica_observation *seen) {
  roster_key key = {.instance_id = seen->instance_id, .replica_id = seen->replica_id};
  return p->key_count && bsearch(&key, p->keys, p->key_count, sizeof(key), compare_keys);
}

// Writes what an operator should know, when it changed. It takes a confirmation away once there is nothing to confirm.
static void note_region(pass *p, const char *trouble) {
  if (strcmp(trouble, p->trouble) == 0) {
    return;
  }
  eco_tx *tx = NULL;
  eco_status st = eco_tx_begin(p->ctx->db, &tx);
  if (eco_ok(st)) {
    st = store_region_trouble(tx, p->region->name, trouble);
    if (eco_ok(st)) {
      st = eco_tx_commit(tx);
    } else {
      eco_tx_rollback(tx);
    }
  }
  if (!eco_ok(st)) {
    eco_log(ECO_LOG_WARN, "a region's trouble could not be written down", ECO_F_STR("region", p->region->name),
            ECO_F_STATUS(st));
  }
}

void pass_prune(pass *p) {
  int orphans = 0;
  int64_t highest_seen = 0;
  bool *orphan = eco_alloc_array(p->ctx->arena, p->seen.count + 1, sizeof(*orphan));
  for (size_t s = 0; s < p->seen.count; s++) {
    const replica_observation *seen = &p->seen.list[s];
    orphan[s] = !has_row(p, seen);
    if (seen->phase == REPLICA_STOPPING) {
      continue;  // on its way out already: nothing more is decided about it
    }
    highest_seen = seen->instance_id > highest_seen ? seen->instance_id : highest_seen;
    orphans += orphan[s] ? 1 : 0;
  }
  bool allowed = prune_allowed(orphans, (int)p->seen.count, highest_seen, p->highest_id) || p->prune_confirmed;
  char trouble[ECO_STATUS_MESSAGE_MAX] = "";
  if (!allowed) {
    snprintf(trouble, sizeof(trouble),
             "%d of %zu objects have no row (highest id seen %lld, known %lld): nothing is removed before an operator "
             "confirms it",
             orphans, p->seen.count, (long long)highest_seen, (long long)p->highest_id);
  }
  note_region(p, trouble);
  if (!allowed && !p->region->prune_refused) {
    eco_log(ECO_LOG_ERROR,
            "region holds too many objects without a row, or newer ones than the database knows: nothing is removed",
            ECO_F_STR("region", p->region->name), ECO_F_I64("objects", orphans),
            ECO_F_I64("highest_seen", highest_seen), ECO_F_I64("highest_known", p->highest_id));
  }
  p->region->prune_refused = !allowed;
  p->leaves_out = orphans > 0 && allowed;
  for (size_t s = 0; allowed && s < p->seen.count; s++) {
    const replica_observation *seen = &p->seen.list[s];
    if (orphan[s]) {
      eco_status st = p->driver->ops->remove(p->driver, p->region->name, seen->instance_id, seen->replica_id, 0);
      ECO_CRASH_POINT("scheduler.prune.removed");
      eco_log(ECO_LOG_WARN, "object without a row removed", ECO_F_STR("region", p->region->name),
              ECO_F_I64("instance", seen->instance_id), ECO_F_I64("replica", seen->replica_id), ECO_F_STATUS(st));
    }
  }
}
