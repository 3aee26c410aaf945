// Calls and how their failures are told.
#include "api.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "body.h"
#include "ecolink/id.h"
#include "format.h"
#include "resolve.h"
#include "table.h"
#include "term.h"

enum { TIMEOUT_S = 60 };

// ---- telling ----

// What to do next, by the error's code.
static const struct {
  const char *code;
  const char *hint;
} hints[] = {
    {"unauthorized", "log in again with `ecolink login`, or check ECOLINK_API_KEY"},
    {"forbidden", "use a key with the right for it: `ecolink keys list` shows roles"},
    {"insufficient_balance", "see `ecolink balance`; a smaller launch needs a smaller hold, `--dry-run` tells it"},
    {"budget_exceeded", "the key's spend cap is reached: make another key or raise the cap"},
    {"model_not_priced", "the operator has not priced this model yet"},
    {"model_not_found", "`ecolink ps` shows the model strings that can be called"},
    {"not_openai_compatible", "call it at its proxy URL: `ecolink show <id>`"},
    {"insufficient_capacity", "`ecolink regions` shows what is free; try another --gpu-type, or --allow-single-region"},
    {"name_taken", "choose another name, or look at the one that has it"},
    {"in_use", "`ecolink ps` shows what uses it; stop that first"},
    {"in_progress", "the same request is still being worked on: try again in a moment"},
    {"idempotency_mismatch", "this --idempotency-key was used for something else: leave it out"},
    {"wrong_state", "`ecolink show <id>` tells its state"},
    {"rate_limit_exceeded", "wait, or ask the owner for a key with a higher limit"},
    {"instance_starting", "`ecolink wait <id>` stays until it runs"},
    {"no_healthy_replica", "`ecolink events <id>` and `ecolink logs <id>` tell why"},
    {"control_plane_unavailable", "if it was a change, look whether it took effect before you try again"},
    {"overloaded", "try again in a moment"},
};

const char *cli_api_hint_code(size_t i) {
  return i < sizeof(hints) / sizeof(hints[0]) ? hints[i].code : NULL;
}

static const char *hint_of(const char *code) {
  for (size_t i = 0; i < sizeof(hints) / sizeof(hints[0]); i++) {
    if (strcmp(hints[i].code, code) == 0) {
      return hints[i].hint;
    }
  }
  return NULL;
}

static void tell(const cli_app *app, const char *text) {
  fprintf(stderr, "%secolink:%s %s\n", app->colour_err ? cli_paint_on(CLI_RED) : "",
          app->colour_err ? cli_paint_off : "", text);
}

int cli_usage_error(cli_app *app, eco_status st) {
  tell(app, st.message);
  const cli_command *c = app->args.command;
  if (c != NULL) {
    fprintf(stderr, "  see: ecolink %s --help\n", c->path);
  } else {
    fprintf(stderr, "  see: ecolink --help\n");
  }
  return CLI_EXIT_USAGE;
}

int cli_exit_of_status(long http_status) {
  if (http_status >= 200 && http_status < 300) {
    return CLI_EXIT_OK;
  }
  return http_status == 401 || http_status == 403 ? CLI_EXIT_UNAUTHORIZED : CLI_EXIT_API;
}

int cli_api_tell_transport(cli_app *app, eco_status st) {
  if (cli_interrupted) {
    return CLI_EXIT_INTERRUPTED;
  }
  tell(app, st.message);
  fprintf(stderr, "  is the gateway running there? another one: ecolink login <url>, --url or ECOLINK_URL\n");
  return CLI_EXIT_UNREACHABLE;
}

static const char *text_of(cli_app *app, yyjson_val *object, const char *name) {
  yyjson_val *v = yyjson_obj_get(object, name);
  return yyjson_is_str(v) ? cli_format_clean(app->arena, yyjson_get_str(v), yyjson_get_len(v)) : "";
}

int cli_api_tell_error_json(cli_app *app, yyjson_val *root, const cli_answer *answer) {
  yyjson_val *error = yyjson_obj_get(root, "error");
  const char *code = text_of(app, error, "code");
  const char *param = text_of(app, error, "param");
  const char *message = text_of(app, error, "message");
  const char *request_id = answer->request_id;
  if (request_id[0] == '\0') {
    request_id = text_of(app, error, "request_id");
  }
  const char *named =
      answer->status != 0 && answer->status != 200 ? eco_sprintf(app->arena, "HTTP %ld", answer->status) : "error";
  tell(app, eco_sprintf(app->arena, "%s (%s)", message[0] != '\0' ? message : "the gateway answered with an error",
                        code[0] != '\0' ? code : named));
  if (param[0] != '\0') {
    fprintf(stderr, "  field: %s\n", param);
  }
  const char *hint = hint_of(code);
  if (strcmp(code, "unauthorized") == 0 && app->profile.key[0] == '\0') {
    hint = "no API key is set for this URL: `ecolink login`, or ECOLINK_API_KEY";
  }
  if (hint != NULL) {
    fprintf(stderr, "  next: %s\n", hint);
  }
  if (answer->retry_after_s > 0) {
    fprintf(stderr, "  try again in: %s\n", cli_format_span(app->arena, answer->retry_after_s));
  }
  if (request_id[0] != '\0') {
    fprintf(stderr, "  request id: %s\n", request_id);
  }
  return cli_exit_of_status(answer->status) != CLI_EXIT_OK ? cli_exit_of_status(answer->status) : CLI_EXIT_API;
}

int cli_api_tell_error(cli_app *app, const cli_answer *answer) {
  if (app->json && answer->body.len > 0) {
    (void)fwrite(answer->body.data, 1, answer->body.len, stdout);
    (void)fputc('\n', stdout);
  }
  yyjson_doc *doc = answer->body.len > 0 ? yyjson_read(answer->body.data, answer->body.len, 0) : NULL;
  int code = 0;
  if (yyjson_is_obj(yyjson_obj_get(yyjson_doc_get_root(doc), "error"))) {
    code = cli_api_tell_error_json(app, yyjson_doc_get_root(doc), answer);
  } else {
    tell(app,
         eco_sprintf(app->arena, "%s answered HTTP %ld, and not as a gateway does", app->profile.url, answer->status));
    fprintf(stderr, "  is this the gateway's URL? see: ecolink login <url>\n");
    code = cli_exit_of_status(answer->status) != CLI_EXIT_OK ? cli_exit_of_status(answer->status) : CLI_EXIT_API;
  }
  yyjson_doc_free(doc);
  return code;
}

// ---- calling ----

int cli_api_try(cli_app *app, const char *method, const char *path, yyjson_mut_doc *body, cli_reply *reply,
                eco_status *st) {
  *reply = (cli_reply){.doc = NULL};
  size_t len = 0;
  char *text = body != NULL ? yyjson_mut_write(body, 0, &len) : NULL;
  char own_key[ECO_ID_MAX];
  eco_id_new("cli", own_key);
  const char *given = cli_args_text(&app->args, "idempotency-key");
  bool changes = strcmp(method, "GET") != 0;
  // A change without a body still says so (Content-Length: 0); GET and DELETE have none at all.
  bool empty = changes && strcmp(method, "DELETE") != 0;
  const cli_request sent = {.method = method,
                            .path = path,
                            .body = text != NULL ? text
                                    : empty      ? ""
                                                 : NULL,
                            .body_len = len,
                            .idempotency_key = !changes        ? NULL
                                               : given != NULL ? given
                                                               : own_key,
                            .timeout_s = (int)cli_args_int(&app->args, "timeout", TIMEOUT_S)};
  *st = cli_http_do(app->http, &sent, &reply->answer);
  if (text != NULL) {
    explicit_bzero(text, len);  // it may hold a token
    free(text);
  }
  if (!eco_ok(*st)) {
    return CLI_EXIT_UNREACHABLE;
  }
  if (cli_interrupted) {
    return CLI_EXIT_INTERRUPTED;
  }
  if (reply->answer.body.len > 0) {
    reply->doc = yyjson_read(reply->answer.body.data, reply->answer.body.len, 0);
    reply->root = yyjson_doc_get_root(reply->doc);
  }
  return cli_exit_of_status(reply->answer.status);
}

int cli_api_call(cli_app *app, const char *method, const char *path, yyjson_mut_doc *body, cli_reply *reply) {
  eco_status st = eco_success();
  int code = cli_api_try(app, method, path, body, reply, &st);
  if (code == CLI_EXIT_OK && reply->root == NULL) {
    code = cli_api_tell_error(app, &reply->answer);
  } else if (code == CLI_EXIT_UNREACHABLE) {
    code = cli_api_tell_transport(app, st);
  } else if (code == CLI_EXIT_API || code == CLI_EXIT_UNAUTHORIZED) {
    code = cli_api_tell_error(app, &reply->answer);
  }
  if (code != CLI_EXIT_OK) {
    cli_reply_free(reply);
  }
  return code;
}

void cli_reply_free(cli_reply *reply) {
  yyjson_doc_free(reply->doc);
  cli_answer_free(&reply->answer);
  *reply = (cli_reply){.doc = NULL};
}

void cli_api_print_raw(const cli_reply *reply) {
  const eco_buf *body = &reply->answer.body;
  (void)fwrite(body->data, 1, body->len, stdout);
  if (body->len == 0 || body->data[body->len - 1] != '\n') {
    (void)fputc('\n', stdout);
  }
}

// ---- paths ----

const char *cli_api_encode(eco_arena *arena, const char *text) {
  static const char plain[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~";
  char *out = eco_alloc(arena, 3 * strlen(text) + 1);
  char *p = out;
  for (; *text != '\0'; text++) {
    if (strchr(plain, *text) != NULL) {
      *p++ = *text;
    } else {
      uint8_t byte = (uint8_t)*text;
      *p++ = '%';
      eco_hex(&byte, 1, p);
      p += 2;
    }
  }
  return out;
}

const char *cli_api_add_query(eco_arena *arena, const char *path, const char *name, const char *value) {
  return eco_sprintf(arena, "%s%c%s=%s", path, strchr(path, '?') != NULL ? '&' : '?', name,
                     cli_api_encode(arena, value));
}

static const char *add_queries(cli_app *app, const char *path, int *exit_code) {
  for (size_t i = 0; i < app->args.given_count; i++) {
    const cli_given *g = &app->args.given[i];
    if (g->option->place != CLI_QUERY) {
      continue;
    }
    const char *value = g->text != NULL ? g->text : "true";
    if (g->option->ref != CLI_REF_NONE) {
      value = cli_resolve(app, g->option->ref, value, exit_code);
      if (value == NULL) {
        return NULL;
      }
    }
    path = cli_api_add_query(app->arena, path, cli_option_field(app->arena, g->option), value);
  }
  return path;
}

static const cli_positional *path_positional(const cli_command *command, const char *name, size_t n) {
  for (const cli_positional *p = command->positionals; p != NULL && p->name != NULL; p++) {
    if (p->place == CLI_PATH && strlen(p->name) == n && memcmp(p->name, name, n) == 0) {
      return p;
    }
  }
  return NULL;
}

const char *cli_api_path(cli_app *app, const char *route, int *exit_code) {
  const char *path = "";
  while (*route != '\0') {
    size_t plain = strcspn(route, "{");
    path = eco_sprintf(app->arena, "%s%.*s", path, (int)plain, route);
    route += plain;
    if (*route != '{') {
      break;
    }
    size_t n = strcspn(route, "}");
    const cli_positional *p = path_positional(app->args.command, route + 1, n - 1);
    const char *value = p != NULL ? cli_args_positional(&app->args, p->name) : NULL;
    if (value != NULL && p->ref != CLI_REF_NONE) {
      value = cli_resolve(app, p->ref, value, exit_code);
    }
    if (value == NULL) {
      return NULL;
    }
    path = eco_sprintf(app->arena, "%s%s", path, cli_api_encode(app->arena, value));
    route += n + 1;
  }
  return add_queries(app, path, exit_code);
}
