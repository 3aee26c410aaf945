// Building bodies by kind.
#include "body.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "api.h"
#include "ecolink/clock.h"
#include "resolve.h"

enum { SECRET_MAX = 64 * 1024 };

eco_status cli_read_secret(eco_arena *arena, const char *path, const char **out) {
  bool standard = strcmp(path, "-") == 0;
  FILE *f = standard ? stdin : fopen(path, "re");
  if (f == NULL) {
    return eco_error(ECO_INVALID_REQUEST, "cannot read %s: %s", path, strerror(errno));
  }
  char *text = eco_alloc(arena, SECRET_MAX + 2);
  size_t n = fread(text, 1, SECRET_MAX + 1, f);
  if (!standard) {
    (void)fclose(f);
  }
  while (n > 0 && (text[n - 1] == '\n' || text[n - 1] == '\r')) {
    text[--n] = '\0';
  }
  if (n == 0 || n > SECRET_MAX || strlen(text) != n) {
    return eco_error(ECO_INVALID_REQUEST, "%s holds no value: it is %s", standard ? "standard input" : path,
                     n == 0           ? "empty"
                     : n > SECRET_MAX ? "too long"
                                      : "not text");
  }
  *out = text;
  return eco_success();
}

const char *cli_option_field(eco_arena *arena, const cli_option *option) {
  if (option->field != NULL) {
    return option->field;
  }
  char *field = eco_strdup(arena, option->name);
  for (char *p = field; *p != '\0'; p++) {
    *p = *p == '-' ? '_' : *p;
  }
  return field;
}

typedef struct builder {
  cli_app *app;
  yyjson_mut_doc *doc;
  yyjson_mut_val *root;
  int exit_code;
} builder;

// The array or object under a field, made when it is the first to go there.
static yyjson_mut_val *under(builder *b, const char *field, bool object) {
  yyjson_mut_val *v = yyjson_mut_obj_get(b->root, field);
  if (v == NULL) {
    v = object ? yyjson_mut_obj(b->doc) : yyjson_mut_arr(b->doc);
    (void)yyjson_mut_obj_add(b->root, yyjson_mut_strcpy(b->doc, field), v);
  }
  return v;
}

static bool fail(builder *b, eco_status st) {
  b->exit_code = cli_usage_error(b->app, st);
  return false;
}

static bool put_item(builder *b, const char *field, cli_ref ref, const char *text, size_t n) {
  const char *item = eco_strndup(b->app->arena, text, n);
  if (ref != CLI_REF_NONE) {
    item = cli_resolve(b->app, ref, item, &b->exit_code);
    if (item == NULL) {
      return false;
    }
  }
  return yyjson_mut_arr_add_strcpy(b->doc, under(b, field, false), item);
}

static bool put_words(builder *b, const char *field, cli_ref ref, const char *text) {
  bool ok = true;
  while (ok && *text != '\0') {
    size_t n = strcspn(text, ",");
    ok = n == 0 || put_item(b, field, ref, text, n);
    text += n + (text[n] == ',' ? 1 : 0);
  }
  return ok;
}

static bool put_map(builder *b, const char *field, const char *text) {
  const char *equals = strchr(text, '=');
  const char *name = equals != NULL ? eco_strndup(b->app->arena, text, (size_t)(equals - text)) : text;
  const char *value = equals != NULL ? equals + 1 : getenv(name);
  if (value == NULL) {
    return fail(
        b, eco_error(ECO_INVALID_REQUEST, "%s is not set in the environment: set it, or write %s=VALUE", name, name));
  }
  return yyjson_mut_obj_add(under(b, field, true), yyjson_mut_strcpy(b->doc, name), yyjson_mut_strcpy(b->doc, value));
}

static bool put_room(builder *b, const char *field, const char *text) {
  const char *equals = strchr(text, '=');
  yyjson_mut_val *row = yyjson_mut_arr_add_obj(b->doc, under(b, field, false));
  return equals != NULL && yyjson_mut_obj_add_strncpy(b->doc, row, "gpu_type", text, (size_t)(equals - text)) &&
         yyjson_mut_obj_add_int(b->doc, row, "total", strtoll(equals + 1, NULL, 10));
}

static yyjson_mut_val *time_value(builder *b, const char *text) {
  int64_t seconds = 0;
  if (!cli_span_parse(text, &seconds)) {
    return yyjson_mut_strcpy(b->doc, text);
  }
  char when[ECO_RFC3339_MAX];
  eco_rfc3339_format((eco_wall_us() / ECO_US_PER_S + seconds) * ECO_US_PER_S, when);
  return yyjson_mut_strcpy(b->doc, when);
}

// NULL, and the exit code, when the file holds no JSON object.
static yyjson_mut_val *json_value(builder *b, const char *path) {
  const char *text = NULL;
  yyjson_read_err why;
  eco_status st = cli_read_secret(b->app->arena, path, &text);
  if (!eco_ok(st)) {
    (void)fail(b, st);
    return NULL;
  }
  yyjson_doc *doc = yyjson_read_opts((char *)(uintptr_t)text, strlen(text), YYJSON_READ_NOFLAG, NULL, &why);
  yyjson_val *root = yyjson_doc_get_root(doc);
  yyjson_mut_val *v = yyjson_is_obj(root) ? yyjson_val_mut_copy(b->doc, root) : NULL;
  if (v == NULL) {
    (void)fail(b, eco_error(ECO_INVALID_REQUEST, "%s holds no JSON object%s%s", path, doc == NULL ? ": " : "",
                            doc == NULL ? why.msg : ""));
  }
  yyjson_doc_free(doc);
  return v;
}

static bool put_value(builder *b, cli_kind kind, const char *field, cli_ref ref, const char *text) {
  yyjson_mut_val *v = NULL;
  const char *secret = NULL;
  switch (kind) {
    case CLI_FLAG:
    case CLI_NOT:
      v = yyjson_mut_bool(b->doc, kind == CLI_FLAG);
      break;
    case CLI_INT:
      v = yyjson_mut_sint(b->doc, strtoll(text, NULL, 10));
      break;
    case CLI_NUMBER:
      v = yyjson_mut_rawcpy(b->doc, text);
      break;
    case CLI_TIME:
      v = time_value(b, text);
      break;
    case CLI_LIST:
      return put_item(b, field, ref, text, strlen(text));
    case CLI_WORDS:
      return put_words(b, field, ref, text);
    case CLI_MAP:
      return put_map(b, field, text);
    case CLI_ROOM:
      return put_room(b, field, text);
    case CLI_SECRET: {
      eco_status st = cli_read_secret(b->app->arena, text, &secret);
      if (!eco_ok(st)) {
        return fail(b, st);
      }
      v = yyjson_mut_strcpy(b->doc, secret);
      break;
    }
    case CLI_JSON:
      v = json_value(b, text);
      if (v == NULL) {
        return false;
      }
      break;
    case CLI_TEXT:
    case CLI_MONEY:
      text = cli_resolve(b->app, ref, text, &b->exit_code);
      if (text == NULL) {
        return false;
      }
      v = yyjson_mut_strcpy(b->doc, text);
      break;
  }
  // An option given twice (a flag) must not make a member twice.
  (void)yyjson_mut_obj_remove_str(b->root, field);
  return yyjson_mut_obj_add(b->root, yyjson_mut_strcpy(b->doc, field), v);
}

static bool put_positionals(builder *b) {
  const cli_args *args = &b->app->args;
  size_t i = 0;
  bool ok = true;
  for (const cli_positional *p = args->command->positionals; ok && p != NULL && p->name != NULL; p++, i++) {
    size_t end = p->rest ? args->positional_count : i + 1;
    for (size_t k = i; ok && p->place == CLI_BODY && k < end && k < args->positional_count; k++) {
      const char *field = p->field != NULL ? p->field : p->name;
      ok = args->positionals[k] == NULL || put_value(b, p->kind, field, p->ref, args->positionals[k]);
    }
  }
  return ok;
}

yyjson_mut_doc *cli_body_build(cli_app *app, int *exit_code) {
  builder b = {.app = app, .doc = yyjson_mut_doc_new(NULL), .exit_code = CLI_EXIT_USAGE};
  b.root = yyjson_mut_obj(b.doc);
  yyjson_mut_doc_set_root(b.doc, b.root);
  bool ok = put_positionals(&b);
  for (size_t i = 0; ok && i < app->args.given_count; i++) {
    const cli_given *g = &app->args.given[i];
    if (g->option->place == CLI_BODY) {
      ok = put_value(&b, g->option->kind, cli_option_field(app->arena, g->option), g->option->ref, g->text);
    }
  }
  if (!ok) {
    *exit_code = b.exit_code;
    yyjson_mut_doc_free(b.doc);
    return NULL;
  }
  return b.doc;
}
