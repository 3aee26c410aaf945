// The clients: connections to one address that send a corpus' requests, one at a time each, and check every answer.
//
// Closed loop: a connection sends its next request as soon as it has its answer. Open loop: requests are due at a fixed
// rate, whatever became of the earlier ones; one that finds no free connection waits, and its latency counts from the
// moment it was due.
#ifndef RIG_LOAD_H
#define RIG_LOAD_H

#include "corpus.h"
#include "hist.h"
#include "loop.h"

typedef struct rig_load_options {
  struct sockaddr_in target;
  unsigned connections;
  double rate;        // requests a second; 0: closed loop
  uint64_t ramp_ns;   // connections are opened evenly over this time
  size_t body_len;    // of the answers that are expected; 0: any that is not empty
  bool refused;       // expected are 401 and 429
  bool busy_too;      // 503 is a right answer, too
  bool once;          // one request per connection, then silence
  unsigned deltas;    // event streams of so many content chunks; 0: plain answers
  uint64_t first_ns;  // when a stream's first content is due after its request
  size_t pace_bytes;  // slow uploads: so many bytes ...
  uint64_t pace_ns;   // ... each time this has passed; 0: as fast as they go
} rig_load_options;

typedef struct rig_stats {
  uint64_t done;
  uint64_t busy;  // of them, answered 503
  uint64_t errors;
  uint64_t events;
  rig_hist latency;  // of requests; of streams to their end
  rig_hist delay;    // of content events, from their sending
  rig_hist first;    // first content: beyond the time when it was due
} rig_stats;

typedef struct rig_load rig_load;

rig_load *rig_load_new(rig_loop *loop, const rig_corpus *corpus, const rig_load_options *options);
// Opens connections, sends what is due. Called once a turn; returns when it wants to be called next.
uint64_t rig_load_turn(rig_load *l);
rig_stats *rig_load_stats(rig_load *l);
void rig_load_close(rig_load *l);                 // ends every connection; no turn may follow
void rig_load_clear(rig_load *l);                 // the stats, after warming up
unsigned rig_load_open(const rig_load *l);        // connections that are established
uint64_t rig_load_late(const rig_load *l);        // open loop: requests that are due and not sent
const char *rig_load_trouble(const rig_load *l);  // the first error in words; NULL: none

#endif
