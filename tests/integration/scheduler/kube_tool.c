// kube_tool <kubeconfig> <idle_ms> <command...>: speaks to an API server through the scheduler's client and prints what
// it was told, a line each.
//   call <method> <path> [body]   "reason=<n> http=<n> word=<...> <message or body>"
//   list <path>                   "item <name>" ..., "end rv=<...>" or "failed reason=<n> ..."
//   watch <path> <rv>             "event <type> <name>" ..., "ended reason=<n> rv=<...>"
//   follow <path>                 list, then watch from there on: by one client, as the driver does
//   busy <ms> <path>              writes as fast as it may for so long; meanwhile reads <path> once: a call's line
//   loop                          a call a line of stdin, by one client
#include <curl/curl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ecolink/clock.h"
#include "kube_client.h"

static void on_begin(void *arg) {
  (void)arg;
  puts("begin");
}

static void on_item(void *arg, yyjson_val *object) {
  (void)arg;
  const char *name = yyjson_get_str(yyjson_obj_get(yyjson_obj_get(object, "metadata"), "name"));
  printf("item %s\n", name ? name : "");
}

static void on_event(void *arg, kube_event type, yyjson_val *object) {
  (void)arg;
  const char *name = yyjson_get_str(yyjson_obj_get(yyjson_obj_get(object, "metadata"), "name"));
  printf("event %d %s\n", (int)type, name ? name : "");
  (void)fflush(stdout);
}

static void on_alive(void *arg) {
  (void)arg;
}

static void call(kube_client *client, const char *method, const char *path, const char *body, int timeout_ms) {
  kube_answer answer;
  kube_request request = {.method = method,
                          .path = path,
                          .body = body,
                          .body_len = body ? strlen(body) : 0,
                          .content_type = strcmp(method, "PATCH") == 0 ? KUBE_APPLY : KUBE_JSON,
                          .priority = body ? KUBE_WRITE : KUBE_READ,
                          .timeout_ms = timeout_ms,
                          .answer_max = 64 * 1024};
  int64_t began_ms = eco_boottime_ms();
  kube_reason reason = kube_call(client, &request, &answer);
  printf("reason=%d http=%d ms=%lld word=%s %s\n", (int)reason, answer.problem.http,
         (long long)(eco_boottime_ms() - began_ms), answer.problem.word,
         reason == KUBE_OK && answer.body.len ? answer.body.data : answer.problem.message);
  (void)fflush(stdout);
  kube_answer_free(&answer);
}

static void loop(kube_client *client) {
  char line[4096];
  while (fgets(line, sizeof(line), stdin)) {
    char method[16];
    char path[1024];
    int timeout_ms = 0;
    if (sscanf(line, "%15s %1023s %d", method, path, &timeout_ms) >= 2) {
      call(client, method, path, NULL, timeout_ms);
    }
  }
}

static const kube_list_fns LIST = {on_begin, on_item};
static const kube_watch_fns WATCH = {on_event, on_alive, NULL};

static void list(kube_client *client, const char *path, char rv[KUBE_RV_MAX]) {
  kube_problem problem = {.reason = KUBE_OK};
  kube_reason reason = kube_list(client, path, NULL, &LIST, NULL, rv, &problem);
  printf("ended reason=%d rv=%s %s\n", (int)reason, rv, problem.message);
}

static void watch(kube_client *client, const char *path, char rv[KUBE_RV_MAX]) {
  kube_problem problem = {.reason = KUBE_OK};
  kube_reason reason = kube_watch(client, path, NULL, &WATCH, NULL, rv, &problem);
  printf("ended reason=%d rv=%s %s\n", (int)reason, rv, problem.message);
}

static atomic_bool idle;

static void *write_on(void *arg) {
  while (!atomic_load(&idle)) {
    kube_answer answer;
    kube_request request = {.method = "POST",
                            .path = "/written",
                            .content_type = KUBE_JSON,
                            .body = "{}",
                            .body_len = 2,
                            .priority = KUBE_WRITE};
    (void)kube_call(arg, &request, &answer);
    kube_answer_free(&answer);
  }
  return NULL;
}

static void busy(kube_client *client, int64_t ms, const char *path) {
  pthread_t writers[4];
  size_t n = 0;
  for (; n < 4 && pthread_create(&writers[n], NULL, write_on, client) == 0; n++) {
  }
  (void)kube_client_sleep(client, ms);
  call(client, "GET", path, NULL, 5000);
  atomic_store(&idle, true);
  while (n > 0) {
    (void)pthread_join(writers[--n], NULL);
  }
}

int main(int argc, char **argv) {
  kube_config config;
  kube_client *client = NULL;
  if (argc < 4) {
    return 2;
  }
  (void)curl_global_init(CURL_GLOBAL_DEFAULT);
  eco_status st = kube_config_load(argv[1], "", &config);
  if (eco_ok(st)) {
    kube_client_options options = {.user_agent = "kube-tool", .watch_idle_ms = (int)strtol(argv[2], NULL, 10)};
    st = kube_client_open(&config, &options, &client);
  }
  if (!eco_ok(st)) {
    printf("refused %s\n", st.message);
    return 1;
  }
  char rv[KUBE_RV_MAX] = "";
  if (strcmp(argv[3], "call") == 0 && argc >= 6) {
    call(client, argv[4], argv[5], argc > 6 ? argv[6] : NULL, 3000);
  } else if (strcmp(argv[3], "loop") == 0) {
    loop(client);
  } else if (strcmp(argv[3], "list") == 0 && argc >= 5) {
    list(client, argv[4], rv);
  } else if (strcmp(argv[3], "watch") == 0 && argc >= 6) {
    (void)snprintf(rv, sizeof(rv), "%s", argv[5]);
    watch(client, argv[4], rv);
  } else if (strcmp(argv[3], "follow") == 0 && argc >= 5) {
    list(client, argv[4], rv);
    watch(client, argv[4], rv);
  } else if (strcmp(argv[3], "busy") == 0 && argc >= 6) {
    busy(client, strtol(argv[4], NULL, 10), argv[5]);
  }
  kube_client_stop(client);
  kube_client_close(client);
  return 0;
}
