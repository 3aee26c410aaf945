// What a region's thread remembers of each replica there from pass to pass, and whose turn it is in the next one.
//
//   rows: key, version ────┐
//   what the driver sees ──┼──▶ roster_turn_of: judged again when its row or what is seen of it differs from when it
//   what is remembered ────┘    was judged last, or when its time has come
//
// Differences are found by comparing with what is there, never by being told: a lost notification costs nothing. A
// forgotten roster (a new term of the lease, a gap) makes it everybody's turn. Pure but for malloc; one thread's.
#ifndef SCHEDULER_ROSTER_H
#define SCHEDULER_ROSTER_H

#include "reconcile_rules.h"

// A replica that belongs to the region and is not gone, as its rows say.
typedef struct roster_key {
  int64_t instance_id;
  int replica_id;
  int64_t version;  // of the instance's row
} roster_key;

typedef struct roster_entry {
  int64_t instance_id;
  int replica_id;
  int64_t version;  // of the row when it was judged last; 0: never
  uint64_t seen;    // roster_digest of what was seen of it then
  int64_t due_ms;   // boot time from which on it is judged in any case; 0: something is pending
  replica_memory memory;
} roster_entry;

// Zeroed: empty.
typedef struct roster {
  roster_entry *list;  // sorted by (instance, replica)
  size_t count;
} roster;

// The order of keys, entries and observations.
int roster_compare(int64_t a_instance, int a_replica, int64_t b_instance, int b_replica);
// Exactly these from now on (sorted), in their order: who is remembered stays as it is, others are new. False: no
// memory.
bool roster_follow(roster *r, const roster_key *keys, size_t n);
// NULL: unknown. Borrowed until roster_follow or roster_free.
roster_entry *roster_find(const roster *r, int64_t instance_id, int replica_id);
// Of everything that an observation tells; NULL (nothing is seen) has one of its own.
uint64_t roster_digest(const replica_observation *seen);
typedef enum roster_turn {
  ROSTER_WAITS,
  ROSTER_DUE,  // only its time has come: who has news goes first
  ROSTER_NOW,
} roster_turn;
roster_turn roster_turn_of(const roster_entry *e, int64_t version, uint64_t seen, int64_t now_ms);
// The earliest due_ms; INT64_MAX when there is none.
int64_t roster_next_ms(const roster *r);
void roster_free(roster *r);

#endif
