// Building a replica's pod template.
//
// Pod Security "restricted" holds for every pod: no root, no capability, no privilege escalation, the runtime's seccomp
// profile. Engines whose images expect root get a home of their own instead, and the weights volume as their cache.
#include "kube_pod.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "driver_template.h"

enum {
  USER_ID = 1000,
  PROBE_PERIOD_S = 2,
  STARTUP_FAILURES = 4 * 3600 / PROBE_PERIOD_S,  // the scheduler's own deadlines come first
  KILL_AFTER_DRAIN_S = 10,
  SHARED_MEMORY_DEFAULT_MB = 1024,
};
static const char HOME[] = "/home/ecolink";
static const char WEIGHTS[] = "/weights";

// $(NAME) would be replaced by Kubernetes: what a launch says stands as it is.
static const char *literal(kube_json *j, const char *text) {
  size_t dollars = 0;
  for (const char *c = text; *c; c++) {
    dollars += *c == '$';
  }
  if (dollars == 0) {
    return text;
  }
  char *out = eco_alloc(j->arena, strlen(text) + dollars + 1);
  char *to = out;
  for (const char *c = text; *c; c++) {
    *to++ = *c;
    if (*c == '$') {
      *to++ = '$';
    }
  }
  return out;
}

// ---- command and environment ----
static eco_status put_words(kube_json *j, yyjson_mut_val *container, const char *key, const char *const *words,
                            const driver_vars *vars) {
  if (!words || !words[0]) {
    return eco_success();
  }
  yyjson_mut_val *list = kube_put_arr(j, container, key);
  for (; *words; words++) {
    const char *word = driver_template(j->arena, *words, vars);
    if (!word) {
      return eco_error_param(ECO_INVALID_REQUEST, "args", "an argument is longer than %d bytes", DRIVER_ARG_BYTES_MAX);
    }
    kube_add_str(j, list, literal(j, word));
  }
  return eco_success();
}

static bool names_variable(const replica_spec *spec, const char *name) {
  for (const driver_name_value *e = spec->env; e && e->name; e++) {
    if (strcmp(e->name, name) == 0) {
      return true;
    }
  }
  return false;
}

static bool names_secret(const replica_spec *spec, const char *name) {
  for (const driver_name_value *e = spec->env; e && e->name; e++) {
    if (e->secret && strcmp(e->name, name) == 0) {
      return true;
    }
  }
  return false;
}

static void put_env(kube_json *j, yyjson_mut_val *list, const char *name, const char *value) {
  yyjson_mut_val *e = kube_add_obj(j, list);
  kube_put_str(j, e, "name", name);
  kube_put_str(j, e, "value", literal(j, value));
}

static void put_secret_env(kube_json *j, yyjson_mut_val *list, const replica_spec *spec, const char *name) {
  char secret[KUBE_NAME_MAX];
  kube_replica_name(spec->instance_id, spec->replica_id, secret);
  yyjson_mut_val *e = kube_add_obj(j, list);
  kube_put_str(j, e, "name", name);
  yyjson_mut_val *ref = kube_put_obj(j, kube_put_obj(j, e, "valueFrom"), "secretKeyRef");
  kube_put_str(j, ref, "name", eco_strdup(j->arena, secret));
  kube_put_str(j, ref, "key", name);
}

static void put_environment(kube_json *j, yyjson_mut_val *container, const kube_place *place, const replica_spec *spec,
                            const driver_vars *vars) {
  yyjson_mut_val *list = kube_put_arr(j, container, "env");
  put_env(j, list, "ECOLINK_PORT", vars->port);
  put_env(j, list, "ECOLINK_HOST", vars->host);
  put_env(j, list, "ECOLINK_SERVED_MODEL", vars->model);
  // where the engines that we know keep what they download; hubs lock and resume there by themselves
  const char *cache = kube_wants_volume(place, spec) ? WEIGHTS : HOME;
  const struct {
    const char *name;
    const char *value;
  } ours[] = {
      {"HOME", HOME},
      {"HF_HOME", eco_sprintf(j->arena, "%s/huggingface", cache)},
      {"HUGGINGFACE_HUB_CACHE", eco_sprintf(j->arena, "%s/huggingface/hub", cache)},
      {"LLAMA_CACHE", eco_sprintf(j->arena, "%s/llama.cpp", cache)},
      {"OLLAMA_MODELS", eco_sprintf(j->arena, "%s/ollama", cache)},
      {"OLLAMA_HOST", eco_sprintf(j->arena, "%s:%s", vars->host, vars->port)},
  };
  for (size_t i = 0; i < sizeof(ours) / sizeof(ours[0]); i++) {
    if (!names_variable(spec, ours[i].name)) {
      put_env(j, list, ours[i].name, ours[i].value);
    }
  }
  for (const driver_name_value *e = spec->env; e && e->name; e++) {
    if (e->secret) {
      put_secret_env(j, list, spec, e->name);
    } else {
      put_env(j, list, e->name, e->value);
    }
  }
  if (*spec->hf_token && !names_variable(spec, "HF_TOKEN")) {
    put_secret_env(j, list, spec, "HF_TOKEN");
  }
}

// ---- probes and the end ----
static void put_probe(kube_json *j, yyjson_mut_val *container, const char *key, const replica_spec *spec, int period_s,
                      int timeout_s, int failures) {
  yyjson_mut_val *probe = kube_put_obj(j, container, key);
  yyjson_mut_val *http = kube_put_obj(j, probe, "httpGet");
  kube_put_str(j, http, "path", spec->health_path);
  kube_put_int(j, http, "port", spec->port);
  kube_put_int(j, probe, "periodSeconds", period_s);
  kube_put_int(j, probe, "timeoutSeconds", timeout_s);
  kube_put_int(j, probe, "failureThreshold", failures);
}

static void put_probes(kube_json *j, yyjson_mut_val *container, const replica_spec *spec) {
  put_probe(j, container, "startupProbe", spec, PROBE_PERIOD_S, 2, STARTUP_FAILURES);
  put_probe(j, container, "readinessProbe", spec, PROBE_PERIOD_S, 3, 3);
  // an engine busy with a long prompt answers late: only a minute of silence is death
  put_probe(j, container, "livenessProbe", spec, 10, 10, 6);
  if (spec->drain_s > 0) {
    // the gateways drop the route at once; requests under way get their time before SIGTERM
    yyjson_mut_val *stop = kube_put_obj(j, kube_put_obj(j, container, "lifecycle"), "preStop");
    kube_put_int(j, kube_put_obj(j, stop, "sleep"), "seconds", spec->drain_s);
  }
}

// ---- resources ----
static void put_resources(kube_json *j, yyjson_mut_val *container, const kube_place *place, const replica_spec *spec) {
  const Ecolink__V1__KubernetesRegion *g = place->given;
  yyjson_mut_val *resources = kube_put_obj(j, container, "resources");
  const char *gpus = eco_sprintf(j->arena, "%d", spec->gpu_count);
  yyjson_mut_val *requests = kube_put_obj(j, resources, "requests");
  kube_put_str(j, requests, place->gpu_resource, gpus);
  if (g->cpu_milli_per_gpu > 0) {
    kube_put_str(j, requests, "cpu",
                 eco_sprintf(j->arena, "%" PRId64 "m", (int64_t)g->cpu_milli_per_gpu * spec->gpu_count));
  }
  if (g->memory_mb_per_gpu > 0) {
    kube_put_str(j, requests, "memory",
                 eco_sprintf(j->arena, "%" PRId64 "Mi", (int64_t)g->memory_mb_per_gpu * spec->gpu_count));
  }
  kube_put_str(j, kube_put_obj(j, resources, "limits"), place->gpu_resource, gpus);
}

// ---- volumes ----
static void put_empty_dir(kube_json *j, yyjson_mut_val *volumes, yyjson_mut_val *mounts, const char *name,
                          const char *path, int memory_mb) {
  yyjson_mut_val *v = kube_add_obj(j, volumes);
  kube_put_str(j, v, "name", name);
  yyjson_mut_val *dir = kube_put_obj(j, v, "emptyDir");
  if (memory_mb > 0) {
    kube_put_str(j, dir, "medium", "Memory");
    kube_put_str(j, dir, "sizeLimit", eco_sprintf(j->arena, "%dMi", memory_mb));
  }
  yyjson_mut_val *m = kube_add_obj(j, mounts);
  kube_put_str(j, m, "name", name);
  kube_put_str(j, m, "mountPath", path);
}

static void put_claim(kube_json *j, yyjson_mut_val *volumes, yyjson_mut_val *mounts, const char *name,
                      const char *claim, const char *path, bool read_only) {
  yyjson_mut_val *v = kube_add_obj(j, volumes);
  kube_put_str(j, v, "name", name);
  yyjson_mut_val *source = kube_put_obj(j, v, "persistentVolumeClaim");
  kube_put_str(j, source, "claimName", claim);
  yyjson_mut_val *m = kube_add_obj(j, mounts);
  kube_put_str(j, m, "name", name);
  kube_put_str(j, m, "mountPath", path);
  if (read_only) {
    kube_put_bool(j, m, "readOnly", true);
  }
}

static eco_status put_volumes(kube_json *j, yyjson_mut_val *pod, yyjson_mut_val *container, const kube_place *place,
                              const replica_spec *spec) {
  yyjson_mut_val *volumes = kube_put_arr(j, pod, "volumes");
  yyjson_mut_val *mounts = kube_put_arr(j, container, "volumeMounts");
  put_empty_dir(j, volumes, mounts, "home", HOME, 0);
  put_empty_dir(j, volumes, mounts, "tmp", "/tmp", 0);
  put_empty_dir(j, volumes, mounts, "shm", "/dev/shm",
                spec->shared_memory_mb > 0 ? spec->shared_memory_mb : SHARED_MEMORY_DEFAULT_MB);
  if (kube_wants_volume(place, spec)) {
    char claim[KUBE_NAME_MAX];
    kube_volume_name(spec->account_id, spec->model_repo, spec->model_revision, claim);
    put_claim(j, volumes, mounts, "weights", eco_strdup(j->arena, claim), WEIGHTS, false);
  }
  int n = 0;
  for (const driver_mount *m = spec->mounts; m && m->filesystem; m++) {
    const char *claim = kube_place_claim(place, m->filesystem);
    if (!claim) {
      return eco_error_param(ECO_INVALID_REQUEST, "filesystems", "filesystem %.64s cannot be mounted in region %.64s",
                             m->filesystem, place->region);
    }
    put_claim(j, volumes, mounts, eco_sprintf(j->arena, "shared-%d", n++), claim, m->path, false);
  }
  return eco_success();
}

// ---- where ----
static void put_toleration(kube_json *j, yyjson_mut_val *list, const char *key, const char *operator,
                           const char * value, const char *effect) {
  yyjson_mut_val *t = kube_add_obj(j, list);
  if (*key) {
    kube_put_str(j, t, "key", key);
  }
  kube_put_str(j, t, "operator", *operator? operator : "Exists");
  if (*value) {
    kube_put_str(j, t, "value", value);
  }
  if (*effect) {
    kube_put_str(j, t, "effect", effect);
  }
}

static void put_place(kube_json *j, yyjson_mut_val *pod, const kube_place *place, const replica_spec *spec) {
  const Ecolink__V1__KubernetesRegion *g = place->given;
  yyjson_mut_val *selector = kube_put_obj(j, pod, "nodeSelector");
  kube_put_str(j, selector, place->gpu_label, kube_place_gpu_value(place, spec->gpu_type));
  for (size_t i = 0; i < g->n_node_labels; i++) {
    kube_put_str(j, selector, g->node_labels[i]->name, g->node_labels[i]->value);
  }
  if (kube_wants_volume(place, spec) && place->weights == KUBE_WEIGHTS_ONCE) {
    for (size_t i = 0; i < g->n_weights_node_labels; i++) {
      kube_put_str(j, selector, g->weights_node_labels[i]->name, g->weights_node_labels[i]->value);
    }
  }
  yyjson_mut_val *tolerations = kube_put_arr(j, pod, "tolerations");
  put_toleration(j, tolerations, place->gpu_resource, "Exists", "", "");
  for (size_t i = 0; i < g->n_tolerations; i++) {
    const Ecolink__V1__KubernetesToleration *t = g->tolerations[i];
    put_toleration(j, tolerations, t->key, t->operator_, t->value, t->effect);
  }
}

// ---- security ----
static void put_pod_security(kube_json *j, yyjson_mut_val *pod) {
  yyjson_mut_val *s = kube_put_obj(j, pod, "securityContext");
  kube_put_bool(j, s, "runAsNonRoot", true);
  kube_put_int(j, s, "runAsUser", USER_ID);
  kube_put_int(j, s, "runAsGroup", USER_ID);
  kube_put_int(j, s, "fsGroup", USER_ID);
  kube_put_str(j, s, "fsGroupChangePolicy", "OnRootMismatch");  // a volume of weights has too many files to walk
  kube_put_str(j, kube_put_obj(j, s, "seccompProfile"), "type", "RuntimeDefault");
}

static void put_container_security(kube_json *j, yyjson_mut_val *container) {
  yyjson_mut_val *s = kube_put_obj(j, container, "securityContext");
  kube_put_bool(j, s, "allowPrivilegeEscalation", false);
  kube_put_bool(j, s, "privileged", false);
  kube_add_str(j, kube_put_arr(j, kube_put_obj(j, s, "capabilities"), "drop"), "ALL");
}

// ---- weights ----
// Downloads into the volume before the engine starts. Its last words become the reason that the owner reads.
static void put_download(kube_json *j, yyjson_mut_val *pod, const kube_place *place, const replica_spec *spec) {
  const char *const args[] = {"--repo",     spec->model_repo,
                              "--revision", spec->model_revision,
                              "--cache",    eco_sprintf(j->arena, "%s/huggingface/hub", WEIGHTS)};
  yyjson_mut_val *c = kube_add_obj(j, kube_put_arr(j, pod, "initContainers"));
  kube_put_str(j, c, "name", KUBE_WEIGHTS_CONTAINER);
  kube_put_str(j, c, "image", place->weights_image);
  yyjson_mut_val *list = kube_put_arr(j, c, "args");
  for (size_t i = 0; i < sizeof(args) / sizeof(args[0]); i++) {
    kube_add_str(j, list, literal(j, args[i]));
  }
  yyjson_mut_val *env = kube_put_arr(j, c, "env");
  if (*place->given->hub_url) {
    put_env(j, env, "HF_ENDPOINT", place->given->hub_url);
  }
  if (*spec->hf_token || names_secret(spec, "HF_TOKEN")) {
    put_secret_env(j, env, spec, "HF_TOKEN");
  }
  kube_put_str(j, c, "terminationMessagePolicy", "FallbackToLogsOnError");
  put_container_security(j, c);
  yyjson_mut_val *m = kube_add_obj(j, kube_put_arr(j, c, "volumeMounts"));
  kube_put_str(j, m, "name", "weights");
  kube_put_str(j, m, "mountPath", WEIGHTS);
}

// ---- the whole ----
// An engine that reads its key from no variable gets it as an argument, which Kubernetes fills in from the Secret.
static void put_token(kube_json *j, yyjson_mut_val *container, const replica_spec *spec) {
  if (spec->token_flag) {
    yyjson_mut_val *args = yyjson_mut_obj_get(container, "args");
    kube_add_str(j, args, spec->token_flag);
    kube_add_str(j, args, eco_sprintf(j->arena, "$(%s)", spec->token_env));
  }
}

static eco_status put_container(kube_json *j, yyjson_mut_val *pod, const kube_place *place, const replica_spec *spec) {
  const driver_vars vars = {
      .port = eco_sprintf(j->arena, "%d", spec->port), .host = "0.0.0.0", .model = spec->served_name};
  yyjson_mut_val *c = kube_add_obj(j, kube_put_arr(j, pod, "containers"));
  kube_put_str(j, c, "name", KUBE_CONTAINER);
  kube_put_str(j, c, "image", spec->image);
  ECO_TRY(put_words(j, c, "command", spec->command, &vars));
  ECO_TRY(put_words(j, c, "args", spec->args, &vars));
  put_token(j, c, spec);
  put_environment(j, c, place, spec, &vars);
  yyjson_mut_val *port = kube_add_obj(j, kube_put_arr(j, c, "ports"));
  kube_put_str(j, port, "name", "http");
  kube_put_int(j, port, "containerPort", spec->port);
  kube_put_str(j, port, "protocol", "TCP");
  put_resources(j, c, place, spec);
  put_probes(j, c, spec);
  put_container_security(j, c);
  return put_volumes(j, pod, c, place, spec);
}

eco_status kube_put_pod(kube_json *j, yyjson_mut_val *template, const kube_place *place, const replica_spec *spec) {
  const Ecolink__V1__KubernetesRegion *g = place->given;
  yyjson_mut_val *metadata = kube_put_obj(j, template, "metadata");
  yyjson_mut_val *labels = kube_put_obj(j, metadata, "labels");
  kube_put_replica_labels(j, labels, place, spec);
  kube_put_str(j, labels, KUBE_LABEL_ACCOUNT, spec->account_id);
  yyjson_mut_val *notes = kube_put_obj(j, metadata, "annotations");
  kube_put_str(j, notes, KUBE_NOTE_GENERATION, eco_sprintf(j->arena, "%" PRId64, spec->generation));
  kube_put_str(j, notes, KUBE_NOTE_PORT, eco_sprintf(j->arena, "%d", spec->port));
  yyjson_mut_val *pod = kube_put_obj(j, template, "spec");
  kube_put_str(j, pod, "serviceAccountName", KUBE_SERVICE_ACCOUNT);
  kube_put_bool(j, pod, "automountServiceAccountToken", false);
  kube_put_bool(j, pod, "enableServiceLinks", false);
  kube_put_int(j, pod, "terminationGracePeriodSeconds", spec->drain_s + KILL_AFTER_DRAIN_S);
  if (*g->runtime_class) {
    kube_put_str(j, pod, "runtimeClassName", g->runtime_class);
  }
  if (g->n_image_pull_secrets > 0) {
    yyjson_mut_val *list = kube_put_arr(j, pod, "imagePullSecrets");
    for (size_t i = 0; i < g->n_image_pull_secrets; i++) {
      kube_put_str(j, kube_add_obj(j, list), "name", g->image_pull_secrets[i]);
    }
  }
  put_place(j, pod, place, spec);
  put_pod_security(j, pod);
  if (kube_wants_download(place, spec)) {
    put_download(j, pod, place, spec);
  }
  return put_container(j, pod, place, spec);
}
