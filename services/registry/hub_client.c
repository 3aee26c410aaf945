// The Hub's client, by libcurl; the contract is in hub_client.h.
#include "hub_client.h"

#include <curl/curl.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "ecolink/crash.h"
#include "ecolink/log.h"
#include "repos.h"

enum { URL_MAX = 1024, ERROR_CODE_MAX = 64, BODY_MAX = 1024 * 1024 };

typedef struct hub_answer {
  char error_code[ERROR_CODE_MAX];  // X-Error-Code
  size_t body_len;
} hub_answer;

eco_status registry_hub_init(void) {
  if (curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK) {
    return eco_error(ECO_INTERNAL, "libcurl does not start");
  }
  return eco_success();
}

static size_t on_header(char *data, size_t size, size_t n, void *arg) {
  static const char NAME[] = "x-error-code:";
  hub_answer *answer = arg;
  size_t len = size * n;
  if (len > sizeof NAME - 1 && strncasecmp(data, NAME, sizeof NAME - 1) == 0) {
    const char *value = data + sizeof NAME - 1;
    size_t left = len - (sizeof NAME - 1);
    while (left > 0 && *value == ' ') {
      value++;
      left--;
    }
    while (left > 0 && (value[left - 1] == '\r' || value[left - 1] == '\n' || value[left - 1] == ' ')) {
      left--;
    }
    (void)snprintf(answer->error_code, sizeof answer->error_code, "%.*s", (int)(left < ERROR_CODE_MAX ? left : 0),
                   value);
  }
  return len;
}

// The body says nothing that the status does not; beyond its bound the transfer is cut.
static size_t on_body(char *data, size_t size, size_t n, void *arg) {
  hub_answer *answer = arg;
  (void)data;
  answer->body_len += size * n;
  return answer->body_len > BODY_MAX ? 0 : size * n;
}

// The slashes of a revision are part of its name, so they are encoded; everything else passes unreserved.
static bool make_url(char out[URL_MAX], const char *hub_url, const char *repo, const char *revision) {
  size_t base = strlen(hub_url);
  while (base > 0 && hub_url[base - 1] == '/') {
    base--;
  }
  int n = snprintf(out, URL_MAX, "%.*s/api/models/%s/revision/", (int)base, hub_url, repo);
  if (n < 0 || n >= URL_MAX) {
    return false;
  }
  size_t len = (size_t)n;
  for (const char *p = revision; *p != '\0'; p++) {
    n = snprintf(out + len, URL_MAX - len, *p == '/' ? "%%2F" : "%c", *p);
    len += (size_t)n;
    if (len >= URL_MAX) {
      return false;
    }
  }
  return true;
}

static int ask(const char *url, long timeout_ms, hub_answer *answer) {
  CURL *curl = curl_easy_init();
  if (curl == NULL) {
    return 0;
  }
  long status = 0;
  curl_easy_setopt(curl, CURLOPT_URL, url);
  curl_easy_setopt(curl, CURLOPT_PROTOCOLS_STR, "http,https");
  curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
  curl_easy_setopt(curl, CURLOPT_TIMEOUT_MS, timeout_ms);
  curl_easy_setopt(curl, CURLOPT_FOLLOWLOCATION, 0L);
  curl_easy_setopt(curl, CURLOPT_USERAGENT, "ecolink-registry/" ECO_VERSION);
  curl_easy_setopt(curl, CURLOPT_HEADERFUNCTION, on_header);
  curl_easy_setopt(curl, CURLOPT_HEADERDATA, answer);
  curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, on_body);
  curl_easy_setopt(curl, CURLOPT_WRITEDATA, answer);
  CURLcode code = curl_easy_perform(curl);
  if (code == CURLE_OK || code == CURLE_WRITE_ERROR) {
    curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &status);
  } else {
    eco_log(ECO_LOG_INFO, "the model hub did not answer: the model is taken as given",
            ECO_F_STR("error", curl_easy_strerror(code)));
  }
  curl_easy_cleanup(curl);
  return (int)status;
}

eco_status registry_hub_check(const char *hub_url, long timeout_ms, const char *repo, const char *revision,
                              bool has_token) {
  char url[URL_MAX];
  hub_answer answer = {.error_code = ""};
  if (!make_url(url, hub_url, repo, revision)) {
    return eco_success();
  }
  int status = ask(url, timeout_ms, &answer);
  ECO_CRASH_POINT("registry.hub.asked");
  switch (registry_hub_judge(status, answer.error_code, has_token)) {
    case REGISTRY_HUB_NO_REPO:
      return eco_error_param(ECO_INVALID_REQUEST, "repo",
                             "the hub shows no repository %s: check its name, or give hf_token when it is gated", repo);
    case REGISTRY_HUB_NO_REVISION:
      return eco_error_param(ECO_INVALID_REQUEST, "revision", "repository %s has no revision %s", repo, revision);
    case REGISTRY_HUB_ACCEPT:
      break;
  }
  return eco_success();
}
