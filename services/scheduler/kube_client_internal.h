// What kube_client.c (requests) and kube_stream.c (lists, watches) share.
#ifndef SCHEDULER_KUBE_CLIENT_INTERNAL_H
#define SCHEDULER_KUBE_CLIENT_INTERNAL_H

#include <curl/curl.h>
#include <pthread.h>

#include "kube_client.h"

struct kube_client {
  kube_config config;
  char *user_agent;
  int watch_idle_ms;
  struct curl_slist *connect_to;  // when the certificate is for another name than the address

  pthread_mutex_t lock;  // guards all below
  pthread_cond_t wake;
  bool stopped;
  kube_bucket bucket;
  CURL *idle[KUBE_HANDLES_MAX];  // connections to use again
  int idle_count;
  char *token;  // of token_file
  int64_t token_read_ms;
  uint64_t chance;  // xorshift state
};

// A handle with everything set that does not depend on the request; the caller's to clean up. NULL: no memory.
CURL *kube_handle_new(kube_client *client);
// One of those kept for requests. It still points at its last owner's callbacks: whoever takes it sets all of them.
CURL *kube_handle_take(kube_client *client);
void kube_handle_give(kube_client *client, CURL *easy, bool reusable);
bool kube_client_stopped(kube_client *client);
uint32_t kube_client_chance(kube_client *client);
// "Authorization: Bearer ..." appended to the list when there is a token. `fresh`: the file is read again now.
struct curl_slist *kube_authorize(kube_client *client, struct curl_slist *headers, bool fresh);
void kube_headers_free(struct curl_slist *headers);  // wiped: one of them is the token
bool kube_handle_aim(kube_client *client, CURL *easy, const char *path);
// Fills *out from a transfer that brought no answer.
void kube_problem_of_transfer(CURL *easy, CURLcode result, bool stopped, kube_problem *out);

#endif
