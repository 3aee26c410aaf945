// Looking up ids by name.
#include "resolve.h"

#include <stdio.h>
#include <string.h>

#include "api.h"
#include "ecolink/id.h"

enum { PAGES_MAX = 50 };

typedef struct kind {
  const char *word;
  const char *prefix;
  const char *route;
} kind;

static const kind KINDS[] = {
    [CLI_REF_MODEL] = {"model", "mdl_", "/models"},
    [CLI_REF_FILESYSTEM] = {"filesystem", "fs_", "/filesystems"},
    [CLI_REF_KEY] = {"API key", "key_", "/api-keys"},
    [CLI_REF_ACCOUNT] = {"account", "acc_", "/admin/accounts"},
};

// 142, or the part after the last colon of my-llama:142.
static const char *instance_of(cli_app *app, const char *text, int *exit_code) {
  size_t name_len = 0;
  int64_t id = 0;
  const char *prefixed = eco_sprintf(app->arena, "x:%s", text);
  bool plain = strchr(text, ':') == NULL;
  const char *whole = plain ? prefixed : text;
  if (!eco_model_string_parse(whole, strlen(whole), &name_len, &id)) {
    *exit_code = cli_usage_error(
        app, eco_error(ECO_INVALID_REQUEST,
                       "\"%s\" is no instance: 142 or my-llama:142 is wanted; `ecolink ps` lists them", text));
    return NULL;
  }
  return eco_sprintf(app->arena, "%lld", (long long)id);
}

// Looks through one page; ids of things with that name are counted, revoked keys are not.
static void scan_page(cli_app *app, yyjson_val *data, const char *name, const char **found, int *count) {
  size_t i = 0;
  size_t max = 0;
  yyjson_val *row = NULL;
  yyjson_arr_foreach(data, i, max, row) {
    yyjson_val *revoked = yyjson_obj_get(row, "revoked_at");
    if (yyjson_equals_str(yyjson_obj_get(row, "name"), name) && (revoked == NULL || yyjson_is_null(revoked))) {
      const char *id = yyjson_get_str(yyjson_obj_get(row, "id"));
      *found = eco_strdup(app->arena, id);
      *count += 1;
    }
  }
}

const char *cli_resolve(cli_app *app, cli_ref ref, const char *text, int *exit_code) {
  if (ref == CLI_REF_NONE) {
    return text;
  }
  if (ref == CLI_REF_INSTANCE) {
    return instance_of(app, text, exit_code);
  }
  const kind *k = &KINDS[ref];
  if (strncmp(text, k->prefix, strlen(k->prefix)) == 0) {
    return text;
  }
  const char *found = NULL;
  int count = 0;
  const char *path = eco_sprintf(app->arena, "%s?limit=100", k->route);
  for (int page = 0; page < PAGES_MAX && path != NULL; page++) {
    cli_reply reply = {0};
    *exit_code = cli_api_call(app, "GET", path, NULL, &reply);
    if (*exit_code != CLI_EXIT_OK) {
      return NULL;
    }
    scan_page(app, yyjson_obj_get(reply.root, "data"), text, &found, &count);
    const char *next = yyjson_get_str(yyjson_obj_get(reply.root, "next_cursor"));
    bool more = yyjson_get_bool(yyjson_obj_get(reply.root, "has_more")) && next != NULL;
    path =
        more ? cli_api_add_query(app->arena, eco_sprintf(app->arena, "%s?limit=100", k->route), "cursor", next) : NULL;
    cli_reply_free(&reply);
  }
  if (count == 1) {
    return found;
  }
  fprintf(
      stderr,
      count == 0 ? "ecolink: there is no %s named \"%s\"\n" : "ecolink: more than one %s is named \"%s\": use its id\n",
      k->word, text);
  *exit_code = CLI_EXIT_API;
  return NULL;
}
