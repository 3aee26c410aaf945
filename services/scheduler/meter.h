// The meter's rules: when a Ready interval begins, goes on and ends, and what the evidence proves. Pure.
//
//   An interval is open from the first proof of Ready on. Each later pass either proves it up to the moment of its
//   observation, or ends it, or is in doubt; while any interval is in doubt the region's watermark stands still, so
//   that no interval ever begins or ends before a watermark that billing may have charged up to, even if the clock was
//   set back behind it.
//
//   A stop request ends it at its very moment, once something was seen later than that; where the clock was set back
//   behind the request meanwhile, at the last moment that was proved.
//
//        started          watermark      last proof      now
//   ───────┼═════════════════╪══════════════┼──────────────┼──▶   live end: clamped into [watermark, now]
//                            └ after a gap without the same run Ready: the interval ended here
#ifndef SCHEDULER_METER_H
#define SCHEDULER_METER_H

#include <stdbool.h>
#include <stdint.h>

typedef enum meter_evidence {
  METER_READY,      // this very run answered as Ready after `seen_us`
  METER_DOUBT,      // this run is there, but its last probe failed; not yet given up
  METER_NOT_READY,  // this run is there and is not Ready
  METER_ENDED,      // this run is not there any more (or another is)
} meter_evidence;

typedef struct meter_input {
  int64_t started_us;  // the open interval's start; 0: none is open
  bool confirmed;      // the same observer proved this interval before, without a gap since
  meter_evidence evidence;
  int64_t seen_us;        // when the observation began
  int64_t exit_us;        // when the node says the run ended; 0: unknown
  int64_t last_ready_us;  // last proof by this observer; 0: none
  int64_t watermark_us;
  int64_t charge_end_us;  // stop request or failure; 0: none
  int64_t now_us;
} meter_input;

typedef enum meter_verdict {
  METER_NOTHING,
  METER_BEGIN,  // open an interval at at_us
  METER_GO_ON,  // proved up to seen_us
  METER_WAIT,   // undecided: the watermark must not advance
  METER_END,    // close it at at_us
} meter_verdict;

typedef struct meter_step {
  meter_verdict verdict;
  int64_t at_us;
} meter_step;

meter_step meter_judge(const meter_input *in);

#endif
