// The engine behind the proxy: reads each request to its end and answers at once, after a delay, or with an event
// stream. It checks what it reads: anything malformed counts as an error.
//
// A stream is a role chunk at once, then `deltas` content chunks every `interval_ns`, then usage and [DONE]. Each
// content chunk says when it was sent: ..."t":"<CLOCK_MONOTONIC ns, 20 digits>"}.
#ifndef RIG_BACKEND_H
#define RIG_BACKEND_H

#include "loop.h"

typedef enum rig_answer { RIG_ANSWER_FAST, RIG_ANSWER_DELAYED, RIG_ANSWER_STREAM } rig_answer;

typedef struct rig_backend_options {
  rig_answer answer;
  uint64_t delay_ns;     // before the answer
  uint64_t interval_ns;  // between deltas
  unsigned deltas;
} rig_backend_options;

typedef struct rig_backend rig_backend;

rig_backend *rig_backend_new(rig_loop *loop, const struct sockaddr_in *at, const rig_backend_options *options);
// Answers what is due. Called once a turn; returns when it wants to be called next.
uint64_t rig_backend_turn(rig_backend *b);
size_t rig_backend_body_len(void);  // of the plain answer
uint64_t rig_backend_errors(const rig_backend *b);
uint64_t rig_backend_connections(const rig_backend *b);  // accepted so far

#endif
