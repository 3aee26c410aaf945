// Files of the process driver: where they lie, and writes that survive a crash at any instruction.
//
//   state_dir/lock                        held while a driver is open: two never share a state directory
//   state_dir/records/<name>.record       the adoption record
//   state_dir/logs/<name>.log             what the replica writes
//   state_dir/homes/<name>/               its private directory
//   run_dir/<name>.pid                    the live process
// <name> is "<instance>-<replica>". Any thread; no state.
#ifndef SCHEDULER_DRIVER_PROCESS_FILES_H
#define SCHEDULER_DRIVER_PROCESS_FILES_H

#include <sys/types.h>

#include "driver_process_rules.h"

enum { PROCESS_DIR_MAX = 896, PROCESS_PATH_MAX = 1024 };  // room for a name and its suffixes below a directory

typedef struct process_paths {
  char lock[PROCESS_DIR_MAX];
  char records[PROCESS_DIR_MAX];
  char logs[PROCESS_DIR_MAX];
  char homes[PROCESS_DIR_MAX];
  char run[PROCESS_DIR_MAX];
} process_paths;

typedef void (*process_name_fn)(void *arg, int64_t instance_id, int replica_id);

// Creates what is missing.
ECO_CHECKED eco_status process_paths_open(const char *state_dir, const char *run_dir, process_paths *out);
// Waits up to wait_ms for the state directory; *fd_out is closed to let go.
ECO_CHECKED eco_status process_lock(const process_paths *paths, int wait_ms, int *fd_out);

// Durable when it returns success: temporary file, fsync, rename, fsync of the directory.
ECO_CHECKED eco_status process_record_write(const process_paths *paths, const process_record *record);
// NOT_FOUND when there is none; INTERNAL when it is damaged (it is put aside then, named *.damaged).
ECO_CHECKED eco_status process_record_read(const process_paths *paths, int64_t instance_id, int replica_id,
                                           process_record *out);
ECO_CHECKED eco_status process_record_remove(const process_paths *paths, int64_t instance_id, int replica_id);
ECO_CHECKED eco_status process_records_each(const process_paths *paths, process_name_fn fn, void *arg);

ECO_CHECKED eco_status process_pidfile_write(const process_paths *paths, const process_record *record);
void process_pidfile_remove(const process_paths *paths, int64_t instance_id, int replica_id);
ECO_CHECKED eco_status process_pidfiles_each(const process_paths *paths, process_name_fn fn, void *arg);

void process_log_path(const process_paths *paths, int64_t instance_id, int replica_id, char out[PROCESS_PATH_MAX]);
void process_home_path(const process_paths *paths, int64_t instance_id, int replica_id, char out[PROCESS_PATH_MAX]);
// Creates the private directory, owned by uid and gid, mode 0700.
ECO_CHECKED eco_status process_home_make(const process_paths *paths, int64_t instance_id, int replica_id, uid_t uid,
                                         gid_t gid);
// Removes a replica's log and private directory. Never follows a symbolic link out of it. Absent is success.
ECO_CHECKED eco_status process_leavings_remove(const process_paths *paths, int64_t instance_id, int replica_id);

// ---- logs (driver_process_logs.c) ----
// Positions are those of the whole stream: a log is bounded by giving back the blocks of its front, not by moving its
// bytes.
ECO_CHECKED eco_status process_log_read(const process_paths *paths, int64_t instance_id, int replica_id, int64_t offset,
                                        int max_lines, bool ended, replica_log_fn fn, void *arg, int64_t *next_offset);
// Drops the oldest part of a log that holds more than keep_bytes.
void process_log_bound(const char *path, int64_t keep_bytes);

#endif
