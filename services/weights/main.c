// ecolink-weights: brings a model's files from the Hub into a volume, once, however many pods begin at the same time.
//
//   whoever locks the repository's folder downloads; the others wait and tell its progress; when it dies, the next one
//   goes on where it stopped. A volume that has the revision already needs no Hub.
//
//   ecolink-weights --repo ORG/NAME --revision REVISION --cache DIR       HF_ENDPOINT, HF_TOKEN: as the Hub's own tools
//
// Tells on standard output, a line each: "progress <bytes> <of bytes>", "waiting ...", "done <commit>"; what went wrong
// on standard error. Exit status 0: everything is there; 1: it is worth another try; 2: it is not.
#include <curl/curl.h>
#include <getopt.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "ecolink/clock.h"
#include "fetch.h"

enum { EXIT_AGAIN = 1, EXIT_FINAL = 2, TELL_EVERY_MS = 1000, WAIT_MS = 500, TRIES = 5, PAUSE_FIRST_MS = 500 };

typedef struct job {
  weights_hub hub;
  weights_cache cache;
  weights_plan plan;
  eco_arena *arena;
  int64_t before;  // bytes of the files that are complete
  int64_t told_ms;
  int64_t best;  // how far the file at hand has come: progress renews the patience
} job;

static void pause_ms(int64_t ms) {
  struct timespec t = {.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000};
  (void)nanosleep(&t, NULL);
}

static void say_progress(int64_t done, int64_t total) {
  printf("progress %lld %lld\n", (long long)done, (long long)total);
  (void)fflush(stdout);
}

static void on_progress(void *arg, int64_t bytes) {
  job *j = arg;
  int64_t now_ms = eco_boottime_ms();
  j->best = bytes > j->best ? bytes : j->best;
  if (now_ms - j->told_ms >= TELL_EVERY_MS) {
    j->told_ms = now_ms;
    say_progress(j->before + bytes, j->plan.bytes);
    weights_cache_tell(&j->cache, j->before + bytes, j->plan.bytes);
  }
}

static bool is_final(eco_status st) {
  return st.code == ECO_FORBIDDEN || st.code == ECO_NOT_FOUND || st.code == ECO_INVALID_REQUEST;
}

// Tries again while it gets further.
static eco_status fetch_patiently(job *j, const weights_file *f) {
  eco_status st = eco_success();
  j->best = 0;
  for (int failures = 0; failures < TRIES;) {
    int64_t before = j->best;
    st = weights_fetch(&j->hub, &j->cache, j->plan.commit, f, on_progress, j);
    if (eco_ok(st) || is_final(st)) {
      return st;
    }
    failures = j->best > before ? 0 : failures + 1;
    (void)fprintf(stderr, "ecolink-weights: %s: trying again\n", st.message);
    pause_ms((int64_t)PAUSE_FIRST_MS << failures);
  }
  return st;
}

static eco_status fetch_all(job *j) {
  for (size_t i = 0; i < j->plan.count; i++) {
    j->before += weights_cache_have(&j->cache, &j->plan.files[i]) == j->plan.files[i].size ? j->plan.files[i].size : 0;
  }
  say_progress(j->before, j->plan.bytes);
  weights_cache_tell(&j->cache, j->before, j->plan.bytes);
  for (size_t i = 0; i < j->plan.count; i++) {
    const weights_file *f = &j->plan.files[i];
    if (weights_cache_have(&j->cache, f) == f->size && f->size > 0) {
      continue;
    }
    ECO_TRY(fetch_patiently(j, f));
    j->before += f->size;
  }
  say_progress(j->plan.bytes, j->plan.bytes);
  weights_cache_tell(&j->cache, j->plan.bytes, j->plan.bytes);
  return weights_cache_complete(&j->cache, j->hub.revision, &j->plan);
}

// Until the folder is ours. What the one before us downloads is told meanwhile.
static eco_status take_turn(job *j) {
  bool taken = false;
  int64_t last = -1;
  for (;;) {
    ECO_TRY(weights_cache_lock(&j->cache, &taken));
    if (taken) {
      return eco_success();
    }
    int64_t done = 0;
    int64_t total = 0;
    if (last < 0) {
      printf("waiting for another pod's download\n");
      last = 0;
    }
    if (weights_cache_told(&j->cache, &done, &total) && done != last) {
      say_progress(done, total);
      last = done;
    }
    (void)fflush(stdout);
    pause_ms(WAIT_MS);
  }
}

static eco_status work(job *j) {
  char commit[WEIGHTS_HASH_MAX];
  ECO_TRY(take_turn(j));
  eco_status st = weights_list(&j->hub, j->arena, &j->plan);
  if (!eco_ok(st) && !is_final(st) && weights_cache_has_revision(&j->cache, j->hub.revision, commit)) {
    (void)fprintf(stderr, "ecolink-weights: %s: what is there is taken\n", st.message);
    memcpy(j->plan.commit, commit, sizeof(commit));
    return eco_success();
  }
  ECO_TRY(st);
  return weights_cache_is_complete(&j->cache, j->plan.commit)
             ? weights_cache_complete(&j->cache, j->hub.revision, &j->plan)
             : fetch_all(j);
}

static int usage(FILE *to, int status) {
  (void)fprintf(to,
                "usage: ecolink-weights --repo ORG/NAME --revision REVISION --cache DIR\n"
                "  brings a repository's files from HF_ENDPOINT (default https://huggingface.co) into DIR, once for "
                "all who share it\n");
  return status;
}

static const char *environment(const char *name, const char *fallback) {
  const char *value = getenv(name);
  return value && *value ? value : fallback;
}

int main(int argc, char **argv) {
  static const struct option options[] = {{"repo", required_argument, NULL, 'r'},
                                          {"revision", required_argument, NULL, 'v'},
                                          {"cache", required_argument, NULL, 'c'},
                                          {"help", no_argument, NULL, 'h'},
                                          {NULL, 0, NULL, 0}};
  job j = {.hub = {.url = environment("HF_ENDPOINT", "https://huggingface.co"), .token = environment("HF_TOKEN", "")}};
  const char *cache = NULL;
  for (int c; (c = getopt_long(argc, argv, "", options, NULL)) != -1;) {
    switch (c) {
      case 'r':
        j.hub.repo = optarg;
        break;
      case 'v':
        j.hub.revision = optarg;
        break;
      case 'c':
        cache = optarg;
        break;
      case 'h':
        return usage(stdout, EXIT_SUCCESS);
      default:
        return usage(stderr, EXIT_FINAL);
    }
  }
  if (!j.hub.repo || !j.hub.revision || !*j.hub.revision || !cache || optind != argc) {
    return usage(stderr, EXIT_FINAL);
  }
  if (sodium_init() < 0 || curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK) {
    return EXIT_AGAIN;
  }
  j.arena = eco_arena_new();
  eco_status st = weights_cache_open(cache, j.hub.repo, &j.cache);
  if (eco_ok(st)) {
    st = work(&j);
  }
  weights_cache_close(&j.cache);
  if (eco_ok(st)) {
    printf("done %s\n", j.plan.commit);
  } else {
    (void)fprintf(stderr, "ecolink-weights: %s\n", st.message);
  }
  eco_arena_free(j.arena);
  curl_global_cleanup();
  return eco_ok(st) ? EXIT_SUCCESS : is_final(st) ? EXIT_FINAL : EXIT_AGAIN;
}
