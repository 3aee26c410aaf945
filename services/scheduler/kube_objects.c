// Objects of one replica: names, metadata, Secret, Service, weights volume. The pod is built in kube_pod.c.
#include "kube_objects.h"

#include <inttypes.h>
#include <sodium.h>
#include <stdio.h>
#include <string.h>

#include "kube_json.h"
#include "kube_pod.h"

enum { VOLUME_HASH_BYTES = 16 };

// ---- names ----
void kube_replica_name(int64_t instance_id, int replica_id, char out[KUBE_NAME_MAX]) {
  (void)snprintf(out, KUBE_NAME_MAX, "eco-%" PRId64 "-%d", instance_id, replica_id);
}

// The account is part of it: gated weights never leak to another. Lengths keep the three parts apart.
void kube_volume_name(const char *account_id, const char *repo, const char *revision, char out[KUBE_NAME_MAX]) {
  unsigned char hash[VOLUME_HASH_BYTES];
  char hex[2 * VOLUME_HASH_BYTES + 1];
  crypto_generichash_state state;
  const char *const parts[] = {account_id, repo, revision};
  (void)crypto_generichash_init(&state, NULL, 0, sizeof(hash));
  for (size_t i = 0; i < 3; i++) {
    (void)crypto_generichash_update(&state, (const unsigned char *)parts[i], strlen(parts[i]) + 1);
  }
  (void)crypto_generichash_final(&state, hash, sizeof(hash));
  (void)sodium_bin2hex(hex, sizeof(hex), hash, sizeof(hash));
  (void)snprintf(out, KUBE_NAME_MAX, "weights-%s", hex);
}

bool kube_wants_volume(const kube_place *place, const replica_spec *spec) {
  return place->weights != KUBE_WEIGHTS_NONE && *spec->model_repo;
}

bool kube_wants_download(const kube_place *place, const replica_spec *spec) {
  return kube_wants_volume(place, spec) && spec->hub_cache && *place->weights_image;
}

bool kube_wants_secret(const replica_spec *spec) {
  for (const driver_name_value *e = spec->env; e && e->name; e++) {
    if (e->secret) {
      return true;
    }
  }
  return *spec->hf_token != '\0';
}

bool kube_wants_service(const kube_place *place) {
  return place->endpoint != KUBE_ENDPOINT_POD;
}

const char *kube_service_type(const kube_place *place) {
  switch (place->endpoint) {
    case KUBE_ENDPOINT_NODE_PORT:
      return "NodePort";
    case KUBE_ENDPOINT_LOAD_BALANCER:
      return "LoadBalancer";
    default:
      return "ClusterIP";
  }
}

// ---- metadata ----
static void put_labels(kube_json *j, yyjson_mut_val *metadata, const kube_place *place) {
  yyjson_mut_val *labels = kube_put_obj(j, metadata, "labels");
  kube_put_str(j, labels, "app.kubernetes.io/managed-by", "ecolink");
  kube_put_str(j, labels, KUBE_LABEL_INSTALLATION, place->installation);
}

void kube_put_replica_labels(kube_json *j, yyjson_mut_val *labels, const kube_place *place, const replica_spec *spec) {
  kube_put_str(j, labels, KUBE_LABEL_INSTALLATION, place->installation);
  kube_put_str(j, labels, KUBE_LABEL_INSTANCE, eco_sprintf(j->arena, "%" PRId64, spec->instance_id));
  kube_put_str(j, labels, KUBE_LABEL_REPLICA, eco_sprintf(j->arena, "%d", spec->replica_id));
}

static yyjson_mut_val *begin(kube_json *j, const char *api, const char *kind, const char *name, const kube_stamp *stamp,
                             yyjson_mut_val **metadata) {
  yyjson_mut_val *root = kube_obj(j);
  kube_put_str(j, root, "apiVersion", api);
  kube_put_str(j, root, "kind", kind);
  *metadata = kube_put_obj(j, root, "metadata");
  kube_put_str(j, *metadata, "name", name);
  if (stamp) {
    kube_put_str(j, *metadata, "uid", stamp->uid);
    kube_put_str(j, *metadata, "resourceVersion", stamp->resource_version);
  }
  return root;
}

static yyjson_mut_val *begin_replica(kube_json *j, const char *api, const char *kind, const kube_place *place,
                                     const replica_spec *spec, const kube_stamp *stamp, yyjson_mut_val **metadata) {
  char name[KUBE_NAME_MAX];
  kube_replica_name(spec->instance_id, spec->replica_id, name);
  yyjson_mut_val *root = begin(j, api, kind, eco_strdup(j->arena, name), stamp, metadata);
  yyjson_mut_val *labels = kube_put_obj(j, *metadata, "labels");
  kube_put_str(j, labels, "app.kubernetes.io/managed-by", "ecolink");
  kube_put_replica_labels(j, labels, place, spec);
  kube_put_str(j, labels, KUBE_LABEL_ACCOUNT, spec->account_id);
  return root;
}

static void put_owner(kube_json *j, yyjson_mut_val *metadata, const replica_spec *spec, const char *owner_uid) {
  char name[KUBE_NAME_MAX];
  kube_replica_name(spec->instance_id, spec->replica_id, name);
  yyjson_mut_val *owner = kube_add_obj(j, kube_put_arr(j, metadata, "ownerReferences"));
  kube_put_str(j, owner, "apiVersion", "apps/v1");
  kube_put_str(j, owner, "kind", "Deployment");
  kube_put_str(j, owner, "name", eco_strdup(j->arena, name));
  kube_put_str(j, owner, "uid", owner_uid);
}

// ---- Deployment ----
eco_status kube_deployment(const kube_place *place, const replica_spec *spec, const kube_stamp *stamp, eco_arena *arena,
                           const char **out) {
  kube_json j = kube_json_new(arena);
  yyjson_mut_val *metadata;
  yyjson_mut_val *root = begin_replica(&j, "apps/v1", "Deployment", place, spec, stamp, &metadata);
  yyjson_mut_val *notes = kube_put_obj(&j, metadata, "annotations");
  kube_put_str(&j, notes, KUBE_NOTE_GENERATION, eco_sprintf(arena, "%" PRId64, spec->generation));
  kube_put_str(&j, notes, KUBE_NOTE_MODEL, spec->served_name);
  kube_put_str(&j, notes, KUBE_NOTE_SECRET, kube_wants_secret(spec) ? "true" : "false");
  if (kube_wants_volume(place, spec)) {
    char volume[KUBE_NAME_MAX];
    kube_volume_name(spec->account_id, spec->model_repo, spec->model_revision, volume);
    kube_put_str(&j, notes, KUBE_NOTE_VOLUME, eco_strdup(arena, volume));
  }
  yyjson_mut_val *body = kube_put_obj(&j, root, "spec");
  kube_put_int(&j, body, "replicas", 1);
  kube_put_int(&j, body, "revisionHistoryLimit", 0);
  // No deadline of its own: the scheduler judges progress. A rolling update would need a second set of GPUs.
  kube_put_int(&j, body, "progressDeadlineSeconds", INT32_MAX);
  kube_put_str(&j, kube_put_obj(&j, body, "strategy"), "type", "Recreate");
  kube_put_replica_labels(&j, kube_put_obj(&j, kube_put_obj(&j, body, "selector"), "matchLabels"), place, spec);
  eco_status st = kube_put_pod(&j, kube_put_obj(&j, body, "template"), place, spec);
  *out = kube_json_take(&j, root);
  if (eco_ok(st) && !*out) {
    st = eco_error_param(ECO_INVALID_REQUEST, "args", "arguments and environment must be UTF-8");
  }
  return st;
}

// ---- Secret ----
static void put_secret_value(kube_json *j, yyjson_mut_val *data, const char *name, const char *value) {
  size_t len = strlen(value);
  size_t cap = sodium_base64_encoded_len(len, sodium_base64_VARIANT_ORIGINAL);
  char *text = eco_alloc(j->arena, cap);
  (void)sodium_bin2base64(text, cap, (const unsigned char *)value, len, sodium_base64_VARIANT_ORIGINAL);
  kube_put_str(j, data, name, text);
}

const char *kube_secret(const kube_place *place, const replica_spec *spec, const char *owner_uid,
                        const kube_stamp *stamp, eco_arena *arena) {
  kube_json j = kube_json_new(arena);
  yyjson_mut_val *metadata;
  yyjson_mut_val *root = begin_replica(&j, "v1", "Secret", place, spec, stamp, &metadata);
  put_owner(&j, metadata, spec, owner_uid);
  kube_put_str(&j, root, "type", "Opaque");
  yyjson_mut_val *data = kube_put_obj(&j, root, "data");
  bool has_token = false;
  for (const driver_name_value *e = spec->env; e && e->name; e++) {
    has_token = has_token || strcmp(e->name, "HF_TOKEN") == 0;
    if (e->secret) {
      put_secret_value(&j, data, e->name, e->value);
    }
  }
  if (*spec->hf_token && !has_token) {
    put_secret_value(&j, data, "HF_TOKEN", spec->hf_token);
  }
  return kube_json_take(&j, root);
}

// ---- Service ----
const char *kube_service(const kube_place *place, const replica_spec *spec, const char *owner_uid,
                         const kube_stamp *stamp, eco_arena *arena) {
  kube_json j = kube_json_new(arena);
  yyjson_mut_val *metadata;
  yyjson_mut_val *root = begin_replica(&j, "v1", "Service", place, spec, stamp, &metadata);
  put_owner(&j, metadata, spec, owner_uid);
  yyjson_mut_val *body = kube_put_obj(&j, root, "spec");
  kube_put_replica_labels(&j, kube_put_obj(&j, body, "selector"), place, spec);
  yyjson_mut_val *port = kube_add_obj(&j, kube_put_arr(&j, body, "ports"));
  kube_put_str(&j, port, "name", "http");
  kube_put_str(&j, port, "protocol", "TCP");
  kube_put_int(&j, port, "port", spec->port);
  kube_put_int(&j, port, "targetPort", spec->port);
  kube_put_str(&j, body, "type", kube_service_type(place));
  if (place->endpoint == KUBE_ENDPOINT_NODE_PORT || place->endpoint == KUBE_ENDPOINT_LOAD_BALANCER) {
    // the pod's own node answers, and sees the caller's address: the NetworkPolicy's ranges hold
    kube_put_str(&j, body, "externalTrafficPolicy", "Local");
  }
  if (place->endpoint == KUBE_ENDPOINT_LOAD_BALANCER) {
    yyjson_mut_val *ranges = kube_put_arr(&j, body, "loadBalancerSourceRanges");
    for (size_t i = 0; i < place->given->n_allowed_source_ranges; i++) {
      kube_add_str(&j, ranges, place->given->allowed_source_ranges[i]);
    }
  }
  return kube_json_take(&j, root);
}

// ---- weights ----
const char *kube_volume(const kube_place *place, const replica_spec *spec, eco_arena *arena) {
  kube_json j = kube_json_new(arena);
  char name[KUBE_NAME_MAX];
  yyjson_mut_val *metadata;
  kube_volume_name(spec->account_id, spec->model_repo, spec->model_revision, name);
  yyjson_mut_val *root = begin(&j, "v1", "PersistentVolumeClaim", eco_strdup(arena, name), NULL, &metadata);
  put_labels(&j, metadata, place);
  kube_put_str(&j, yyjson_mut_obj_get(metadata, "labels"), KUBE_LABEL_ACCOUNT, spec->account_id);
  yyjson_mut_val *notes = kube_put_obj(&j, metadata, "annotations");
  kube_put_str(&j, notes, "ecolink.io/repository", spec->model_repo);
  kube_put_str(&j, notes, "ecolink.io/revision", spec->model_revision);
  yyjson_mut_val *body = kube_put_obj(&j, root, "spec");
  kube_add_str(&j, kube_put_arr(&j, body, "accessModes"),
               place->weights == KUBE_WEIGHTS_ONCE ? "ReadWriteOnce" : "ReadWriteMany");
  if (*place->given->storage_class) {
    kube_put_str(&j, body, "storageClassName", place->given->storage_class);
  }
  yyjson_mut_val *requests = kube_put_obj(&j, kube_put_obj(&j, body, "resources"), "requests");
  kube_put_str(&j, requests, "storage", eco_sprintf(arena, "%dGi", place->weights_gb));
  return kube_json_take(&j, root);
}

// ---- the namespace's own ----
static void put_ports(kube_json *j, yyjson_mut_val *rule, int port) {
  static const char *const protocols[] = {"UDP", "TCP"};
  yyjson_mut_val *ports = kube_put_arr(j, rule, "ports");
  for (size_t i = 0; i < 2; i++) {
    yyjson_mut_val *p = kube_add_obj(j, ports);
    kube_put_str(j, p, "protocol", protocols[i]);
    kube_put_int(j, p, "port", port);
  }
}

// The internet, but for private and link-local addresses (nodes, metadata services, our own NATS and PostgreSQL) and
// the API server.
static void put_internet(kube_json *j, yyjson_mut_val *to, const char *api_server) {
  static const char *const never4[] = {"10.0.0.0/8",     "172.16.0.0/12", "192.168.0.0/16",
                                       "169.254.0.0/16", "100.64.0.0/10", "127.0.0.0/8"};
  static const char *const never6[] = {"fc00::/7", "fe80::/10", "::1/128"};
  yyjson_mut_val *v4 = kube_put_obj(j, kube_add_obj(j, to), "ipBlock");
  kube_put_str(j, v4, "cidr", "0.0.0.0/0");
  yyjson_mut_val *except = kube_put_arr(j, v4, "except");
  for (size_t i = 0; i < sizeof(never4) / sizeof(never4[0]); i++) {
    kube_add_str(j, except, never4[i]);
  }
  if (*api_server) {
    kube_add_str(j, except, eco_sprintf(j->arena, "%s/32", api_server));
  }
  yyjson_mut_val *v6 = kube_put_obj(j, kube_add_obj(j, to), "ipBlock");
  kube_put_str(j, v6, "cidr", "::/0");
  except = kube_put_arr(j, v6, "except");
  for (size_t i = 0; i < sizeof(never6) / sizeof(never6[0]); i++) {
    kube_add_str(j, except, never6[i]);
  }
}

static void put_replica_rules(kube_json *j, yyjson_mut_val *body, const kube_place *place, const char *api_server) {
  yyjson_mut_val *from = kube_put_arr(j, kube_add_obj(j, kube_put_arr(j, body, "ingress")), "from");
  yyjson_mut_val *ours = kube_add_obj(j, from);
  kube_put_str(j, kube_put_obj(j, kube_put_obj(j, ours, "namespaceSelector"), "matchLabels"),
               "kubernetes.io/metadata.name", place->system_namespace);
  kube_put_str(j, kube_put_obj(j, kube_put_obj(j, ours, "podSelector"), "matchLabels"), "app.kubernetes.io/part-of",
               "ecolink");
  for (size_t i = 0; i < place->given->n_allowed_source_ranges; i++) {
    kube_put_str(j, kube_put_obj(j, kube_add_obj(j, from), "ipBlock"), "cidr", place->given->allowed_source_ranges[i]);
  }
  yyjson_mut_val *egress = kube_put_arr(j, body, "egress");
  yyjson_mut_val *dns = kube_add_obj(j, egress);
  yyjson_mut_val *to = kube_add_obj(j, kube_put_arr(j, dns, "to"));
  kube_put_str(j, kube_put_obj(j, kube_put_obj(j, to, "namespaceSelector"), "matchLabels"),
               "kubernetes.io/metadata.name", "kube-system");
  put_ports(j, dns, 53);
  put_internet(j, kube_put_arr(j, kube_add_obj(j, egress), "to"), api_server);
}

const char *kube_namespace_object(const kube_place *place, const char *api_server, int index, eco_arena *arena,
                                  const char **name) {
  static const char *const names[KUBE_NAMESPACE_OBJECTS] = {"ecolink-deny", "ecolink-replicas"};
  if (index < 0 || index >= KUBE_NAMESPACE_OBJECTS) {
    return NULL;
  }
  kube_json j = kube_json_new(arena);
  yyjson_mut_val *metadata;
  yyjson_mut_val *root = begin(&j, "networking.k8s.io/v1", "NetworkPolicy", names[index], NULL, &metadata);
  put_labels(&j, metadata, place);
  *name = names[index];
  yyjson_mut_val *body = kube_put_obj(&j, root, "spec");
  yyjson_mut_val *selector = kube_put_obj(&j, body, "podSelector");
  yyjson_mut_val *types = kube_put_arr(&j, body, "policyTypes");
  kube_add_str(&j, types, "Ingress");
  kube_add_str(&j, types, "Egress");
  if (index == 1) {
    kube_put_str(&j, kube_put_obj(&j, selector, "matchLabels"), KUBE_LABEL_INSTALLATION, place->installation);
    put_replica_rules(&j, body, place, api_server);
  }
  return kube_json_take(&j, root);
}
