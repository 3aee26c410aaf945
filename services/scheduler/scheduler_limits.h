// What bounds the scheduler. Each limit says why it is what it is.
#ifndef SCHEDULER_LIMITS_H
#define SCHEDULER_LIMITS_H

#include <stdint.h>

enum {
  SCHED_NAME_MAX = 128,   // product: names are at most 128 characters
  SCHED_REGION_MAX = 64,  // also a Kubernetes label value (63)
  SCHED_GPU_TYPE_MAX = 64,
  SCHED_REPLICAS_MAX = 2,  // 2 in 2 regions, or 1 pinned
  SCHED_MEMORY_GB_MAX = 1 << 20,
  SCHED_WANTED_REGIONS_MAX = 16,
  SCHED_REGIONS_MAX = 128,  // regions of one installation
  SCHED_ROOMS_MAX = 2048,   // (region, GPU type) pairs looked at by one placement
  SCHED_GPUS_PER_REPLICA_MAX = 64,
  SCHED_ARGS_MAX = 256,
  SCHED_ARG_BYTES_MAX = 4096,
  SCHED_ENV_MAX = 256,
  SCHED_ENV_BYTES_MAX = 32768,
  SCHED_PATH_MAX = 1024,
  SCHED_IMAGE_MAX = 512,
  SCHED_DRAIN_S_MAX = 3600,
  SCHED_STARTUP_DEADLINE_S_MAX = 14400,  // product: 4 h in all
  SCHED_DETAIL_MAX = 160,
  SCHED_EVENT_MESSAGE_MAX = 256,

  SCHED_LAUNCH_ANSWER_MS = 10000,  // design: no definite answer within 10 s ends the launch
  SCHED_DESCRIBE_TIMEOUT_MS = 4000,
  SCHED_ACQUIRE_TIMEOUT_MS = 3000,
  SCHED_HOLD_TIMEOUT_MS = 4000,  // with AcquireModel's still below the launch's ten seconds
  SCHED_CLOSE_HOLD_TIMEOUT_MS = 4000,

  SCHED_READY_TIMEOUT_MS = 2000,  // one probe, both requests
  SCHED_READY_BODY_MAX = 256 * 1024,
  SCHED_READY_PARALLEL = 64,
  SCHED_READY_FAILURES = 3,  // a Ready replica that misses so many probes in a row is not Ready any more

  SCHED_ATTEMPTS_PER_REGION = 3,  // product: in another allowed region after 3 deadlines
  SCHED_CRASH_LOOP_EXITS = 5,
  SCHED_OBSERVED_MAX = 65536,  // objects in one region
  SCHED_PRUNE_MIN = 5,         // a pass that would delete more orphans than max(5, 10 %) deletes none
  SCHED_METER_QUERIES_MAX = 100,
  SCHED_METER_INTERVALS_MAX = 8192,  // read at a time for one instance: a flapping replica has tens of thousands
  SCHED_METER_REPLY_BYTES_MAX = 384 * 1024,  // RPC replies end at 512 KiB
  SCHED_LOG_LINES_DEFAULT = 100,
  SCHED_LOG_LINES_MAX = 1000,
  SCHED_LOG_LINE_BYTES_MAX = 4096,
  SCHED_LOG_REPLY_BYTES_MAX = 384 * 1024,  // RPC replies end at 512 KiB
  SCHED_LIST_DEFAULT = 20,
  SCHED_LIST_MAX = 100,
  SCHED_EVENTS_DEFAULT = 50,
  SCHED_EVENTS_MAX = 1000,
};

// A million dollars an hour: products with counts and hours stay far from int64's end.
#define SCHED_RATE_MICROS_MAX INT64_C(1000000000000)
#define SCHED_CRASH_LOOP_WINDOW_US (INT64_C(600) * 1000000)
// How far a node's clock may lie before or after ours.
#define SCHED_NODE_CLOCK_US (INT64_C(2) * 1000000)
#define SCHED_STEADY_US (INT64_C(300) * 1000000)
#define SCHED_STARTUP_TOTAL_US (INT64_C(14400) * 1000000)

#endif
