// Fuzzes what is parsed out of strings that people send: API keys, model ids ("my-llama:142"), ids, cursors, limits,
// days, model names, repositories, revisions and filesystem paths. What is taken is of the documented form and comes
// out the same when it is written again.
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ecolink/id.h"
#include "ecolink/lists.h"
#include "ecolink/money.h"
#include "names.h"
#include "page.h"
#include "pages.h"
#include "paths.h"
#include "repos.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(bool ok) {
  if (!ok) {
    abort();
  }
}

static bool in_alphabet(const char *s, size_t n) {
  for (size_t i = 0; i < n; i++) {
    if (strchr("0123456789abcdefghjkmnpqrstvwxyzABCDEFGHJKMNPQRSTVWXYZ", s[i]) == NULL || s[i] == '\0') {
      return false;
    }
  }
  return true;
}

static void try_key(const char *s, size_t n) {
  if (eco_api_key_is(s, n)) {
    require(n == ECO_API_KEY_LEN && memcmp(s, "eco_", 4) == 0 && in_alphabet(s + 4, n - 4));
  }
}

static void try_model(const char *s, size_t n) {
  size_t name_len = 0;
  int64_t instance = 0;
  if (!eco_model_string_parse(s, n, &name_len, &instance)) {
    return;
  }
  require(name_len > 0 && name_len < n && instance > 0);
  char again[32];
  const int len = snprintf(again, sizeof again, ":%" PRId64, instance);
  require(name_len + (size_t)len == n && memcmp(s + name_len, again, (size_t)len) == 0);
}

static void try_cursors(const char *text) {
  int64_t position = 0;
  if (eco_ok(eco_page_position(text, 5, &position))) {
    require(position >= 0);
  }
  registry_page page;
  if (eco_ok(registry_page_parse(10, text, &page)) && text[0] != '\0') {
    char again[REGISTRY_CURSOR_MAX];
    registry_page second;
    registry_cursor_format(page.before_us, page.before_id, again);
    require(eco_ok(registry_page_parse(10, again, &second)) && second.before_us == page.before_us &&
            strcmp(second.before_id, page.before_id) == 0);
  }
  int64_t day = 0;
  const char *key = NULL;
  if (eco_ok(page_usage_cursor(text, &day, &position, &key))) {
    require(text[0] == '\0' || (key >= text && key <= text + strlen(text)));
  }
  (void)eco_ok(page_day(text, "from", 0, &day));
}

static void try_names(const char *text) {
  const size_t n = strlen(text);
  if (eco_id_is(text, "acc")) {
    require(n < ECO_ID_MAX && in_alphabet(text + 4, n - 4));
  }
  if (registry_name_valid(text)) {
    size_t name_len = 0;
    int64_t instance = 0;
    require(n > 0 && n <= 128 && strpbrk(text, ": \"\\") == NULL);
    char *model = malloc(n + 4);
    (void)snprintf(model, n + 4, "%s:14", text);
    require(eco_model_string_parse(model, n + 3, &name_len, &instance) && name_len == n && instance == 14);
    free(model);
  }
  if (registry_email_valid(text)) {
    char *folded = malloc(n + 1);
    registry_email_fold(text, folded);
    require(registry_email_valid(folded) && strlen(folded) == n);
    free(folded);
  }
  (void)registry_label_valid(text, 64);
  (void)registry_text_valid(text, 64);
  require(!registry_region_valid(text) || n <= 63);
  require(!registry_repo_valid(text) || strstr(text, "..") == NULL);
  require(!registry_revision_valid(text) || strstr(text, "..") == NULL);
}

static void try_money(const char *text) {
  int64_t micros = 0;
  int64_t again = 0;
  if (eco_money_parse(text, &micros)) {
    char out[ECO_MONEY_TEXT_MAX];
    eco_money_format(micros, out);
    require(eco_money_parse(out, &again) && again == micros);
  }
}

// Normal form is its own normal form, and never leaves the mount.
static void try_paths(const char *text) {
  static const char MOUNT[] = "/shared/models";
  char out[REGISTRY_PATH_MAX + 1];
  char again[REGISTRY_PATH_MAX + 1];
  if (registry_path_normalise(MOUNT, text, out) == REGISTRY_PATH_OK) {
    const size_t n = sizeof MOUNT - 1;
    require(strncmp(out, MOUNT, n) == 0 && (out[n] == '\0' || out[n] == '/'));
    require(strstr(out, "/../") == NULL && strstr(out, "//") == NULL);
    require(registry_path_normalise(MOUNT, out, again) == REGISTRY_PATH_OK && strcmp(out, again) == 0);
  }
  if (registry_mount_normalise(text, out) == REGISTRY_PATH_OK) {
    require(registry_mount_normalise(out, again) == REGISTRY_PATH_OK && strcmp(out, again) == 0);
    require(registry_mounts_overlap(out, again));
  }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  char *text = malloc(size + 1);
  memcpy(text, data, size);
  text[size] = '\0';
  try_key(text, size);
  try_model(text, size);
  try_cursors(text);
  try_names(text);
  try_money(text);
  try_paths(text);
  free(text);
  return 0;
}
