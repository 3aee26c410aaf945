// The process driver's own state, shared by its API (driver_process.c), its supervisor (driver_process_supervise.c) and
// what finds replicas again at the start (driver_process_adopt.c).
//
// Callers only say what they want and read what is; the supervisor thread alone starts, signals, reaps and records. All
// fields of `replicas` are guarded by `mutex`.
#ifndef SCHEDULER_DRIVER_PROCESS_INTERNAL_H
#define SCHEDULER_DRIVER_PROCESS_INTERNAL_H

#include <pthread.h>

#include "driver.h"
#include "driver_process_files.h"
#include "driver_process_proc.h"
#include "driver_process_rules.h"
#include "driver_process_spawn.h"

enum {
  PROCESS_REPLICAS_MAX = 4096,  // of one machine
  PROCESS_DRAIN_MAX_S = 3600,
  PROCESS_LOCK_WAIT_MS = 10000,  // a predecessor that is being shut down gets so long
  PROCESS_SWEEP_MS = 1000,       // the janitor: logs are bounded, pid files checked
  PROCESS_LISTEN_POLL_MS = 50,   // how often a young process is asked whether it listens
  PROCESS_LISTEN_POLL_OLD_MS = 500,
  PROCESS_YOUNG_MS = 10000,
};
#define PROCESS_LOG_KEEP_BYTES (INT64_C(8) * 1024 * 1024)

// Who is in the table: every replica that exists or should. One leaves when nothing of it runs and remove was asked.
typedef struct process_replica {
  process_record record;
  // what is wanted
  eco_arena *spec_arena;  // owns spec; NULL before the first apply
  replica_spec spec;
  bool remove_wanted;
  int remove_drain_s;
  // what is
  int pidfd;  // -1: nothing runs
  bool term_sent;
  bool kill_sent;
  int64_t kill_at_ms;     // boot time
  int64_t restart_at_ms;  // boot time
  int64_t started_ms;     // boot time; of an adopted one: the adoption
  bool listening;         // its own socket was seen on its port
  int64_t listen_check_ms;
  bool record_dirty;  // the last write failed: again at the next step
  struct process_replica *next;
} process_replica;

typedef struct process_driver {
  driver base;
  process_paths paths;
  char *bind_host;
  char *simulator_path;
  char *llama_cpp_path;
  bool allow_commands;
  process_identity who;
  process_ports ports;
  char boot_id[PROCESS_BOOT_ID_MAX];
  int lock_fd;
  int wake_fd;
  pthread_t supervisor;

  pthread_mutex_t mutex;
  process_replica *replicas;
  int replica_count;
  bool closing;
} process_driver;

process_replica *process_find(process_driver *d, int64_t instance_id, int replica_id);  // NULL: unknown
process_replica *process_add(process_driver *d, int64_t instance_id, int replica_id);
void process_free_replica(process_replica *r);
void process_wake(process_driver *d);
bool process_port_taken(void *owner, int port);

// Finds every recorded replica again. Before the supervisor runs.
ECO_CHECKED eco_status process_adopt_all(process_driver *d);
// The supervisor's thread; ends when `closing`.
void *process_supervise(void *owner);
// Fills *out with command, environment and identity of the replica's next run; in the arena.
ECO_CHECKED eco_status process_launch_build(process_driver *d, eco_arena *arena, const process_replica *r,
                                            process_launch *out);
// The executable of a preset: NULL when `engine` is none of the process driver's, "" when it is not installed.
const char *process_preset_path(const process_driver *d, const char *engine);

#endif
