// What objects say about a replica: digests and the judgement on them.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cmocka_all.h"
#include "driver_kube_logs.h"
#include "kube_digest.h"
#include "kube_judge.h"
#include "kube_objects.h"

static const char INSTALLATION[] = "7b1c9a34-5d0e-4f6a-9b8c-2e1f3a4b5c6d";
static Ecolink__V1__KubernetesRegion given = ECOLINK__V1__KUBERNETES_REGION__INIT;

static kube_place place_of(const char *mode) {
  static char *ranges[] = {(char *)"10.0.0.0/8"};
  kube_place place;
  given.in_cluster = true;
  given.endpoint_mode = (char *)mode;
  given.n_allowed_source_ranges = 1;
  given.allowed_source_ranges = ranges;
  assert_true(eco_ok(kube_place_build(INSTALLATION, "r", &given, &place)));
  return place;
}

#define META(name, generation)                                                                                 \
  "\"metadata\":{\"name\":\"" name "\",\"uid\":\"u-" name                                                      \
  "\",\"resourceVersion\":\"7\",\"creationTimestamp\":"                                                        \
  "\"2026-11-22T20:00:00Z\",\"labels\":{\"ecolink.io/installation\":\"7b1c9a34-5d0e-4f6a-9b8c-2e1f3a4b5c6d\"," \
  "\"ecolink.io/instance\":\"142\",\"ecolink.io/replica\":\"2\"},\"annotations\":{\"ecolink.io/"               \
  "generation\":\"" generation "\",\"ecolink.io/port\":\"8000\",\"ecolink.io/secret\":\"false\"}}"

static yyjson_doc *doc_of(const char *json) {
  yyjson_doc *doc = yyjson_read(json, strlen(json), 0);
  assert_non_null(doc);
  return doc;
}

static kube_deployment_digest deployment_of(const char *json) {
  yyjson_doc *doc = doc_of(json);
  kube_deployment_digest d;
  assert_true(kube_deployment_read(yyjson_doc_get_root(doc), INSTALLATION, &d));
  yyjson_doc_free(doc);
  return d;
}

static const int64_t NOW = INT64_C(1795400000) * 1000000;

static kube_pod_digest pod_of(const char *status, const kube_pod_digest *before) {
  char json[4096];
  (void)snprintf(json, sizeof(json), "{" META("pod-1", "3") ",\"status\":{%s}}", status);
  yyjson_doc *doc = doc_of(json);
  kube_pod_digest p;
  assert_true(kube_pod_read(yyjson_doc_get_root(doc), INSTALLATION, before, 0, NOW, &p));
  yyjson_doc_free(doc);
  return p;
}

static replica_observation judged(const char *mode, const kube_pod_digest *pod, const kube_service_digest *service) {
  kube_place place = place_of(mode);
  kube_deployment_digest d = deployment_of("{" META("eco-142-2", "3") "}");
  const kube_pod_digest *pods[] = {pod};
  kube_view view = {.instance_id = 142,
                    .replica_id = 2,
                    .deployment = &d,
                    .pods = pods,
                    .pod_count = pod ? 1 : 0,
                    .service = service};
  replica_observation o;
  assert_true(kube_judge(&place, &view, &o));
  assert_int_equal(o.generation, 3);
  return o;
}

#define SCHEDULED                                                                                              \
  "\"podIP\":\"10.244.0.9\",\"hostIP\":\"192.168.1.5\",\"conditions\":[{\"type\":\"PodScheduled\",\"status\":" \
  "\"True\"}]"
#define READY                                                                                                  \
  "\"podIP\":\"10.244.0.9\",\"hostIP\":\"192.168.1.5\",\"conditions\":[{\"type\":\"PodScheduled\",\"status\":" \
  "\"True\"},{\"type\":\"Ready\","                                                                             \
  "\"status\":\"True\",\"lastTransitionTime\":\"2026-11-22T20:01:00Z\"}]"
#define ENGINE(state) ",\"containerStatuses\":[{\"name\":\"engine\",\"restartCount\":0,\"state\":" state "}]"

static void test_each_state_of_a_pod_has_its_phase_and_words(void **state) {
  (void)state;
  static const struct {
    const char *status;
    replica_phase phase;
    const char *words;
  } rows[] = {
      {"\"conditions\":[{\"type\":\"PodScheduled\",\"status\":\"False\",\"reason\":\"Unschedulable\",\"message\":\"0/3 "
       "nodes "
       "are available: 3 Insufficient nvidia.com/gpu.\"}]",
       REPLICA_STARTING, "waiting for a free place: 0/3 nodes"},
      {SCHEDULED ENGINE("{\"waiting\":{\"reason\":\"ContainerCreating\"}}"), REPLICA_STARTING, "pulling image"},
      {SCHEDULED ENGINE("{\"waiting\":{\"reason\":\"ImagePullBackOff\",\"message\":\"not found\"}}"), REPLICA_STARTING,
       "the image cannot be pulled (ImagePullBackOff): not found"},
      {SCHEDULED ENGINE("{\"waiting\":{\"reason\":\"CreateContainerConfigError\",\"message\":\"secret missing\"}}"),
       REPLICA_STARTING, "cannot be created (CreateContainerConfigError): secret missing"},
      {SCHEDULED ENGINE("{\"running\":{}}"), REPLICA_STARTING, "loading"},
      {READY ENGINE("{\"running\":{}}"), REPLICA_ALIVE, "running"},
      {SCHEDULED ENGINE(
           "{\"terminated\":{\"exitCode\":3,\"reason\":\"Error\",\"finishedAt\":\"2026-11-22T20:02:00Z\"}}"),
       REPLICA_EXITED, "exited with status 3, restarting"},
      {SCHEDULED ENGINE(
           "{\"terminated\":{\"exitCode\":137,\"reason\":\"OOMKilled\",\"finishedAt\":\"2026-11-22T20:02:00Z\"}}"),
       REPLICA_EXITED, "ran out of memory (OOMKilled)"},
      {SCHEDULED ENGINE("{\"terminated\":{\"exitCode\":139,\"reason\":\"Error\"}}"), REPLICA_EXITED,
       "killed by signal 11"},
      {"\"phase\":\"Failed\",\"reason\":\"Evicted\",\"message\":\"low on memory\"", REPLICA_EXITED,
       "ended by the cluster (Evicted): low on memory"},
  };
  for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
    kube_pod_digest p = pod_of(rows[i].status, NULL);
    replica_observation o = judged("pod", &p, NULL);
    assert_int_equal(o.phase, rows[i].phase);
    if (!strstr(o.detail, rows[i].words)) {
      fail_msg("\"%s\" does not say \"%s\"", o.detail, rows[i].words);
    }
    assert_string_equal(o.run_id, "u-pod-1.0");
  }
  assert_non_null(strstr(judged("pod", NULL, NULL).detail, "waiting for its pod"));
}

#define INIT(state, last)                                                                               \
  ",\"initContainerStatuses\":[{\"name\":\"weights\",\"state\":" state ",\"lastState\":{" last          \
  "}}]"                                                                                                 \
  ",\"containerStatuses\":[{\"name\":\"engine\",\"restartCount\":0,\"state\":{\"waiting\":{\"reason\":" \
  "\"PodInitializing\"}}}]"
#define GATED                                                                                                         \
  "\"terminated\":{\"exitCode\":2,\"reason\":\"Error\",\"message\":\"progress 0 9\\necolink-weights: a: cut: trying " \
  "again\\nprogress 5 9\\necolink-weights: the model needs an hf_token: the hub shows a/b only to who may see "       \
  "it\\n\"}"

static void test_downloads_tell_how_far_they_are_and_why_they_fail(void **state) {
  (void)state;
  static const struct {
    const char *status;
    int percent;  // -2: as read
    const char *words;
  } rows[] = {
      {SCHEDULED INIT("{\"waiting\":{\"reason\":\"PodInitializing\"}}", ""), -2, "pulling image"},
      {SCHEDULED INIT("{\"waiting\":{\"reason\":\"ImagePullBackOff\",\"message\":\"not found\"}}", ""), -2,
       "the image cannot be pulled (ImagePullBackOff): not found"},
      {SCHEDULED INIT("{\"running\":{}}", ""), -2, "downloading weights"},
      {SCHEDULED INIT("{\"running\":{}}", ""), 37, "downloading weights 37 %"},
      {SCHEDULED INIT("{" GATED "}", ""), -2,
       "the weights cannot be downloaded, trying again: the model needs an hf_token: the hub shows a/b only"},
      {SCHEDULED INIT("{\"waiting\":{\"reason\":\"CrashLoopBackOff\"}}", GATED), -2,
       "cannot be downloaded, trying again"},
      {SCHEDULED INIT("{\"running\":{}}", GATED), -2, "cannot be downloaded, trying again"},
      {SCHEDULED INIT("{\"running\":{}}", GATED), 5, "downloading weights 5 %"},
      {SCHEDULED INIT("{\"terminated\":{\"exitCode\":0}}", GATED), -2, "pulling image"},
  };
  for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
    kube_pod_digest p = pod_of(rows[i].status, NULL);
    assert_int_equal(p.percent, -1);
    p.percent = rows[i].percent == -2 ? p.percent : rows[i].percent;
    replica_observation o = judged("pod", &p, NULL);
    assert_int_equal(o.phase, REPLICA_STARTING);  // a download that fails is no crash of the engine
    if (!strstr(o.detail, rows[i].words)) {
      fail_msg("\"%s\" does not say \"%s\"", o.detail, rows[i].words);
    }
  }
  kube_pod_digest before = pod_of(SCHEDULED INIT("{\"running\":{}}", ""), NULL);
  before.percent = 41;
  assert_int_equal(pod_of(SCHEDULED INIT("{\"running\":{}}", ""), &before).percent,
                   41);  // another event forgets nothing
  assert_int_equal(pod_of(SCHEDULED INIT("{\"terminated\":{\"exitCode\":0}}", ""), &before).percent, -1);
}

static void test_the_last_line_of_a_download_tells_its_percentage(void **state) {
  (void)state;
  static const struct {
    const char *log;
    int percent;
  } rows[] = {{"progress 37 100\n", 37},
              {"progress 1 3\nprogress 2 3\n", 66},
              {"waiting for another pod's download\nprogress 0 9\n", 0},
              {"progress 9 9\ndone 0123\n", 100},
              {"progress 9", -1},
              {"progress 10 9\n", -1},
              {"progress -1 9\n", -1},
              {"progress 1 0\n", -1},
              {"", -1},
              {"anything else\n", -1}};
  for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
    assert_int_equal(kube_download_percent(rows[i].log, strlen(rows[i].log)), rows[i].percent);
  }
}

static void test_another_endpoint_mode_asks_for_another_service(void **state) {
  (void)state;
  static const struct {
    const char *mode;
    const char *type;  // of the Service that is there; NULL: none
    driver_need need;
  } rows[] = {
      {"pod", NULL, DRIVER_NEEDS_NOTHING},
      {"pod", "NodePort", DRIVER_NEEDS_TIDY},  // nothing stays published that need not be
      {"service", NULL, DRIVER_NEEDS_APPLY},
      {"service", "NodePort", DRIVER_NEEDS_APPLY},
      {"service", "ClusterIP", DRIVER_NEEDS_NOTHING},
      {"node_port", "ClusterIP", DRIVER_NEEDS_APPLY},
      {"node_port", "NodePort", DRIVER_NEEDS_NOTHING},
      {"load_balancer", "NodePort", DRIVER_NEEDS_APPLY},
      {"load_balancer", "LoadBalancer", DRIVER_NEEDS_NOTHING},
  };
  kube_pod_digest p = pod_of(READY ENGINE("{\"running\":{}}"), NULL);
  for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
    kube_service_digest s = {.node_port = 30123};
    (void)snprintf(s.type, sizeof(s.type), "%s", rows[i].type ? rows[i].type : "");
    assert_int_equal(judged(rows[i].mode, &p, rows[i].type ? &s : NULL).need, rows[i].need);
  }
}

static void test_a_copy_under_another_name_is_out_of_order(void **state) {
  (void)state;
  kube_place place = place_of("pod");
  kube_deployment_digest d = deployment_of("{" META("eco-142-2", "3") "}");
  kube_view view = {.instance_id = 142, .replica_id = 2, .deployment = &d};
  assert_true(kube_in_order(&place, &view));
  view.stray = true;
  assert_false(kube_in_order(&place, &view));
  // and alone it is something that has to go
  kube_view alone = {.instance_id = 142, .replica_id = 2, .stray = true};
  replica_observation o;
  assert_true(kube_judge(&place, &alone, &o));
  assert_int_equal(o.phase, REPLICA_STOPPING);
}

static void test_the_address_is_the_one_of_the_regions_mode(void **state) {
  (void)state;
  kube_pod_digest p = pod_of(READY ENGINE("{\"running\":{}}"), NULL);
  kube_service_digest s = {.node_port = 30123, .ingress = "203.0.113.7"};
  replica_observation o = judged("pod", &p, NULL);
  assert_string_equal(o.host, "10.244.0.9");
  assert_int_equal(o.port, 8000);
  o = judged("service", &p, &s);
  assert_string_equal(o.host, "eco-142-2.ecolink-tenants.svc.cluster.local");
  o = judged("node_port", &p, &s);
  assert_string_equal(o.host, "192.168.1.5");
  assert_int_equal(o.port, 30123);
  o = judged("load_balancer", &p, &s);
  assert_string_equal(o.host, "203.0.113.7");
  s.ingress[0] = '\0';
  o = judged("load_balancer", &p, &s);
  assert_int_equal(o.phase, REPLICA_STARTING);  // Ready without an address is none
  assert_int_equal(judged("service", &p, NULL).phase, REPLICA_STARTING);
}

static void test_exits_are_counted_by_comparing(void **state) {
  (void)state;
  static const char crash[] = SCHEDULED
      ",\"containerStatuses\":[{\"name\":\"engine\",\"restartCount\":%d,\"lastState\":{\"terminated\":{\"exitCode\":1,"
      "\"finishedAt\":\"2026-11-22T20:%02d:00Z\"}},\"state\":{\"running\":{}}}]";
  char status[1024];
  kube_pod_digest before = pod_of(SCHEDULED ENGINE("{\"running\":{}}"), NULL);
  for (int n = 1; n <= 5; n++) {
    (void)snprintf(status, sizeof(status), crash, n, n);
    kube_pod_digest p = pod_of(status, &before);
    kube_pod_digest again = pod_of(status, &p);  // the same news twice is one exit
    assert_memory_equal(p.exits_us, again.exits_us, sizeof(p.exits_us));
    int known = 0;
    while (known < REPLICA_EXITS_KEPT && p.exits_us[known]) {
      known++;
    }
    assert_int_equal(known, n);
    assert_true(n == 1 || p.exits_us[0] - p.exits_us[1] == INT64_C(60000000));
    before = p;
  }
  // seen for the first time after five exits within ten minutes of its creation: they all lie there
  (void)snprintf(status, sizeof(status), crash, 5, 5);
  kube_pod_digest p = pod_of(status, NULL);
  assert_true(p.exits_us[4] > 0 && p.exits_us[5] == 0);
  // after an hour nobody can tell when the others were
  (void)snprintf(status, sizeof(status), crash, 5, 59);
  p = pod_of(status, NULL);
  assert_true(p.exits_us[0] > 0 && p.exits_us[1] == 0);
}

// Kubernetes tells whole seconds, and starts a container for the first time again at once.
static void test_two_exits_within_one_second_are_two(void **state) {
  (void)state;
  static const char ended[] = SCHEDULED
      ",\"containerStatuses\":[{\"name\":\"engine\",\"restartCount\":%d,\"state\":{\"terminated\":{\"exitCode\":1,"
      "\"finishedAt\":\"2026-11-22T20:02:07Z\"}}}]";
  char status[1024];
  kube_pod_digest before = pod_of(SCHEDULED ENGINE("{\"running\":{}}"), NULL);
  for (int n = 0; n < 3; n++) {
    (void)snprintf(status, sizeof(status), ended, n);
    kube_pod_digest p = pod_of(status, &before);
    assert_int_equal(p.exit_count, n + 1);
    for (int k = 0; k < n; k++) {
      assert_true(p.exits_us[k] > p.exits_us[k + 1]);
    }
    before = p;
  }
}

// The way of a container that falls again and again: ended, waiting out its back-off, running.
static void test_an_exit_is_one_whatever_is_seen_of_it(void **state) {
  (void)state;
  static const struct {
    const char *member;
    const char *rest;
  } steps[] = {{"state", "}}"},
               {"lastState", "}},\"state\":{\"waiting\":{\"reason\":\"CrashLoopBackOff\"}}"},
               {"lastState", "}},\"state\":{\"running\":{}}"}};
  for (unsigned seen = 1; seen < 8; seen++) {  // a bit for each step that is seen; the others are missed
    kube_pod_digest p = pod_of(SCHEDULED ENGINE("{\"running\":{}}"), NULL);
    for (int n = 1; n <= 4; n++) {
      for (unsigned k = 0; k < 3; k++) {
        char status[1024];
        (void)snprintf(status, sizeof(status),
                       "%s,\"containerStatuses\":[{\"name\":\"engine\",\"restartCount\":%d,\"%s\":{\"terminated\":"
                       "{\"exitCode\":1,\"finishedAt\":\"2026-11-22T20:%02d:00Z\"%s}]",
                       SCHEDULED, k == 2 ? n : n - 1, steps[k].member, n, steps[k].rest);
        if (seen & (1U << k)) {
          kube_pod_digest before = p;
          p = pod_of(status, &before);
        }
      }
      int known = 0;
      while (known < REPLICA_EXITS_KEPT && p.exits_us[known]) {
        known++;
      }
      assert_int_equal(known, n);
    }
  }
}

static void test_another_hand_is_seen_and_controllers_are_none(void **state) {
  (void)state;
  static const struct {
    const char *entry;
    bool edited;
  } rows[] = {
      {"{\"manager\":\"kubectl-edit\",\"operation\":\"Update\",\"fieldsV1\":{\"f:spec\":{}}}", true},
      {"{\"manager\":\"kubectl\",\"operation\":\"Update\",\"fieldsV1\":{\"f:data\":{}}}", true},
      {"{\"manager\":\"kubectl\",\"operation\":\"Update\",\"fieldsV1\":{\"f:metadata\":{}}}", false},
      {"{\"manager\":\"kube-controller-manager\",\"operation\":\"Update\",\"fieldsV1\":{\"f:spec\":{}}}", false},
      {"{\"manager\":\"x\",\"operation\":\"Update\",\"subresource\":\"status\",\"fieldsV1\":{\"f:spec\":{}}}", false},
      {"{\"manager\":\"ecolink-scheduler\",\"operation\":\"Apply\",\"fieldsV1\":{\"f:spec\":{}}}", false},
  };
  for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
    char json[1024];
    (void)snprintf(json, sizeof(json),
                   "{\"metadata\":{\"name\":\"a\",\"uid\":\"u\",\"resourceVersion\":\"1\",\"managedFields\":[%s]}}",
                   rows[i].entry);
    kube_deployment_digest d = deployment_of(json);
    assert_int_equal(d.meta.edited, rows[i].edited);
    assert_false(d.meta.ours);
  }
}

static void test_what_is_being_deleted_is_stopping_and_asks_for_nothing(void **state) {
  (void)state;
  kube_place place = place_of("pod");
  kube_deployment_digest d = deployment_of("{" META("eco-142-2", "3") "}");
  kube_pod_digest p = pod_of(READY ENGINE("{\"running\":{}}"), NULL);
  const kube_pod_digest *pods[] = {&p};
  kube_view view = {.instance_id = 142, .replica_id = 2, .deployment = &d, .pods = pods, .pod_count = 1};
  replica_observation o;
  d.meta.deleting = true;
  assert_true(kube_judge(&place, &view, &o));
  assert_int_equal(o.phase, REPLICA_STOPPING);
  assert_int_equal(o.need, DRIVER_NEEDS_NOTHING);
  view.deployment = NULL;  // somebody deleted it: it is made again at once, if it is wanted
  assert_true(kube_judge(&place, &view, &o));
  assert_int_equal(o.phase, REPLICA_STOPPING);
  assert_int_equal(o.need, DRIVER_NEEDS_APPLY);
  view.pod_count = 0;
  assert_false(kube_judge(&place, &view, &o));
}

static void test_an_old_generations_pod_is_no_run_of_the_new_one(void **state) {
  (void)state;
  kube_place place = place_of("pod");
  kube_deployment_digest d = deployment_of("{" META("eco-142-2", "4") "}");
  kube_pod_digest p = pod_of(READY ENGINE("{\"running\":{}}"), NULL);
  const kube_pod_digest *pods[] = {&p};
  kube_view view = {.instance_id = 142, .replica_id = 2, .deployment = &d, .pods = pods, .pod_count = 1};
  replica_observation o;
  assert_true(kube_judge(&place, &view, &o));
  assert_int_equal(o.phase, REPLICA_STARTING);
  assert_string_equal(o.run_id, "");
  assert_int_equal(o.generation, 4);
}

static void test_any_object_may_come(void **state) {
  (void)state;
  static const char whole[] = "{" META("pod-1", "3") ",\"status\":{" READY
                                                     ",\"phase\":\"Running\",\"containerStatuses\":[{\"name\":"
                                                     "\"engine\",\"restartCount\":3,\"state\":{\"running\":{}}}]}}";
  srand(3);
  char text[sizeof(whole)];
  for (int round = 0; round < 5000; round++) {
    memcpy(text, whole, sizeof(whole));
    for (int k = 1 + rand() % 3; k > 0; k--) {
      text[(size_t)rand() % (sizeof(whole) - 1)] = "{}[]\":,0a9-"[rand() % 11];
    }
    yyjson_doc *doc = yyjson_read(text, strlen(text), 0);
    kube_pod_digest p;
    kube_deployment_digest d;
    kube_service_digest s;
    (void)kube_pod_read(yyjson_doc_get_root(doc), INSTALLATION, NULL, 0, NOW, &p);
    (void)kube_deployment_read(yyjson_doc_get_root(doc), INSTALLATION, &d);
    (void)kube_service_read(yyjson_doc_get_root(doc), INSTALLATION, &s);
    for (int i = 0; i < REPLICA_EXITS_KEPT; i++) {
      assert_true(p.exits_us[i] <= NOW);
    }
    yyjson_doc_free(doc);
  }
}

static void test_gpus_of_nodes_and_of_others(void **state) {
  (void)state;
  kube_node_digest n;
  char node[256];
  int gpus = 0;
  yyjson_doc *doc = doc_of(
      "{\"metadata\":{\"name\":\"n1\",\"labels\":{\"gpu\":\"h100\"}},\"spec\":{},\"status\":{\"allocatable\":{\"nvidia."
      "com/gpu\":\"8\"},"
      "\"conditions\":[{\"type\":\"Ready\",\"status\":\"True\"}]}}");
  assert_true(kube_node_read(yyjson_doc_get_root(doc), "gpu", "nvidia.com/gpu", &n));
  assert_int_equal(n.gpus, 8);
  assert_string_equal(n.gpu_value, "h100");
  yyjson_doc_free(doc);
  doc = doc_of(
      "{\"metadata\":{\"name\":\"n1\"},\"spec\":{\"unschedulable\":true},\"status\":{\"allocatable\":{\"nvidia.com/"
      "gpu\":\"8\"},"
      "\"conditions\":[{\"type\":\"Ready\",\"status\":\"True\"}]}}");
  assert_true(kube_node_read(yyjson_doc_get_root(doc), "gpu", "nvidia.com/gpu", &n));
  assert_int_equal(n.gpus, 0);
  yyjson_doc_free(doc);
  doc = doc_of(
      "{\"spec\":{\"nodeName\":\"n1\",\"containers\":[{\"resources\":{\"requests\":{\"nvidia.com/"
      "gpu\":\"2\"}}},{\"resources\":"
      "{\"requests\":{\"nvidia.com/gpu\":\"1\"}}}],\"initContainers\":[{\"resources\":{\"requests\":{\"nvidia.com/"
      "gpu\":\"4\"}}}]}}");
  assert_true(kube_pod_gpus(yyjson_doc_get_root(doc), "nvidia.com/gpu", node, &gpus));
  assert_int_equal(gpus, 4);
  assert_string_equal(node, "n1");
  yyjson_doc_free(doc);
}

static void test_a_log_line_begins_with_its_moment(void **state) {
  (void)state;
  int64_t at = 0;
  size_t text = 0;
  static const char line[] = "2026-11-22T20:00:00.123456789Z hello";
  assert_true(kube_log_line(line, sizeof(line) - 1, &at, &text));
  assert_string_equal(line + text, "hello");
  assert_int_equal(at % 1000000000, 123456789);
  static const char short_line[] = "2026-11-22T20:00:00Z x";
  assert_true(kube_log_line(short_line, sizeof(short_line) - 1, &at, &text));
  assert_int_equal(at % 1000000000, 0);
  assert_false(kube_log_line("no moment here at all, but a very long line of text", 50, &at, &text));
  assert_false(kube_log_line("", 0, &at, &text));
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_each_state_of_a_pod_has_its_phase_and_words),
      cmocka_unit_test(test_downloads_tell_how_far_they_are_and_why_they_fail),
      cmocka_unit_test(test_the_last_line_of_a_download_tells_its_percentage),
      cmocka_unit_test(test_another_endpoint_mode_asks_for_another_service),
      cmocka_unit_test(test_a_copy_under_another_name_is_out_of_order),
      cmocka_unit_test(test_the_address_is_the_one_of_the_regions_mode),
      cmocka_unit_test(test_exits_are_counted_by_comparing),
      cmocka_unit_test(test_an_exit_is_one_whatever_is_seen_of_it),
      cmocka_unit_test(test_another_hand_is_seen_and_controllers_are_none),
      cmocka_unit_test(test_two_exits_within_one_second_are_two),
      cmocka_unit_test(test_what_is_being_deleted_is_stopping_and_asks_for_nothing),
      cmocka_unit_test(test_an_old_generations_pod_is_no_run_of_the_new_one),
      cmocka_unit_test(test_any_object_may_come),
      cmocka_unit_test(test_gpus_of_nodes_and_of_others),
      cmocka_unit_test(test_a_log_line_begins_with_its_moment),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
