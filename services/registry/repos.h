// HuggingFace repositories and revisions: their form, and what an answer of the Hub means. Pure; any thread.
#ifndef REGISTRY_REPOS_H
#define REGISTRY_REPOS_H

#include <stdbool.h>

// org/name: two parts of at most 96 letters, digits, '.', '_', '-', each begun by a letter, digit or '_'; no "--", no
// "..", no ".git" at the end (the Hub's own rules).
bool registry_repo_valid(const char *repo);
// A branch, tag or commit by git's rules (git-check-ref-format), in the characters [A-Za-z0-9._/-] only.
bool registry_revision_valid(const char *revision);

typedef enum registry_hub_verdict {
  REGISTRY_HUB_ACCEPT,   // it exists, or nobody can tell
  REGISTRY_HUB_NO_REPO,  // it does not exist, or hides from callers without a token
  REGISTRY_HUB_NO_REVISION,
} registry_hub_verdict;
// http_status 0: unreachable. error_code: the answer's X-Error-Code header, "" when absent. A caller with a token is
// believed on 401 and 403: the token is sealed, so only the engine can find out.
registry_hub_verdict registry_hub_judge(int http_status, const char *error_code, bool has_token);

#endif
