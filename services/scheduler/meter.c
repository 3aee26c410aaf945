// The meter's rules.
#include "meter.h"

#include "scheduler_limits.h"

static int64_t max64(int64_t a, int64_t b) {
  return a > b ? a : b;
}
static int64_t min64(int64_t a, int64_t b) {
  return a < b ? a : b;
}

// Never before its start, nor after charging ended.
static meter_step end_at(const meter_input *in, int64_t at_us) {
  if (in->charge_end_us) {
    at_us = min64(at_us, in->charge_end_us);
  }
  return (meter_step){METER_END, max64(at_us, in->started_us)};
}

// Now, but not before what was proved: a clock that was set back stands there.
static int64_t present(const meter_input *in) {
  return max64(in->now_us, in->watermark_us);
}

static meter_step end_live(const meter_input *in, int64_t at_us) {
  return end_at(in, min64(max64(at_us, in->watermark_us), present(in)));
}

meter_step meter_judge(const meter_input *in) {
  if (!in->started_us) {
    bool begins = in->evidence == METER_READY && !in->charge_end_us;
    return begins ? (meter_step){METER_BEGIN, present(in)} : (meter_step){METER_NOTHING, 0};
  }
  if (in->evidence == METER_READY) {
    if (in->charge_end_us && max64(in->seen_us, in->watermark_us) >= in->charge_end_us) {
      return end_at(in, in->charge_end_us);  // seen after the stop request: proved to its very moment
    }
    if (in->now_us + SCHED_NODE_CLOCK_US < in->charge_end_us) {
      // The clock was set back behind the request. Until it says that time again hours may pass: what is proved counts.
      return end_at(in, max64(in->last_ready_us, in->watermark_us));
    }
    return (meter_step){METER_GO_ON, in->seen_us};
  }
  if (in->evidence == METER_DOUBT) {
    return (meter_step){METER_WAIT, 0};
  }
  if (!in->confirmed) {
    return end_at(in, in->watermark_us);
  }
  if (in->evidence == METER_ENDED && in->exit_us) {
    return end_live(in, in->exit_us);
  }
  return end_live(in, in->last_ready_us);
}
