// The Kubernetes driver's own state, shared by its API (driver_kube.c), what it sees (driver_kube_watch.c), remembers
// (driver_kube_cache.c) and writes (driver_kube_work.c).
//
//   watches ──▶ cache ──▶ observe ──▶ reconciler ──▶ apply, remove ──▶ queue ──▶ workers ──▶ API server
//
// Callers wait for no network but in logs(). Each region has threads of its own; one that hangs holds up no other.
#ifndef SCHEDULER_DRIVER_KUBE_INTERNAL_H
#define SCHEDULER_DRIVER_KUBE_INTERNAL_H

#include <pthread.h>

#include "driver.h"
#include "kube_client.h"
#include "kube_digest.h"
#include "kube_judge.h"
#include "kube_objects.h"
#include "kube_region.h"
#include "kube_table.h"

enum {
  KUBE_QUEUE_BUCKETS = 4096,
  KUBE_WORKERS = 4,  // writes of one region at a time
  KUBE_QUEUE_MAX = 16384,
  KUBE_STALE_BEATS = 3,     // so many unanswered heartbeats: what is remembered is no evidence any more
  KUBE_COLLECT_MS = 60000,  // how often unused volumes are looked for
  KUBE_PROGRESS_MS = 2000,  // how often downloads are asked how far they are
};

typedef enum kube_kind {
  KUBE_DEPLOYMENTS,
  KUBE_PODS,
  KUBE_SECRETS,
  KUBE_SERVICES,
  KUBE_VOLUMES,
  KUBE_POLICIES,
  KUBE_OWN_KINDS,  // those above are ours, in our namespace, and needed to observe
  KUBE_NODES = KUBE_OWN_KINDS,
  KUBE_OTHER_PODS,
  KUBE_KINDS,
} kube_kind;

// ---- what is to be written ----
typedef enum kube_action { KUBE_DO_APPLY, KUBE_DO_REMOVE } kube_action;

// One key at a time is one replica. Who is in the queue: whatever was asked and is not done. One leaves when it is
// done.
typedef struct kube_work {
  int64_t instance_id;
  int replica_id;
  kube_action action;
  eco_arena *arena;  // owns spec
  replica_spec spec;
  bool running;  // a worker has it
  bool again;    // it was asked anew meanwhile: `next_*` replaces it
  kube_action next_action;
  eco_arena *next_arena;
  replica_spec next_spec;
  int failures;
  int64_t due_ms;
  eco_status last;  // why it failed the last time
  struct kube_work *next;
} kube_work;

typedef struct kube_reflector {
  struct kube_region *region;
  kube_kind kind;
  pthread_t thread;
  bool running;
  // guarded by the region's lock
  bool synced;                // the first list is complete
  int64_t failing_since_ms;   // boot time since which neither list nor watch has succeeded; 0: all is well
  bool optional_refused;      // 403 on what only capacity needs
  char rv[KUBE_RV_MAX];       // where the next watch begins
  char seen_rv[KUBE_RV_MAX];  // up to where this one has told everything
} kube_reflector;

typedef struct kube_region {
  struct kube_driver *driver;
  char name[64];
  uint8_t *config;  // as configured
  size_t config_len;
  Ecolink__V1__KubernetesRegion *given;
  kube_place place;
  kube_client *client;
  char api_address[64];  // the API server's, when it is an IPv4 literal

  pthread_mutex_t lock;
  pthread_cond_t wake;
  bool stopping;
  kube_table tables[KUBE_KINDS];
  kube_reflector reflectors[KUBE_KINDS];
  pthread_t workers[KUBE_WORKERS];
  int worker_count;
  pthread_t heart;
  bool heart_running;
  pthread_t progress;
  bool progress_running;
  int64_t heard_ms;  // last answered heartbeat
  char trouble[KUBE_MESSAGE_MAX];
  bool prepared;     // the namespace's own objects were seen to be there
  uint64_t changes;  // of whatever observe tells
  kube_work *queue[KUBE_QUEUE_BUCKETS];
  int queued;
  int users;  // who has it from kube_region_take; guarded by the driver's lock, as is next
  struct kube_region *next;
} kube_region;

typedef struct kube_driver {
  driver base;
  char *installation;
  char *kubeconfig_dir;
  char *service_account_dir;
  char *weights_image;
  bool offer_simulator;
  int64_t heartbeat_ms;
  int64_t weights_keep_s;
  driver_host host;
  pthread_mutex_t lock;  // guards the lists and their regions' users
  kube_region *regions;
  kube_region *retired;  // configured anew: their successors are listed. Freed when nobody uses them
} kube_driver;

// ---- regions (driver_kube_regions.c) ----
// A region by its name, in use until given back: KUBE_USED does it at the end of the scope.
ECO_CHECKED eco_status kube_region_take(kube_driver *d, const char *name, kube_region **out);
void kube_region_give(kube_region *r);
void kube_region_done(kube_region **r);
#define KUBE_USED __attribute__((cleanup(kube_region_done)))
ECO_CHECKED eco_status kube_configure(driver *base, const char *name, const uint8_t *config, size_t len);
void kube_regions_close(kube_driver *d);

// Something that observe tells has changed: counts it, and lets the region's pass come. Lock not held.
void kube_changed(kube_region *r);

// The path of a kind's collection; `name` NULL: the collection itself.
void kube_path(const kube_region *r, kube_kind kind, const char *name, const char *query, char out[KUBE_PATH_MAX]);
// Puts an object that was listed or watched into the table, or takes it out. False: nothing that is read of it has
// changed. Lock held.
bool kube_remember(kube_region *r, kube_kind kind, yyjson_val *object, bool deleted);
// The same for what the API server answered to a write of ours: the watch may have told of its end already. Lock held.
void kube_remember_answer(kube_region *r, kube_kind kind, yyjson_val *object);
// Everything of one replica. Lock held; `pods` has room for KUBE_VIEW_PODS.
enum { KUBE_VIEW_PODS = 16 };
kube_view kube_view_of(kube_region *r, int64_t instance_id, int replica_id, const kube_pod_digest **pods);
// Copies of our objects under other names carry our labels, and start pods of their own.
bool kube_is_stray(const kube_meta *meta);
bool kube_has_stray(const kube_region *r, int64_t instance_id, int replica_id);  // lock held
// The name of one of that kind; false: there is none. Lock held.
bool kube_find_stray(const kube_region *r, kube_kind kind, int64_t instance_id, int replica_id,
                     char name[KUBE_NAME_MAX]);

void *kube_reflect(void *reflector);
void *kube_heartbeat(void *region);
void *kube_progress(void *region);
// Marks volumes that nobody uses, and deletes those that were unused for weights_keep_s. Called now and then.
void kube_collect_volumes(kube_region *r);
int64_t kube_collect_interval_ms(const kube_driver *d);
// Whether what is remembered is evidence. Lock held.
ECO_CHECKED eco_status kube_fresh(kube_region *r);

kube_work *kube_work_find(kube_region *r, int64_t instance_id, int replica_id);  // lock held
ECO_CHECKED eco_status kube_work_put(kube_region *r, kube_action action, int64_t instance_id, int replica_id,
                                     const replica_spec *spec);
void kube_work_free_all(kube_region *r);
void *kube_worker(void *region);

#endif
