// What runs replicas: the interface of the `process` and the `kubernetes` driver.
//
// A driver is level-triggered: the reconciler says again and again what should exist (apply) and what should not
// (remove), and asks what does (observe). Every call is idempotent; a driver holds no truth that a restart of the
// scheduler could lose. One driver serves one or more regions; calls for different regions may come from different
// threads at once.
#ifndef SCHEDULER_DRIVER_H
#define SCHEDULER_DRIVER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "ecolink/arena.h"
#include "ecolink/service.h"
#include "ecolink/status.h"

typedef struct driver driver;

typedef struct driver_name_value {
  const char *name;
  const char *value;
  bool secret;
} driver_name_value;

// A shared filesystem that the replica sees.
typedef struct driver_mount {
  const char *filesystem;  // its name
  const char *path;        // where it is mounted
} driver_mount;

// All a replica needs to run. Strings are borrowed during the call. Secrets are already opened.
typedef struct replica_spec {
  int64_t instance_id;
  int replica_id;
  int64_t generation;  // grows with each wanted replacement (restart): a running replica of a lower one is replaced
  const char *account_id;
  const char *region;
  const char *served_name;  // the model name the engine must answer to
  const char *engine;       // preset, or "" with image/command
  const char *image;
  const char *const *command;  // NULL-terminated; empty: the preset's
  // NULL-terminated and complete: for a preset its own come first (host, port, served model), then the launch's. A
  // driver adds none; it replaces {host}, {port} and {model}.
  const char *const *args;
  const driver_name_value *env;  // ends with name NULL; secret env included
  // The flag that takes the value of an environment variable named token_env, which is in env; NULL: none does
  const char *token_flag;
  const char *token_env;
  const char *health_path;
  int port;  // wanted container port; the process driver chooses a free one and tells it by ECOLINK_PORT / {port}
  const char *gpu_type;
  int gpu_count;
  const char *model_repo;  // Hugging Face source, "" otherwise
  const char *model_revision;
  bool hub_cache;  // the engine looks for its weights in the Hub's cache layout: they may be brought there before
  const char *model_path;      // shared filesystem source, "" otherwise
  const char *hf_token;        // "" when there is none
  const driver_mount *mounts;  // ends with filesystem NULL; NULL: none
  int shared_memory_mb;        // 0: the driver's default
  int drain_s;
} replica_spec;

typedef enum replica_phase {
  REPLICA_ABSENT,
  REPLICA_STARTING,  // exists; waiting for an image, weights, or the process to listen
  REPLICA_ALIVE,     // its process runs at host:port. Whether it is Ready is the scheduler's judgement
  REPLICA_EXITED,    // waits for its restart (back-off)
  REPLICA_STOPPING,
} replica_phase;

enum { REPLICA_EXITS_KEPT = 8, REPLICA_DETAIL_MAX = 160, REPLICA_RUN_ID_MAX = 64, REPLICA_HOST_MAX = 256 };

typedef enum driver_need {
  DRIVER_NEEDS_SPEC,     // its specification once, for what it does by itself later
  DRIVER_NEEDS_NOTHING,  // everything is in place
  DRIVER_NEEDS_APPLY,    // something is missing or was changed by somebody: apply repairs it
  DRIVER_NEEDS_TIDY,  // what leads to an address of before is left: apply removes it, once nobody calls that any more
} driver_need;

typedef struct replica_observation {
  int64_t instance_id;
  int replica_id;
  int64_t generation;
  replica_phase phase;
  char run_id[REPLICA_RUN_ID_MAX];  // pod UID, or "<pid>-<start time>": changes whenever the process does
  char host[REPLICA_HOST_MAX];
  int port;
  int restarts;
  driver_need need;
  // REPLICA_ALIVE: when it last became so by the driver's own judgement, business time; 0: the driver does not judge. A
  // later moment than before is another stretch of uptime, even of the same run.
  int64_t ready_since_us;
  int64_t exits_us[REPLICA_EXITS_KEPT];  // latest exits, newest first, business time; 0: none
  char detail[REPLICA_DETAIL_MAX];  // words a user understands: "pulling image", "exited with status 1, restarting in 4
                                    // s"
} replica_observation;

typedef void (*replica_observe_fn)(void *arg, const replica_observation *seen);
typedef void (*replica_log_fn)(void *arg, const char *line, size_t len);

// What a driver asks of the scheduler; any thread.
typedef struct driver_host {
  bool (*may_write)(void *arg, const char *region);  // whether this process leads the region now, by the lease's clock
  void (*changed)(void *arg, const char *region);    // something was seen there: let its pass come at once
  // The last lines of a replica whose log is about to go with it.
  void (*keep_log)(void *arg, int64_t instance_id, int replica_id, const char *lines);
  void *arg;
} driver_host;

typedef void (*driver_room_fn)(void *arg, const char *gpu_type, int total);

typedef struct driver_ops {
  const char *name;  // "process", "kubernetes"
  bool asks_tokens;  // its replicas listen where others might reach them: their engines ask callers for a token
  // How a region is reached, again and again; NULL: the driver needs no telling. `config` is packed, driver-specific.
  eco_status (*configure)(driver *d, const char *region, const uint8_t *config, size_t len);
  // Tells the GPUs of each given type that are there for us; NULL: the operator's numbers stand.
  eco_status (*rooms)(driver *d, const char *region, const char *const *gpu_types, size_t n, driver_room_fn fn,
                      void *arg);
  // Whether the driver could run it at all (preset known, command allowed). A refusal is a 422 for the launch.
  eco_status (*admit)(driver *d, const replica_spec *spec);
  // Makes the replica exist in this generation. Success means accepted, not Ready.
  eco_status (*apply)(driver *d, const replica_spec *spec);
  // Asks it to end (SIGTERM, SIGKILL after drain_s); success means asked. Absent is success.
  eco_status (*remove)(driver *d, const char *region, int64_t instance_id, int replica_id, int drain_s);
  // A number that changes whenever observe could tell something else. A failure means "unknown", as with observe. NULL:
  // the driver cannot tell without looking.
  eco_status (*version)(driver *d, const char *region, uint64_t *out);
  // Tells everything of ours that exists in the region. A failure means "unknown", never "nothing".
  eco_status (*observe)(driver *d, const char *region, replica_observe_fn fn, void *arg);
  // Lines from `offset` on (at most max_lines); offset -1: the last max_lines. *next_offset for the following call.
  // Kept after the replica's end until forget, unless the driver gives the last lines to its host instead.
  eco_status (*logs)(driver *d, const char *region, int64_t instance_id, int replica_id, int64_t offset, int max_lines,
                     replica_log_fn fn, void *arg, int64_t *next_offset);
  // Drops logs and directories of a replica that ended.
  eco_status (*forget)(driver *d, const char *region, int64_t instance_id, int replica_id);
  void (*close)(driver *d);  // leaves replicas running
} driver_ops;

struct driver {
  const driver_ops *ops;  // first member of every implementation
};

// ---- the process driver ----
typedef struct process_driver_options {
  const char *state_dir;  // pid files, adoption records, logs, private directories
  const char *run_dir;    // <instance>-<replica>.pid always names the live process
  const char *bind_host;  // "127.0.0.1", or a name of this machine: looked up once, when the driver opens
  bool allow_commands;
  const char *simulator_path;  // presets: "" when not installed
  const char *llama_cpp_path;
  const char *run_as_user;  // unprivileged user when we are root; "" keeps ours
  const char *ports;        // "<first>-<last>" for replicas
} process_driver_options;
ECO_CHECKED eco_status process_driver_open(const process_driver_options *options, driver **out);

// ---- the Kubernetes driver ----
typedef struct kube_driver_options {
  const char *installation;         // uuid: the label by which we know our own
  const char *kubeconfig_dir;       // where regions' kubeconfig files lie
  const char *service_account_dir;  // for in_cluster
  const char *weights_image;        // of regions that name none; ""
  bool offer_simulator;             // for test clusters
  int64_t heartbeat_ms;             // three unanswered ones: what was seen is no evidence any more
  int64_t weights_keep_s;           // volumes of weights that nobody uses go after so long
  driver_host host;
} kube_driver_options;
ECO_CHECKED eco_status kube_driver_open(const kube_driver_options *options, driver **out);

#endif
