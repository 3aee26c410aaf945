// Starting one child with nothing of ours in it. Called by the supervisor thread alone.
#ifndef SCHEDULER_DRIVER_PROCESS_SPAWN_H
#define SCHEDULER_DRIVER_PROCESS_SPAWN_H

#include <sys/types.h>

#include "ecolink/arena.h"
#include "ecolink/status.h"

typedef struct process_identity {
  uid_t uid;
  gid_t gid;
  bool change;    // we are root and become uid:gid in the child
  uint32_t span;  // so many users from uid on, one for each instance; 0: one for all
} process_identity;

// Everything is prepared before the fork: the child of a threaded process may only make system calls.
typedef struct process_launch {
  const char *file;  // path, or a name to look for in PATH
  char *const *argv;
  char *const *envp;
  const char *home;  // working directory
  const char *log_path;
  process_identity who;
} process_launch;

typedef struct process_child {
  pid_t pid;
  int pidfd;    // the caller closes it
  int gate_fd;  // one byte lets the child go; closing it without makes the child exit, as does our death
} process_child;

// `user`: a name, or "<first>-<last>", numbers of users that are given to instances in turn. "" or not root: who we
// are.
ECO_CHECKED eco_status process_identity_find(const char *user, process_identity *out);
// Who an instance's replicas run as. With a range its neighbours are strangers to it: they read neither its environment
// (secrets are in it) nor its files, and cannot signal it.
process_identity process_identity_of(const process_identity *all, int64_t instance_id);
// Full path of the executable, looked for in `path` when it has no slash. In the arena; NULL when there is none.
const char *process_executable_find(eco_arena *arena, const char *name, const char *path);
ECO_CHECKED eco_status process_spawn(const process_launch *launch, process_child *out);
// The record of the child is durable: it may run. False: it is gone already.
bool process_release(process_child *child);
// It must not run: lets it exit and waits for that.
void process_abandon(process_child *child);

#endif
