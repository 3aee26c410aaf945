// Every bound of the health service, with its reason.
#ifndef HEALTH_LIMITS_H
#define HEALTH_LIMITS_H

enum {
  HEALTH_CONCURRENCY_DEFAULT =
      128,                      // probes under way at once: sockets are few, and a dead region must not take them all
  HEALTH_BODY_MAX = 64 * 1024,  // of an answer; the status line has said everything by then
  HEALTH_TARGETS_MAX = 20000,   // probed by one prober
  HEALTH_LIST_MAX = 2000,       // replicas in one answer (an RPC reply holds 512 KiB)
  HEALTH_URL_MAX = 2048,
  HEALTH_REASON_MAX = 128,
  HEALTH_REPORT_MAX = 1000000,  // failures or successes that one report can speak of

  HEALTH_PASSIVE_INTERVALS = 5,  // gateways' reports count this many probe intervals
  HEALTH_PASSIVE_LEAST = 3,      // fewer failed requests than this prove nothing
  HEALTH_PASSIVE_SHARE = 4,      // failures must outnumber successes by this factor

  HEALTH_HISTORY_DAYS = 30,  // changes and removed targets are kept this long
  HEALTH_SWEEP_INTERVAL_MS = 3600000,
};

#endif
