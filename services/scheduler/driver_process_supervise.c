// The supervisor: one thread that sleeps on the pidfds of all replicas and on the wish list, and makes one step per
// replica.
//
//   intent recorded -> fork (the child waits at its gate) -> pid recorded -> pid file -> gate opened -> exec
//
// Whoever dies between two of these leaves either a child that ends by itself at the gate, or a record that names the
// process.
#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include "driver_process_internal.h"
#include "ecolink/clock.h"
#include "ecolink/crash.h"
#include "ecolink/log.h"

static void log_replica(eco_log_level level, const process_replica *r, const char *message, const char *why) {
  eco_log(level, message, ECO_F_I64("instance", r->record.instance_id), ECO_F_I64("replica", r->record.replica_id),
          ECO_F_I64("pid", r->record.pid), ECO_F_STR("detail", why));
}

static void save(process_driver *d, process_replica *r) {
  eco_status st = process_record_write(&d->paths, &r->record);
  r->record_dirty = !eco_ok(st);
  if (!eco_ok(st)) {
    log_replica(ECO_LOG_ERROR, r, "a replica's record could not be written; it is tried again", st.message);
  }
}

static void log_path_of(const process_driver *d, const process_replica *r, char out[PROCESS_PATH_MAX]) {
  process_log_path(&d->paths, r->record.instance_id, r->record.replica_id, out);
}

// ---- start ----
static void start_failed(process_driver *d, process_replica *r, eco_status why) {
  char text[REPLICA_DETAIL_MAX];
  (void)snprintf(text, sizeof(text), "could not be started: %.*s", REPLICA_DETAIL_MAX - 32, why.message);
  for (char *c = text; *c != '\0'; c++) {
    *c = *c == '\n' ? ' ' : *c;  // it travels in a line of the record
  }
  process_record_exit(&r->record, eco_now_us(), eco_wall_us(), 0, text);
  r->record.pid = 0;
  r->restart_at_ms = eco_boottime_ms() + process_backoff_ms(r->record.failures);
  log_replica(ECO_LOG_ERROR, r, "a replica could not be started", text);
  save(d, r);
}

// The record of the run to come. A new generation starts with a clean history; a restart within one counts.
static eco_status prepare_record(process_driver *d, process_replica *r) {
  process_record *rec = &r->record;
  bool again = rec->state == PROCESS_EXITED && rec->generation == r->spec.generation;
  if (!again) {
    *rec = (process_record){.instance_id = rec->instance_id, .replica_id = rec->replica_id, .port = rec->port};
  } else {
    rec->restarts++;
  }
  (void)snprintf(rec->region, sizeof(rec->region), "%s", r->spec.region);
  rec->generation = r->spec.generation;
  int before = rec->port;
  rec->port = 0;  // its own number must not count as taken
  int port = process_port_choose(d->bind_host, d->ports, before, process_port_taken, d);
  rec->port = port;
  if (port == 0) {
    return eco_error(ECO_OVERLOADED, "no free port on %s", d->bind_host);
  }
  rec->state = PROCESS_INTENT;
  return process_record_write(&d->paths, rec);
}

// From the fork to the open gate. On failure nothing of the child is left.
static eco_status spawn(process_driver *d, process_replica *r, const process_launch *launch) {
  process_child child;
  ECO_TRY(process_spawn(launch, &child));
  ECO_CRASH_POINT("process.forked");
  process_record *rec = &r->record;
  rec->pid = child.pid;
  rec->state = PROCESS_RUNNING;
  (void)snprintf(rec->boot_id, sizeof(rec->boot_id), "%s", d->boot_id);
  eco_status st = process_start_ticks(child.pid, &rec->start_ticks)
                      ? process_record_write(&d->paths, rec)
                      : eco_error(ECO_INTERNAL, "the new process is gone before it began");
  ECO_CRASH_POINT("process.pid_recorded");
  if (eco_ok(st)) {
    st = process_pidfile_write(&d->paths, rec);
    ECO_CRASH_POINT("process.pid_file_written");
  }
  if (!eco_ok(st)) {
    process_abandon(&child);
    process_pidfile_remove(&d->paths, rec->instance_id, rec->replica_id);
    return st;
  }
  (void)process_release(&child);  // if it is gone already its pidfd tells
  ECO_CRASH_POINT("process.released");
  r->pidfd = child.pidfd;
  return st;
}

static void start(process_driver *d, process_replica *r) {
  eco_arena *arena = eco_arena_new();
  process_launch launch = {.file = NULL};
  r->term_sent = r->kill_sent = r->listening = r->record_dirty = false;
  r->listen_check_ms = 0;
  eco_status st = prepare_record(d, r);
  if (!eco_ok(st)) {
    goto cleanup;
  }
  ECO_CRASH_POINT("process.intent_recorded");
  const process_identity who = process_identity_of(&d->who, r->record.instance_id);
  ECO_TRY_GOTO(process_home_make(&d->paths, r->record.instance_id, r->record.replica_id, who.uid, who.gid));
  ECO_TRY_GOTO(process_launch_build(d, arena, r, &launch));
  ECO_TRY_GOTO(spawn(d, r, &launch));
  r->started_ms = eco_boottime_ms();
  log_replica(ECO_LOG_INFO, r, "replica started", launch.file);
cleanup:
  if (!eco_ok(st)) {
    start_failed(d, r, st);
  }
  eco_arena_free(arena);
}

// ---- end ----
static void signal_replica(const process_replica *r, int signum) {
  if (pidfd_send_signal(r->pidfd, signum, NULL, 0) != 0 && errno == ESRCH) {
    return;  // reaped: the number may be another's by now
  }
  (void)kill(-r->record.pid, signum);  // the leader lives or is a zombie of ours, so the number is still its own
}

static void term(process_driver *d, process_replica *r) {
  int drain_s = r->remove_wanted ? r->remove_drain_s : r->spec.drain_s;
  drain_s = drain_s < 0 ? 0 : drain_s > PROCESS_DRAIN_MAX_S ? PROCESS_DRAIN_MAX_S : drain_s;
  r->record.state = PROCESS_STOPPING;
  r->record.kill_at_us = eco_wall_us() + drain_s * ECO_US_PER_S;
  r->kill_at_ms = eco_boottime_ms() + drain_s * INT64_C(1000);
  save(d, r);
  ECO_CRASH_POINT("process.stop_recorded");
  signal_replica(r, SIGTERM);
  r->term_sent = true;
  ECO_CRASH_POINT("process.term_sent");
  log_replica(ECO_LOG_INFO, r, "replica asked to end", r->remove_wanted ? "no longer wanted" : "replaced");
}

static void on_exit_seen(process_driver *d, process_replica *r) {
  char text[REPLICA_DETAIL_MAX];
  siginfo_t info = {.si_code = 0};
  // The zombie is looked at, its group is ended while its number is still taken, and only then is it reaped.
  bool ours = waitid(P_PIDFD, (id_t)r->pidfd, &info, WEXITED | WNOHANG | WNOWAIT) == 0 && info.si_pid == r->record.pid;
  if (ours) {
    (void)kill(-r->record.pid, SIGKILL);
    (void)waitid(P_PIDFD, (id_t)r->pidfd, &info, WEXITED | WNOHANG);
  } else {
    process_group_sweep(r->record.pid);
  }
  process_exit_text(ours ? info.si_code : 0, info.si_status, text);
  (void)close(r->pidfd);
  r->pidfd = -1;
  r->listening = false;
  process_pidfile_remove(&d->paths, r->record.instance_id, r->record.replica_id);
  int64_t now_ms = eco_boottime_ms();
  if (r->term_sent) {
    r->record.state = PROCESS_EXITED;  // it did as told: no failure, no back-off
    r->restart_at_ms = now_ms;
  } else {
    process_record_exit(&r->record, eco_now_us(), eco_wall_us(), now_ms - r->started_ms, text);
    r->restart_at_ms = now_ms + process_backoff_ms(r->record.failures);
  }
  r->term_sent = r->kill_sent = false;
  log_replica(ECO_LOG_INFO, r, "replica ended", text);
  save(d, r);
  ECO_CRASH_POINT("process.exit_recorded");
}

// ---- one step ----
static process_action decide(const process_replica *r, int64_t now_ms) {
  bool has_spec = r->spec_arena != NULL;
  const process_facts facts = {
      .live = r->pidfd >= 0,
      .term_sent = r->term_sent,
      .kill_sent = r->kill_sent,
      .remove_wanted = r->remove_wanted,
      .has_spec = has_spec,
      .generation = r->record.generation,
      .wanted_generation = r->spec.generation,
      .region_differs = has_spec && strcmp(r->spec.region, r->record.region) != 0,
      .ran = r->record.state != PROCESS_INTENT,
      .restart_at_ms = r->restart_at_ms,
      .kill_at_ms = r->kill_at_ms,
  };
  return process_decide(&facts, now_ms);
}

// True when the replica left the table's list (the caller unlinks it).
static bool drop(process_driver *d, process_replica *r) {
  eco_status st = process_record_remove(&d->paths, r->record.instance_id, r->record.replica_id);
  if (!eco_ok(st)) {
    log_replica(ECO_LOG_ERROR, r, "a replica's record could not be removed; it is tried again", st.message);
    return false;
  }
  ECO_CRASH_POINT("process.record_removed");
  process_pidfile_remove(&d->paths, r->record.instance_id, r->record.replica_id);
  return true;
}

static bool step(process_driver *d, process_replica *r) {
  if (r->pidfd >= 0 && process_pidfd_ended(r->pidfd)) {
    on_exit_seen(d, r);
  }
  int64_t now_ms = eco_boottime_ms();
  switch (decide(r, now_ms)) {
    case PROCESS_START:
      start(d, r);
      break;
    case PROCESS_TERM:
      term(d, r);
      break;
    case PROCESS_KILL:
      signal_replica(r, SIGKILL);
      r->kill_sent = true;
      ECO_CRASH_POINT("process.kill_sent");
      log_replica(ECO_LOG_WARN, r, "replica killed", "it did not end within its drain time");
      break;
    case PROCESS_DROP:
      return drop(d, r);
    case PROCESS_WAIT:
      break;
  }
  if (r->record_dirty) {
    save(d, r);
  }
  if (r->pidfd >= 0 && !r->listening && now_ms >= r->listen_check_ms) {
    r->listening =
        process_listens(r->record.pid, r->record.port, process_identity_of(&d->who, r->record.instance_id).uid);
    r->listen_check_ms =
        now_ms + (now_ms - r->started_ms < PROCESS_YOUNG_MS ? PROCESS_LISTEN_POLL_MS : PROCESS_LISTEN_POLL_OLD_MS);
  }
  return false;
}

// ---- the thread ----
// When this replica needs a look without anything happening.
static int64_t next_look_ms(const process_replica *r, int64_t now_ms) {
  int64_t at = now_ms + PROCESS_SWEEP_MS;
  if (r->pidfd >= 0 && !r->listening && r->listen_check_ms < at) {
    at = r->listen_check_ms;
  }
  if (r->pidfd >= 0 && r->term_sent && !r->kill_sent && r->kill_at_ms < at) {
    at = r->kill_at_ms;
  }
  if (r->pidfd < 0 && r->spec_arena != NULL && r->restart_at_ms < at) {
    at = r->restart_at_ms;
  }
  return at;
}

static void step_all(process_driver *d) {
  process_replica **link = &d->replicas;
  while (*link != NULL) {
    process_replica *r = *link;
    if (step(d, r)) {
      *link = r->next;
      d->replica_count--;
      process_free_replica(r);
    } else {
      link = &r->next;
    }
  }
}

static void bound_logs(process_driver *d) {
  char path[PROCESS_PATH_MAX];
  for (process_replica *r = d->replicas; r != NULL; r = r->next) {
    if (r->pidfd >= 0) {
      log_path_of(d, r, path);
      process_log_bound(path, PROCESS_LOG_KEEP_BYTES);
    }
  }
}

// Copies of the descriptors: a replica may leave the table while we sleep, and a reused number would only wake us for
// nothing.
static nfds_t gather(process_driver *d, struct pollfd **fds, nfds_t *room, int *timeout_ms) {
  nfds_t wanted = (nfds_t)d->replica_count + 1;
  if (wanted > *room) {
    struct pollfd *grown = realloc(*fds, (wanted + 64) * sizeof(**fds));
    if (grown == NULL) {
      abort();
    }
    *fds = grown;
    *room = wanted + 64;
  }
  assert(*fds != NULL);  // wanted is at least one
  int64_t now_ms = eco_boottime_ms();
  int64_t at = now_ms + PROCESS_SWEEP_MS;
  nfds_t n = 0;
  (*fds)[n++] = (struct pollfd){.fd = d->wake_fd, .events = POLLIN};
  for (process_replica *r = d->replicas; r != NULL; r = r->next) {
    int64_t look = next_look_ms(r, now_ms);
    at = look < at ? look : at;
    if (r->pidfd >= 0) {
      (*fds)[n++] = (struct pollfd){.fd = r->pidfd, .events = POLLIN};
    }
  }
  *timeout_ms = at <= now_ms ? 1 : (int)(at - now_ms);
  return n;
}

void *process_supervise(void *owner) {
  process_driver *d = owner;
  struct pollfd *fds = NULL;
  nfds_t room = 0;
  int64_t swept_ms = 0;
  sigset_t all;
  (void)sigfillset(&all);  // signals are the main thread's; a broken pipe to a dead child is told by write()
  (void)pthread_sigmask(SIG_SETMASK, &all, NULL);
  (void)pthread_mutex_lock(&d->mutex);
  while (!d->closing) {
    step_all(d);
    if (eco_boottime_ms() - swept_ms >= PROCESS_SWEEP_MS) {
      swept_ms = eco_boottime_ms();
      bound_logs(d);
    }
    int timeout_ms = 0;
    nfds_t n = gather(d, &fds, &room, &timeout_ms);
    (void)pthread_mutex_unlock(&d->mutex);
    if (poll(fds, n, timeout_ms) > 0 && fds[0].revents != 0) {
      uint64_t drained = 0;
      ssize_t ignored = read(d->wake_fd, &drained, sizeof(drained));
      (void)ignored;
    }
    (void)pthread_mutex_lock(&d->mutex);
  }
  (void)pthread_mutex_unlock(&d->mutex);
  free(fds);
  return NULL;
}
