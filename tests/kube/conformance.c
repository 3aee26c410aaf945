// kube_conformance <installation> <kubeconfig folder> <simulator>: the Kubernetes driver through the suite that every
// driver passes. The folder holds here.yaml and elsewhere.yaml, two clusters with nodes of GPU type l40s and the images
// of tests/kube/images.json. Started by tests/kube/test_conformance.py.
#include <curl/curl.h>
#include <sodium.h>

#include "driver_conformance.h"
#include "ecolink/v1/scheduler.pb-c.h"
#include "kube_region.h"

enum { OPEN_MS = 30000 };

static const char *installation;
static const char *folder;
static const char *simulator;

static bool may_write(void *arg, const char *region) {
  (void)arg;
  (void)region;
  return true;
}

static void on_change(void *arg, const char *region) {
  (void)arg;
  (void)region;
}

static void on_log(void *arg, int64_t instance_id, int replica_id, const char *lines) {
  (void)arg;
  (void)instance_id;
  (void)replica_id;
  (void)lines;
}

static void configure(driver *d, const char *region) {
  static uint8_t bytes[4096];
  char kubeconfig[64];
  Ecolink__V1__KeyValue gpu = ECOLINK__V1__KEY_VALUE__INIT;
  Ecolink__V1__KeyValue *gpus[] = {&gpu};
  Ecolink__V1__KubernetesRegion g = ECOLINK__V1__KUBERNETES_REGION__INIT;
  (void)snprintf(kubeconfig, sizeof(kubeconfig), "%s.yaml", region);
  gpu.name = (char *)"sim";
  gpu.value = (char *)"NVIDIA-L40S";
  g.kubeconfig = kubeconfig;
  g.weights_access = (char *)"none";
  g.n_gpu_values = 1;
  g.gpu_values = gpus;
  eco_status st = d->ops->configure(d, region, bytes, ecolink__v1__kubernetes_region__pack(&g, bytes));
  if (!eco_ok(st)) {
    fail_msg("%s: %s", region, st.message);
  }
}

static void ignore(void *arg, const replica_observation *seen) {
  (void)arg;
  (void)seen;
}

static driver *open_here(void) {
  static const char *const regions[] = {"here", "elsewhere"};
  const kube_driver_options options = {.installation = installation,
                                       .kubeconfig_dir = folder,
                                       .service_account_dir = "",
                                       .weights_image = "",
                                       .offer_simulator = true,
                                       .heartbeat_ms = 5000,
                                       .weights_keep_s = 3600,
                                       .host = {.may_write = may_write, .changed = on_change, .keep_log = on_log}};
  driver *d = NULL;
  assert_true(eco_ok(kube_driver_open(&options, &d)));
  for (size_t i = 0; i < 2; i++) {
    configure(d, regions[i]);
  }
  for (size_t i = 0; i < 2; i++) {
    int64_t until = eco_boottime_ms() + OPEN_MS;
    while (!eco_ok(d->ops->observe(d, regions[i], ignore, NULL))) {
      assert_true(eco_boottime_ms() < until);
      (void)usleep(20000);
    }
  }
  return d;
}

static void behave(replica_spec *spec, replica_behaviour behaviour) {
  static char chatter[1024];
  static char stubborn[1024];
  static const char *const serve[] = {"--host", "{host}", "--port", "{port}", "--model", "my-model", NULL};
  static const char *const leave[] = {"-c", "echo leaving with 3; exit 3", NULL};
  static const char *chat[] = {"-c", chatter, NULL};
  static const char *stay[] = {"-c", stubborn, NULL};
  (void)snprintf(
      chatter, sizeof(chatter),
      "i=1; while [ $i -le 500 ]; do echo line $i; i=$((i+1)); done; exec %s --host 0.0.0.0 --port 8000 --model "
      "my-model >/dev/null 2>&1",
      simulator);
  (void)snprintf(stubborn, sizeof(stubborn),
                 "trap '' TERM; %s --host 0.0.0.0 --port 8000 --model my-model & while :; do sleep 1; done", simulator);
  spec->image = behaviour == BEHAVE_SERVE ? "ecolink/simulator:test" : "ecolink/shell:test";
  spec->args = behaviour == BEHAVE_SERVE      ? serve
               : behaviour == BEHAVE_EXIT     ? leave
               : behaviour == BEHAVE_STUBBORN ? stay
                                              : chat;
}

int main(int argc, char **argv) {
  const struct CMUnitTest tests[] = {DRIVER_CONFORMANCE_TESTS};
  if (argc != 4 || sodium_init() < 0 || curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK) {
    return 2;
  }
  installation = argv[1];
  folder = argv[2];
  simulator = argv[3];
  next_instance = (int64_t)getpid() * 1000;
  // preStop takes the second of drain, ten more are the pod's grace; images, scheduling and probes take their time
  rig = (conformance_rig){.open = open_here,
                          .behave = behave,
                          .wait_ms = 90000,
                          .backoff_ms = 1,
                          .replace_ms = 60000,
                          .kill_after_ms = 8000,
                          .kill_before_ms = 60000,
                          .many = 12,
                          .logs_go = true};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
