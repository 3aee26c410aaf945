// The process driver's face: what callers of driver_ops reach. It writes wishes into the table, wakes the supervisor,
// and reads.
#include <arpa/inet.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "driver_copy.h"
#include "driver_process_internal.h"
#include "ecolink/clock.h"
#include "presets.h"

enum { LOG_LINES_MAX = 10000 };

// ---- the table ----
process_replica *process_find(process_driver *d, int64_t instance_id, int replica_id) {
  for (process_replica *r = d->replicas; r != NULL; r = r->next) {
    if (r->record.instance_id == instance_id && r->record.replica_id == replica_id) {
      return r;
    }
  }
  return NULL;
}

process_replica *process_add(process_driver *d, int64_t instance_id, int replica_id) {
  process_replica *r = d->replica_count < PROCESS_REPLICAS_MAX ? calloc(1, sizeof(*r)) : NULL;
  if (r == NULL) {
    return NULL;
  }
  r->pidfd = -1;
  r->record.instance_id = instance_id;
  r->record.replica_id = replica_id;
  r->record.state = PROCESS_INTENT;
  r->next = d->replicas;
  d->replicas = r;
  d->replica_count++;
  return r;
}

void process_free_replica(process_replica *r) {
  eco_arena_free(r->spec_arena);
  if (r->pidfd >= 0) {
    (void)close(r->pidfd);
  }
  free(r);
}

bool process_port_taken(void *owner, int port) {
  const process_driver *d = owner;
  for (const process_replica *r = d->replicas; r != NULL; r = r->next) {
    if (r->record.port == port) {
      return true;
    }
  }
  return false;
}

void process_wake(process_driver *d) {
  uint64_t one = 1;
  ssize_t ignored = write(d->wake_fd, &one, sizeof(one));  // full means that it is awake anyhow
  (void)ignored;
}

static void copy_spec(process_replica *r, const replica_spec *spec) {
  eco_arena_free(r->spec_arena);
  r->spec_arena = eco_arena_new();
  driver_copy_spec(r->spec_arena, spec, &r->spec);
}

// ---- admit ----
// Variables by which a launch could make a preset run code of its own.
static bool is_loader_variable(const char *name) {
  return strncmp(name, "LD_", 3) == 0 || strcmp(name, "GCONV_PATH") == 0;
}

static eco_status driver_admit(driver *base, const replica_spec *spec) {
  const process_driver *d = (const process_driver *)base;
  const engine_preset *of_image = preset_find(spec->engine != NULL ? spec->engine : "");
  // a preset's own command belongs to its image: here there is none
  bool has_command =
      spec->command != NULL && spec->command[0] != NULL && (of_image == NULL || spec->command != of_image->command);
  if (!process_region_is(spec->region)) {
    return eco_error_param(ECO_INVALID_REQUEST, "regions", "a region's name must be 1 to %d visible ASCII characters",
                           PROCESS_REGION_MAX - 1);
  }
  for (const driver_name_value *e = spec->env; !d->allow_commands && e != NULL && e->name != NULL; e++) {
    if (is_loader_variable(e->name)) {
      return eco_error_param(ECO_INVALID_REQUEST, "env", "the variable %.64s cannot be set here", e->name);
    }
  }
  if (has_command) {
    return d->allow_commands
               ? eco_success()
               : eco_error_param(ECO_INVALID_REQUEST, "command",
                                 "commands of your own are not allowed on this machine; use an engine preset");
  }
  const char *engine = spec->engine ? spec->engine : "";
  const char *preset = process_preset_path(d, engine);
  if (preset == NULL) {
    return engine[0] != '\0'
               ? eco_error_param(
                     ECO_INVALID_REQUEST, "engine",
                     "regions of this machine run no containers: engine %s is not offered; use simulator or llama.cpp",
                     engine)
               : eco_error_param(ECO_INVALID_REQUEST, "image",
                                 "regions of this machine run no container images; name an engine or a command");
  }
  return preset[0] != '\0'
             ? eco_success()
             : eco_error_param(ECO_INVALID_REQUEST, "engine", "engine %s is not installed on this machine", engine);
}

// ---- apply and remove ----
static eco_status driver_apply(driver *base, const replica_spec *spec) {
  process_driver *d = (process_driver *)base;
  ECO_TRY(driver_admit(base, spec));
  (void)pthread_mutex_lock(&d->mutex);
  eco_status st = eco_success();
  process_replica *r = process_find(d, spec->instance_id, spec->replica_id);
  if (r == NULL) {
    r = process_add(d, spec->instance_id, spec->replica_id);
    if (r != NULL) {
      r->record.generation = spec->generation;
      (void)snprintf(r->record.region, sizeof(r->record.region), "%s", spec->region);
    }
  }
  if (r == NULL) {
    st = eco_error(ECO_OVERLOADED, "this machine has %d replicas already", PROCESS_REPLICAS_MAX);
  } else if (r->spec_arena == NULL || spec->generation > r->spec.generation ||
             strcmp(spec->region, r->spec.region) != 0 || r->remove_wanted) {
    copy_spec(r, spec);
    r->remove_wanted = false;  // wanted again before it was gone
    process_wake(d);
  }
  (void)pthread_mutex_unlock(&d->mutex);
  return st;
}

static eco_status driver_remove(driver *base, const char *region, int64_t instance_id, int replica_id, int drain_s) {
  process_driver *d = (process_driver *)base;
  (void)pthread_mutex_lock(&d->mutex);
  process_replica *r = process_find(d, instance_id, replica_id);
  const char *where = r == NULL ? "" : r->spec_arena != NULL ? r->spec.region : r->record.region;
  if (r != NULL && strcmp(where, region) == 0 && !r->remove_wanted) {
    r->remove_wanted = true;
    r->remove_drain_s = drain_s;
    process_wake(d);
  }
  (void)pthread_mutex_unlock(&d->mutex);
  return eco_success();
}

// ---- observe ----
static replica_phase phase_of(const process_replica *r) {
  if (r->term_sent || r->remove_wanted) {
    return REPLICA_STOPPING;
  }
  if (r->pidfd >= 0) {
    return r->listening ? REPLICA_ALIVE : REPLICA_STARTING;
  }
  return r->record.state == PROCESS_EXITED ? REPLICA_EXITED : REPLICA_STARTING;
}

static void describe(const process_replica *r, replica_phase phase, char out[REPLICA_DETAIL_MAX]) {
  int64_t wait_s = (r->restart_at_ms - eco_boottime_ms() + 999) / 1000;
  switch (phase) {
    case REPLICA_ALIVE:
      (void)snprintf(out, REPLICA_DETAIL_MAX, "running");
      break;
    case REPLICA_STARTING:
      (void)snprintf(out, REPLICA_DETAIL_MAX, r->pidfd >= 0 ? "loading: waiting for the engine to listen" : "starting");
      break;
    case REPLICA_STOPPING:
      (void)snprintf(out, REPLICA_DETAIL_MAX, "stopping");
      break;
    case REPLICA_EXITED:
      (void)snprintf(out, REPLICA_DETAIL_MAX, wait_s > 0 ? "%.100s, restarting in %" PRId64 " s" : "%.100s, restarting",
                     r->record.exit_text[0] != '\0' ? r->record.exit_text : "ended", wait_s);
      break;
    case REPLICA_ABSENT:
      out[0] = '\0';
      break;
  }
}

static eco_status driver_observe(driver *base, const char *region, replica_observe_fn fn, void *arg) {
  process_driver *d = (process_driver *)base;
  (void)pthread_mutex_lock(&d->mutex);
  // Copied first: fn may take its time, or call us.
  size_t n = 0;
  replica_observation *seen = calloc((size_t)d->replica_count + 1, sizeof(*seen));
  for (process_replica *r = d->replicas; seen != NULL && r != NULL; r = r->next) {
    if (strcmp(r->record.region, region) != 0) {
      continue;
    }
    replica_observation *o = &seen[n++];
    *o = (replica_observation){.instance_id = r->record.instance_id,
                               .replica_id = r->record.replica_id,
                               .generation = r->record.generation,
                               .phase = phase_of(r),
                               .port = r->record.port,
                               .restarts = r->record.restarts};
    process_run_id(&r->record, o->run_id);
    (void)snprintf(o->host, sizeof(o->host), "%s", d->bind_host);
    memcpy(o->exits_us, r->record.exits_us, sizeof(o->exits_us));
    describe(r, o->phase, o->detail);
  }
  (void)pthread_mutex_unlock(&d->mutex);
  if (seen == NULL) {
    return eco_error(ECO_OVERLOADED, "not enough memory to list the replicas");
  }
  for (size_t i = 0; i < n; i++) {
    fn(arg, &seen[i]);
  }
  free(seen);
  return eco_success();
}

// ---- logs ----
static eco_status driver_logs(driver *base, const char *region, int64_t instance_id, int replica_id, int64_t offset,
                              int max_lines, replica_log_fn fn, void *arg, int64_t *next_offset) {
  process_driver *d = (process_driver *)base;
  (void)region;  // one machine, one file: a replica that moved between its regions kept its log
  (void)pthread_mutex_lock(&d->mutex);
  const process_replica *r = process_find(d, instance_id, replica_id);
  bool ended = r == NULL || r->pidfd < 0;
  (void)pthread_mutex_unlock(&d->mutex);
  int lines = max_lines < 1 ? 1 : max_lines > LOG_LINES_MAX ? LOG_LINES_MAX : max_lines;
  return process_log_read(&d->paths, instance_id, replica_id, offset, lines, ended, fn, arg, next_offset);
}

static eco_status driver_forget(driver *base, const char *region, int64_t instance_id, int replica_id) {
  process_driver *d = (process_driver *)base;
  (void)region;
  (void)pthread_mutex_lock(&d->mutex);
  bool known = process_find(d, instance_id, replica_id) != NULL;
  (void)pthread_mutex_unlock(&d->mutex);
  if (known) {
    return eco_error(ECO_WRONG_STATE, "replica %" PRId64 "-%d still exists: remove it first", instance_id, replica_id);
  }
  return process_leavings_remove(&d->paths, instance_id, replica_id);
}

// ---- open and close ----
static void free_driver(process_driver *d) {
  while (d->replicas != NULL) {
    process_replica *r = d->replicas;
    d->replicas = r->next;
    process_free_replica(r);
  }
  if (d->wake_fd >= 0) {
    (void)close(d->wake_fd);
  }
  if (d->lock_fd >= 0) {
    (void)close(d->lock_fd);
  }
  (void)pthread_mutex_destroy(&d->mutex);
  free(d->bind_host);
  free(d->simulator_path);
  free(d->llama_cpp_path);
  free(d);
}

static void driver_close(driver *base) {
  process_driver *d = (process_driver *)base;
  (void)pthread_mutex_lock(&d->mutex);
  d->closing = true;
  process_wake(d);
  (void)pthread_mutex_unlock(&d->mutex);
  (void)pthread_join(d->supervisor, NULL);
  free_driver(d);
}

static const driver_ops OPS = {
    .name = "process",
    .admit = driver_admit,
    .apply = driver_apply,
    .remove = driver_remove,
    .observe = driver_observe,
    .logs = driver_logs,
    .forget = driver_forget,
    .close = driver_close,
};

static char *copy_text(const char *s) {
  return strdup(s != NULL ? s : "");
}

eco_status process_driver_open(const process_driver_options *options, driver **out) {
  process_driver *d = calloc(1, sizeof(*d));
  if (d == NULL) {
    return eco_error(ECO_OVERLOADED, "not enough memory");
  }
  d->base.ops = &OPS;
  d->lock_fd = -1;
  d->wake_fd = -1;
  (void)pthread_mutex_init(&d->mutex, NULL);
  char host[INET_ADDRSTRLEN] = "";
  eco_status st;
  ECO_TRY_GOTO(process_host_resolve(options->bind_host, host));
  d->bind_host = copy_text(host);
  d->simulator_path = copy_text(options->simulator_path);
  d->llama_cpp_path = copy_text(options->llama_cpp_path);
  d->allow_commands = options->allow_commands;
  if (d->bind_host == NULL || d->simulator_path == NULL || d->llama_cpp_path == NULL) {
    ECO_TRY_GOTO(eco_error(ECO_OVERLOADED, "not enough memory"));
  }
  ECO_TRY_GOTO(process_identity_find(options->run_as_user != NULL ? options->run_as_user : "", &d->who));
  ECO_TRY_GOTO(process_ports_parse(options->ports, &d->ports));
  ECO_TRY_GOTO(process_boot_id(d->boot_id));
  ECO_TRY_GOTO(process_paths_open(options->state_dir, options->run_dir, &d->paths));
  ECO_TRY_GOTO(process_lock(&d->paths, PROCESS_LOCK_WAIT_MS, &d->lock_fd));
  ECO_TRY_GOTO(process_adopt_all(d));
  d->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  if (d->wake_fd < 0 || pthread_create(&d->supervisor, NULL, process_supervise, d) != 0) {
    ECO_TRY_GOTO(eco_error(ECO_INTERNAL, "cannot start the supervisor: %s", strerror(errno)));
  }
  *out = &d->base;
cleanup:
  if (!eco_ok(st)) {
    free_driver(d);
    return eco_context(st, "process driver");
  }
  return st;
}
