// HuggingFace repositories and revisions; the contract is in repos.h.
#include "repos.h"

#include <stddef.h>
#include <string.h>

#include "registry_limits.h"

static bool is_word(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_';
}

static bool part_valid(const char *s, size_t n) {
  if (n == 0 || n > REGISTRY_REPO_PART_MAX || !is_word(s[0]) || s[n - 1] == '.' || s[n - 1] == '-') {
    return false;
  }
  for (size_t i = 1; i < n; i++) {
    if (!is_word(s[i]) && s[i] != '.' && s[i] != '-') {
      return false;
    }
    if ((s[i] == '.' || s[i] == '-') && s[i] == s[i - 1]) {
      return false;
    }
  }
  return !(n >= 4 && memcmp(s + n - 4, ".git", 4) == 0);
}

bool registry_repo_valid(const char *repo) {
  const char *slash = strchr(repo, '/');
  return slash != NULL && part_valid(repo, (size_t)(slash - repo)) && part_valid(slash + 1, strlen(slash + 1));
}

// One component of a ref between slashes.
static bool ref_component_valid(const char *s, size_t n) {
  if (n == 0 || s[0] == '.' || s[n - 1] == '.') {
    return false;
  }
  for (size_t i = 0; i < n; i++) {
    if (!is_word(s[i]) && s[i] != '.' && s[i] != '-') {
      return false;
    }
    if (i > 0 && s[i] == '.' && s[i - 1] == '.') {
      return false;
    }
  }
  return !(n >= 5 && memcmp(s + n - 5, ".lock", 5) == 0);
}

bool registry_revision_valid(const char *revision) {
  size_t n = strlen(revision);
  if (n == 0 || n > REGISTRY_REVISION_MAX || revision[0] == '-') {
    return false;
  }
  for (const char *p = revision;;) {
    size_t len = strcspn(p, "/");
    if (!ref_component_valid(p, len)) {
      return false;
    }
    if (p[len] == '\0') {
      return true;
    }
    p += len + 1;
  }
}

registry_hub_verdict registry_hub_judge(int http_status, const char *error_code, bool has_token) {
  if (http_status == 404) {
    return strcmp(error_code, "RevisionNotFound") == 0 ? REGISTRY_HUB_NO_REVISION : REGISTRY_HUB_NO_REPO;
  }
  if ((http_status == 401 || http_status == 403) && !has_token) {
    // The Hub answers 401 for what does not exist and for what is private alike.
    return REGISTRY_HUB_NO_REPO;
  }
  return REGISTRY_HUB_ACCEPT;
}
