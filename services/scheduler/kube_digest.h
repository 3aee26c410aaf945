// What the driver remembers of an object: the few facts it acts on, read out of its JSON. Pure.
#ifndef SCHEDULER_KUBE_DIGEST_H
#define SCHEDULER_KUBE_DIGEST_H

#include <yyjson.h>

#include "driver.h"
#include "kube_limits.h"

enum { KUBE_ADDRESS_MAX = 128, KUBE_WORDS_MAX = 120 };

typedef struct kube_meta {
  char name[KUBE_NAME_MAX];
  char uid[KUBE_UID_MAX];
  char rv[KUBE_RV_MAX];
  bool ours;            // carries this installation's label
  int64_t instance_id;  // 0: not a replica's
  int replica_id;
  int64_t generation;       // of the replica, as noted on the object; 0: none
  int64_t unused_since_us;  // a volume's, as noted on it; 0: it is used
  bool deleting;
  // Somebody else's hand: another field manager owns a part of what we said.
  bool edited;
  int created_entry;  // index in managedFields of what our create left behind; -1: none
} kube_meta;

typedef struct kube_deployment_digest {
  kube_meta meta;
  bool has_secret;               // which parts belong to it
  char volume[KUBE_NAME_MAX];    // "": none
  char trouble[KUBE_WORDS_MAX];  // why no pod can be made; "": nothing
} kube_deployment_digest;

#define KUBE_DOWNLOAD_FAILED "DownloadFailed"  // no reason of Kubernetes': our own, of the weights' container

typedef enum kube_pod_state { KUBE_POD_WAITING, KUBE_POD_RUNNING, KUBE_POD_TERMINATED } kube_pod_state;

typedef struct kube_pod_digest {
  kube_meta meta;
  char ip[KUBE_ADDRESS_MAX];
  char host_ip[KUBE_ADDRESS_MAX];
  int port;
  bool ended;  // phase Failed or Succeeded
  bool ready;
  int64_t ready_since_us;  // last change of the Ready condition, by the node's clock
  int64_t created_us;
  bool scheduled;
  kube_pod_state state;        // of the engine's container
  char reason[48];             // "ImagePullBackOff", "OOMKilled", "Evicted", ...
  char words[KUBE_WORDS_MAX];  // its message
  bool downloading;            // the init container that brings the weights is at work
  int percent;                 // how far it is; -1: not known
  int exit_code;               // of the last exit
  char exit_reason[48];
  int restarts;
  int exit_count;
  int64_t exits_us[REPLICA_EXITS_KEPT];  // newest first
} kube_pod_digest;

typedef struct kube_service_digest {
  kube_meta meta;
  char type[16];  // "ClusterIP", "NodePort", "LoadBalancer"
  int node_port;
  char ingress[KUBE_ADDRESS_MAX];  // of the load balancer
} kube_service_digest;

typedef struct kube_node_digest {
  char name[256];
  char gpu_value[64];
  int gpus;   // allocatable; 0 when nothing may be placed there
  int taken;  // kube_rooms: by pods of others
} kube_node_digest;

// False: it has no name, uid or resourceVersion.
bool kube_meta_read(yyjson_val *object, const char *installation, kube_meta *out);
bool kube_deployment_read(yyjson_val *object, const char *installation, kube_deployment_digest *out);
// `before`: the same pod's digest so far (exits are counted by comparing), NULL when it is new. Times are business
// time: `shift_us` is added to the node's.
bool kube_pod_read(yyjson_val *object, const char *installation, const kube_pod_digest *before, int64_t shift_us,
                   int64_t now_us, kube_pod_digest *out);
bool kube_service_read(yyjson_val *object, const char *installation, kube_service_digest *out);
bool kube_node_read(yyjson_val *object, const char *gpu_label, const char *gpu_resource, kube_node_digest *out);
// GPUs that a pod asks for, and where; false when it asks for none, or is done.
bool kube_pod_gpus(yyjson_val *object, const char *gpu_resource, char node[256], int *gpus);

#endif
