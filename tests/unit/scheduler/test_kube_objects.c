// What a replica is made of in Kubernetes: golden files, and rules that hold over generated launches.
//
// ECOLINK_UPDATE_GOLDEN=1 writes the golden files anew: read the difference before it is committed.
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <yyjson.h>

#include "cmocka_all.h"
#include "ecolink/arena.h"
#include "kube_objects.h"
#include "presets.h"

static const char INSTALLATION[] = "7b1c9a34-5d0e-4f6a-9b8c-2e1f3a4b5c6d";
static Ecolink__V1__KubernetesRegion region;

static kube_place place_of(void) {
  kube_place place;
  eco_status st = kube_place_build(INSTALLATION, "eu-west", &region, &place);
  if (!eco_ok(st)) {
    fail_msg("%s", st.message);
  }
  return place;
}

static void plain_region(void) {
  ecolink__v1__kubernetes_region__init(&region);
  region.kubeconfig = (char *)"eu-west.yaml";
}

static replica_spec spec_of(const char *const *args, const driver_name_value *env) {
  static const char *const nothing[] = {NULL};
  return (replica_spec){.instance_id = 142,
                        .replica_id = 1,
                        .generation = 3,
                        .account_id = "acc_01hzx",
                        .region = "eu-west",
                        .served_name = "my-llama",
                        .engine = "vllm",
                        .image = "vllm/vllm-openai:latest",
                        .command = nothing,
                        .args = args ? args : nothing,
                        .env = env,
                        .health_path = "/health",
                        .port = 8000,
                        .gpu_type = "NVIDIA-H100-80GB-HBM3",
                        .gpu_count = 2,
                        .model_repo = "org/llama",
                        .model_revision = "0123456789abcdef0123456789abcdef01234567",
                        .model_path = "",
                        .hf_token = "",
                        .drain_s = 30};
}

// ---- golden files ----
static void golden(const char *name, const char *json) {
  char path[1024];
  (void)snprintf(path, sizeof(path), "%.*s/golden/%s.json", (int)(strrchr(__FILE__, '/') - __FILE__), __FILE__, name);
  yyjson_doc *doc = yyjson_read(json, strlen(json), 0);
  assert_non_null(doc);
  if (getenv("ECOLINK_UPDATE_GOLDEN")) {
    assert_true(yyjson_write_file(path, doc, YYJSON_WRITE_PRETTY_TWO_SPACES | YYJSON_WRITE_NEWLINE_AT_END, NULL, NULL));
  }
  yyjson_doc *expected = yyjson_read_file(path, 0, NULL, NULL);
  if (!expected) {
    fail_msg("no golden file %s", path);
  }
  if (!yyjson_equals(yyjson_doc_get_root(doc), yyjson_doc_get_root(expected))) {
    fail_msg("%s differs from what is made now:\n%s", path, json);
  }
  yyjson_doc_free(doc);
  yyjson_doc_free(expected);
}

static const char *deployment(const kube_place *place, const replica_spec *spec, eco_arena *arena) {
  const char *json = NULL;
  eco_status st = kube_deployment(place, spec, NULL, arena, &json);
  if (!eco_ok(st)) {
    fail_msg("%s", st.message);
  }
  return json;
}

static void test_a_vllm_replica_with_gated_weights(void **state) {
  (void)state;
  eco_arena *arena = eco_arena_new();
  static const char *const args[] = {"--host",  "{host}",  "--port",    "{port}", "--served-model-name",
                                     "{model}", "--model", "org/llama", NULL};
  static const driver_name_value env[] = {
      {"MODE", "a $(HOME) b", false}, {"API_SECRET", "s3cret", true}, {NULL, NULL, false}};
  plain_region();
  kube_place place = place_of();
  replica_spec spec = spec_of(args, env);
  spec.hf_token = "hf_token";
  spec.shared_memory_mb = 4096;
  golden("vllm_deployment", deployment(&place, &spec, arena));
  golden("vllm_secret", kube_secret(&place, &spec, "1234-uid", NULL, arena));
  golden("vllm_weights", kube_volume(&place, &spec, arena));
  kube_stamp stamp = {"u-1", "77"};
  golden("vllm_secret_stamped", kube_secret(&place, &spec, "1234-uid", &stamp, arena));
  eco_arena_free(arena);
}

static void test_a_custom_container_in_a_region_with_everything(void **state) {
  (void)state;
  eco_arena *arena = eco_arena_new();
  static const char *const command[] = {"/serve", "--on", "{port}", NULL};
  static const driver_mount mounts[] = {{"team", "/shared"}, {NULL, NULL}};
  static Ecolink__V1__KeyValue label = ECOLINK__V1__KEY_VALUE__INIT;
  static Ecolink__V1__KeyValue gpu = ECOLINK__V1__KEY_VALUE__INIT;
  static Ecolink__V1__KeyValue claim = ECOLINK__V1__KEY_VALUE__INIT;
  static Ecolink__V1__KubernetesToleration toleration = ECOLINK__V1__KUBERNETES_TOLERATION__INIT;
  static Ecolink__V1__KeyValue *labels[] = {&label};
  static Ecolink__V1__KeyValue *gpus[] = {&gpu};
  static Ecolink__V1__KeyValue *claims[] = {&claim};
  static Ecolink__V1__KubernetesToleration *tolerations[] = {&toleration};
  static char *ranges[] = {(char *)"10.1.0.0/16", (char *)"fd00::/8"};
  static char *pulls[] = {(char *)"registry"};
  plain_region();
  label.name = (char *)"pool";
  label.value = (char *)"tenants";
  gpu.name = (char *)"h100";
  gpu.value = (char *)"NVIDIA-H100";
  claim.name = (char *)"team";
  claim.value = (char *)"team-files";
  toleration.key = (char *)"dedicated";
  toleration.operator_ = (char *)"Equal";
  toleration.value = (char *)"tenants";
  toleration.effect = (char *)"NoSchedule";
  region.namespace_ = (char *)"tenants";
  region.endpoint_mode = (char *)"load_balancer";
  region.n_allowed_source_ranges = 2;
  region.allowed_source_ranges = ranges;
  region.n_gpu_values = 1;
  region.gpu_values = gpus;
  region.gpu_label = (char *)"gpu";
  region.cpu_milli_per_gpu = 4000;
  region.memory_mb_per_gpu = 65536;
  region.n_tolerations = 1;
  region.tolerations = tolerations;
  region.n_node_labels = 1;
  region.node_labels = labels;
  region.runtime_class = (char *)"nvidia";
  region.n_image_pull_secrets = 1;
  region.image_pull_secrets = pulls;
  region.weights_access = (char *)"ReadWriteOnce";
  region.storage_class = (char *)"fast";
  region.n_weights_node_labels = 1;
  region.weights_node_labels = labels;
  region.n_filesystems = 1;
  region.filesystems = claims;
  kube_place place = place_of();
  replica_spec spec = spec_of(NULL, NULL);
  spec.gpu_type = "h100";
  spec.image = "example.org/own:1";
  spec.command = command;
  spec.model_repo = "";
  spec.mounts = mounts;
  spec.drain_s = 0;
  spec.health_path = "/";
  golden("custom_deployment", deployment(&place, &spec, arena));
  golden("custom_service", kube_service(&place, &spec, "1234-uid", NULL, arena));
  const char *name = NULL;
  const char *text;
  for (int i = 0; (text = kube_namespace_object(&place, "203.0.113.9", i, arena, &name)); i++) {
    char file[64];
    (void)snprintf(file, sizeof(file), "namespace_%s", name);
    golden(file, text);
  }
  spec.mounts = (const driver_mount[]){{"other", "/shared"}, {NULL, NULL}};
  assert_int_equal(kube_deployment(&place, &spec, NULL, arena, &text).code, ECO_INVALID_REQUEST);
  eco_arena_free(arena);
}

static void test_weights_are_brought_before_the_engine_starts(void **state) {
  (void)state;
  plain_region();
  region.weights_image = (char *)"registry.example/ecolink-weights:1";
  region.hub_url = (char *)"https://hub.example";
  kube_place place = place_of();
  replica_spec spec = spec_of(NULL, NULL);
  const char *text = NULL;
  eco_arena *arena = eco_arena_new();
  spec.hub_cache = true;
  golden("download_deployment", deployment(&place, &spec, arena));
  spec.hub_cache = false;  // an engine of which that is not known downloads for itself
  assert_true(eco_ok(kube_deployment(&place, &spec, NULL, arena, &text)));
  assert_null(strstr(text, "initContainers"));
  spec.hub_cache = true;
  region.weights_image = (char *)"none";  // the region's own word counts
  place = place_of();
  kube_place_default_weights(&place, "registry.example/other:1");
  assert_true(eco_ok(kube_deployment(&place, &spec, NULL, arena, &text)));
  assert_null(strstr(text, "initContainers"));
  region.weights_image = (char *)"";
  place = place_of();
  kube_place_default_weights(&place, "registry.example/other:1");
  assert_true(eco_ok(kube_deployment(&place, &spec, NULL, arena, &text)));
  assert_non_null(strstr(text, "registry.example/other:1"));
  spec.model_repo = "";  // nothing comes from the Hub
  assert_true(eco_ok(kube_deployment(&place, &spec, NULL, arena, &text)));
  assert_null(strstr(text, "initContainers"));
  eco_arena_free(arena);
}

static void test_a_key_that_an_engine_takes_as_an_argument_comes_from_the_secret(void **state) {
  (void)state;
  static const char *const args[] = {"--price", "$(HOME)", NULL};
  static const driver_name_value env[] = {{"ECOLINK_REPLICA_TOKEN", "rt_secret", true}, {NULL, NULL, false}};
  plain_region();
  kube_place place = place_of();
  replica_spec spec = spec_of(args, env);
  const char *text = NULL;
  eco_arena *arena = eco_arena_new();
  spec.token_env = "ECOLINK_REPLICA_TOKEN";
  spec.token_flag = "--api-key";
  assert_true(eco_ok(kube_deployment(&place, &spec, NULL, arena, &text)));
  assert_non_null(strstr(text, "\"$$(HOME)\",\"--api-key\",\"$(ECOLINK_REPLICA_TOKEN)\"]"));
  assert_null(strstr(text, "rt_secret"));
  eco_arena_free(arena);
}

// ---- rules over generated launches ----
static yyjson_val *at(yyjson_val *root, const char *pointer) {
  yyjson_val *v = yyjson_ptr_get(root, pointer);
  if (!v) {
    fail_msg("nothing at %s", pointer);
  }
  return v;
}

static const char *text_at(yyjson_val *root, const char *pointer) {
  return yyjson_get_str(at(root, pointer));
}

static bool is_label_value(const char *s) {
  size_t n = strlen(s);
  for (size_t i = 0; i < n; i++) {
    if (!isalnum((unsigned char)s[i]) && !strchr("-_.", s[i])) {
      return false;
    }
  }
  return n > 0 && n <= 63 && isalnum((unsigned char)s[0]) && isalnum((unsigned char)s[n - 1]);
}

static void check_restricted(yyjson_val *root) {
  yyjson_val *pod = at(root, "/spec/template/spec");
  assert_true(yyjson_get_bool(at(pod, "/securityContext/runAsNonRoot")));
  assert_string_equal(text_at(pod, "/securityContext/seccompProfile/type"), "RuntimeDefault");
  assert_false(yyjson_get_bool(at(pod, "/automountServiceAccountToken")));
  assert_null(yyjson_obj_get(pod, "hostNetwork"));
  size_t i;
  size_t n;
  yyjson_val *v;
  yyjson_arr_foreach(at(pod, "/containers"), i, n, v) {
    assert_false(yyjson_get_bool(at(v, "/securityContext/allowPrivilegeEscalation")));
    assert_string_equal(text_at(v, "/securityContext/capabilities/drop/0"), "ALL");
  }
  yyjson_arr_foreach(at(pod, "/volumes"), i, n, v) {
    assert_null(yyjson_obj_get(v, "hostPath"));
  }
}

// No secret value anywhere but in the Secret.
static void check_no_secret(const char *json, const driver_name_value *env) {
  for (; env && env->name; env++) {
    assert_true(!env->secret || !strstr(json, env->value));
  }
}

static void check_selector(yyjson_val *root) {
  size_t i;
  size_t n;
  yyjson_val *key;
  yyjson_val *value;
  (void)i;
  yyjson_obj_foreach(at(root, "/spec/selector/matchLabels"), i, n, key, value) {
    yyjson_val *label = yyjson_obj_get(at(root, "/spec/template/metadata/labels"), yyjson_get_str(key));
    assert_string_equal(yyjson_get_str(label), yyjson_get_str(value));
    assert_true(is_label_value(yyjson_get_str(value)));
  }
  assert_int_equal(n, 3);
}

static void random_text(char *out, size_t cap, const char *from) {
  size_t n = 1 + (size_t)rand() % (cap - 1);
  for (size_t i = 0; i < n; i++) {
    out[i] = from[(size_t)rand() % strlen(from)];
  }
  out[n] = '\0';
}

static void test_rules_hold_over_generated_launches(void **state) {
  (void)state;
  srand(17);
  static const char any[] = "abcXYZ019 \"\\$(){}/-_.:\t\n";
  static const char *const modes[] = {"pod", "service"};
  for (int round = 0; round < 500; round++) {
    eco_arena *arena = eco_arena_new();
    char arg[64];
    char value[64];
    char secret[64];
    random_text(arg, sizeof(arg), "abcXYZ019 \"\\$()/-_.:");
    random_text(value, sizeof(value), any);
    (void)snprintf(secret, sizeof(secret), "SECRET-%d-%d", rand(), round);
    const char *args[] = {arg, NULL};
    driver_name_value env[] = {{"PLAIN", value, false}, {"HIDDEN", secret, true}, {NULL, NULL, false}};
    plain_region();
    region.endpoint_mode = (char *)modes[rand() % 2];
    kube_place place = place_of();
    replica_spec spec = spec_of(args, env);
    spec.instance_id = rand() % 3 == 0 ? INT64_MAX : 1 + rand();
    spec.replica_id = 1 + rand() % 2;
    spec.gpu_count = 1 + rand() % 8;
    spec.drain_s = rand() % 100;
    spec.model_repo = rand() % 2 ? "org/name" : "";
    const char *json = deployment(&place, &spec, arena);
    yyjson_doc *doc = yyjson_read(json, strlen(json), 0);
    assert_non_null(doc);
    yyjson_val *root = yyjson_doc_get_root(doc);
    check_restricted(root);
    check_no_secret(json, env);
    check_selector(root);
    assert_true(strlen(text_at(root, "/metadata/name")) <= 63);
    assert_int_equal(yyjson_get_int(at(root, "/spec/replicas")), 1);
    assert_true(yyjson_get_int(at(root, "/spec/template/spec/terminationGracePeriodSeconds")) > spec.drain_s);
    // what Kubernetes makes of $$ is what the launch said
    const char *said = text_at(root, "/spec/template/spec/containers/0/args/0");
    size_t dollars = 0;
    for (const char *c = arg; *c; c++) {
      dollars += *c == '$';
    }
    assert_int_equal(strlen(said), strlen(arg) + dollars);
    yyjson_doc_free(doc);
    assert_non_null(strstr(kube_secret(&place, &spec, "uid", NULL, arena), "\"HIDDEN\""));
    eco_arena_free(arena);
  }
}

static void test_what_is_no_text_is_refused(void **state) {
  (void)state;
  eco_arena *arena = eco_arena_new();
  static const char *const args[] = {"\xc3(", NULL};
  plain_region();
  kube_place place = place_of();
  replica_spec spec = spec_of(args, NULL);
  const char *json = NULL;
  assert_int_equal(kube_deployment(&place, &spec, NULL, arena, &json).code, ECO_INVALID_REQUEST);
  eco_arena_free(arena);
}

static void test_each_preset_answers_under_the_registered_name(void **state) {
  (void)state;
  plain_region();
  for (size_t i = 0; i < preset_count(); i++) {
    const engine_preset *p = preset_at(i);
    eco_arena *arena = eco_arena_new();
    kube_place place = place_of();
    replica_spec spec = spec_of(p->args, NULL);
    spec.command = p->command;
    spec.port = p->port;
    const char *json = deployment(&place, &spec, arena);
    yyjson_doc *doc = yyjson_read(json, strlen(json), 0);
    yyjson_val *engine = at(yyjson_doc_get_root(doc), "/spec/template/spec/containers/0");
    bool named = false;
    size_t k;
    size_t n;
    yyjson_val *word;
    yyjson_arr_foreach(yyjson_obj_get(engine, "args"), k, n, word) {
      named = named || strcmp(yyjson_get_str(word), "my-llama") == 0;
    }
    yyjson_arr_foreach(yyjson_obj_get(engine, "command"), k, n, word) {
      named = named || strcmp(yyjson_get_str(word), "my-llama") == 0;
    }
    if (named != (strcmp(p->name, "tgi") != 0)) {  // which knows no option for it
      fail_msg("%s: %s", p->name, named ? "told a name" : "not told the model's name");
    }
    yyjson_doc_free(doc);
    eco_arena_free(arena);
  }
}

static void test_weights_are_kept_apart_by_account_repository_and_commit(void **state) {
  (void)state;
  static const char *const parts[][3] = {{"acc_1", "org/a", "c1"}, {"acc_2", "org/a", "c1"}, {"acc_1", "org/b", "c1"},
                                         {"acc_1", "org/a", "c2"}, {"acc_1o", "rg/a", "c1"}, {"acc_1", "org/", "ac1"}};
  char names[6][KUBE_NAME_MAX];
  for (size_t i = 0; i < 6; i++) {
    kube_volume_name(parts[i][0], parts[i][1], parts[i][2], names[i]);
    char again[KUBE_NAME_MAX];
    kube_volume_name(parts[i][0], parts[i][1], parts[i][2], again);
    assert_string_equal(names[i], again);
    for (size_t k = 0; k < i; k++) {
      assert_string_not_equal(names[i], names[k]);
    }
  }
}

// ---- regions ----
static void refused(const char *words) {
  kube_place place;
  eco_status st = kube_place_build(INSTALLATION, "r", &region, &place);
  assert_int_equal(st.code, ECO_INVALID_REQUEST);
  assert_string_equal(st.param, "kubernetes");
  if (!strstr(st.message, words)) {
    fail_msg("\"%s\" does not say \"%s\"", st.message, words);
  }
  plain_region();
}

static void test_a_region_that_would_publish_engines_or_mislead_is_refused(void **state) {
  (void)state;
  plain_region();
  region.hub_url = (char *)"ftp://hub.example";
  refused("hub_url");
  plain_region();
  region.kubeconfig = (char *)"";
  refused("KUBECONFIG_DIR");
  region.in_cluster = true;
  refused("exclude each other");
  region.kubeconfig = (char *)"../etc/passwd";
  refused("without a path");
  region.kubeconfig = (char *)"..";
  refused("without a path");
  region.endpoint_mode = (char *)"node_port";
  refused("publish engines");
  region.endpoint_mode = (char *)"load_balancer";
  refused("publish engines");
  region.endpoint_mode = (char *)"other";
  refused("endpoint_mode");
  static char *ranges[] = {(char *)"10.0.0.0/33"};
  static const char *const bad_ranges[] = {"10.0.0.0/33", "10.0.0.0",    "x/8",        "::/129",
                                           "/8",          "10.0.0.0/-1", "10.0.0.0/8 "};
  for (size_t i = 0; i < sizeof(bad_ranges) / sizeof(bad_ranges[0]); i++) {
    region.n_allowed_source_ranges = 1;
    region.allowed_source_ranges = ranges;
    ranges[0] = (char *)bad_ranges[i];
    refused("address ranges");
  }
  region.namespace_ = (char *)"Tenants";
  refused("namespace");
  region.weights_access = (char *)"ReadWriteOnce";
  refused("weights_node_labels");
  region.weights_access = (char *)"Both";
  refused("weights_access");
  region.weights_gb = -1;
  refused("weights_gb");
  region.cluster_domain = (char *)"a/b";
  refused("cluster_domain");
  region.gpu_label = (char *)"a b";
  refused("gpu_label");
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_a_vllm_replica_with_gated_weights),
      cmocka_unit_test(test_weights_are_brought_before_the_engine_starts),
      cmocka_unit_test(test_a_key_that_an_engine_takes_as_an_argument_comes_from_the_secret),
      cmocka_unit_test(test_a_custom_container_in_a_region_with_everything),
      cmocka_unit_test(test_rules_hold_over_generated_launches),
      cmocka_unit_test(test_what_is_no_text_is_refused),
      cmocka_unit_test(test_each_preset_answers_under_the_registered_name),
      cmocka_unit_test(test_weights_are_kept_apart_by_account_repository_and_commit),
      cmocka_unit_test(test_a_region_that_would_publish_engines_or_mislead_is_refused),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
