// What a replica is made of in Kubernetes, as JSON. Pure: specification + region -> objects.
//
//   Deployment eco-<instance>-<replica>      one pod; owns the next two
//   Secret, Service                          of the same name: token and secret env; unless pods are called directly
//   PersistentVolumeClaim weights-<hash>     by account, repository, commit; nobody's: launches share it
//   NetworkPolicies                          once per namespace: all is denied but what is named
//
// The namespace itself and the pods' ServiceAccount (without a token, without rights) are the installer's.
//
// Every object carries the labels below: by them we know our own, and touch no other.
#ifndef SCHEDULER_KUBE_OBJECTS_H
#define SCHEDULER_KUBE_OBJECTS_H

#include "driver.h"
#include "kube_limits.h"
#include "kube_region.h"

#define KUBE_LABEL_INSTALLATION "ecolink.io/installation"
#define KUBE_LABEL_INSTANCE "ecolink.io/instance"
#define KUBE_LABEL_REPLICA "ecolink.io/replica"
#define KUBE_LABEL_ACCOUNT "ecolink.io/account"
#define KUBE_NOTE_GENERATION "ecolink.io/generation"
#define KUBE_NOTE_MODEL "ecolink.io/model"
#define KUBE_NOTE_PORT "ecolink.io/port"
// On the Deployment: which parts belong to it.
#define KUBE_NOTE_SECRET "ecolink.io/secret"
#define KUBE_NOTE_VOLUME "ecolink.io/volume"
#define KUBE_NOTE_UNUSED "ecolink.io/unused-since"  // on a volume that no replica has
#define KUBE_MANAGER "ecolink-scheduler"
#define KUBE_CONTAINER "engine"
#define KUBE_WEIGHTS_CONTAINER "weights"
#define KUBE_SERVICE_ACCOUNT "ecolink-replica"

// "eco-142-1", a DNS label.
void kube_replica_name(int64_t instance_id, int replica_id, char out[KUBE_NAME_MAX]);
void kube_volume_name(const char *account_id, const char *repo, const char *revision, char out[KUBE_NAME_MAX]);
// Whether the replica's weights come from a volume of their own.
bool kube_wants_volume(const kube_place *place, const replica_spec *spec);
// Whether an init container brings them there.
bool kube_wants_download(const kube_place *place, const replica_spec *spec);
bool kube_wants_secret(const replica_spec *spec);
bool kube_wants_service(const kube_place *place);
const char *kube_service_type(const kube_place *place);

// Which object a write is meant for: another one of that name is left alone. NULL: no condition.
typedef struct kube_stamp {
  const char *uid;
  const char *resource_version;
} kube_stamp;

// All results are in the arena. INVALID_REQUEST: this launch cannot be said in Kubernetes.
ECO_CHECKED eco_status kube_deployment(const kube_place *place, const replica_spec *spec, const kube_stamp *stamp,
                                       eco_arena *arena, const char **out);
// `owner_uid`: the Deployment's.
const char *kube_secret(const kube_place *place, const replica_spec *spec, const char *owner_uid,
                        const kube_stamp *stamp, eco_arena *arena);
const char *kube_service(const kube_place *place, const replica_spec *spec, const char *owner_uid,
                         const kube_stamp *stamp, eco_arena *arena);
const char *kube_volume(const kube_place *place, const replica_spec *spec, eco_arena *arena);

enum { KUBE_NAMESPACE_OBJECTS = 2 };
// The namespace's NetworkPolicies: `index` from 0 until NULL. `api_server`: its IPv4 address, or "".
const char *kube_namespace_object(const kube_place *place, const char *api_server, int index, eco_arena *arena,
                                  const char **name);

#endif
