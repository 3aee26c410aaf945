// Launching, listing, showing and ending instances; their events and logs.
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "api.h"
#include "body.h"
#include "ecolink/clock.h"
#include "list.h"
#include "resolve.h"
#include "rest.h"
#include "run.h"
#include "term.h"
#include "wait.h"

static void print_instance(cli_app *app, const cli_reply *reply, const cli_view *view) {
  if (app->json) {
    cli_api_print_raw(reply);
  } else {
    cli_print_sheet(app, view, reply->root);
  }
}

static const char *id_of(cli_app *app, yyjson_val *instance) {
  return eco_sprintf(app->arena, "%lld", (long long)yyjson_get_sint(yyjson_obj_get(instance, "id")));
}

// The last thing that a successful launch says: how to call it.
static void tell_call(cli_app *app, yyjson_val *instance) {
  const char *model = yyjson_get_str(yyjson_obj_get(instance, "model"));
  const char *proxy = yyjson_get_str(yyjson_obj_get(instance, "proxy_url"));
  if (app->json || model == NULL) {
    return;
  }
  if (yyjson_get_bool(yyjson_obj_get(instance, "openai_compatible"))) {
    printf("\nTalk to it:  ecolink chat %s\nOr by API:   %s/v1 with model \"%s\"\n", model, app->profile.url, model);
  } else if (proxy != NULL) {
    printf("\nCall it at %s\n", proxy);
  }
}

static int check_wait_timeout(cli_app *app) {
  const char *text = cli_args_text(&app->args, "wait-timeout");
  int64_t seconds = 0;
  if (text != NULL && !cli_span_parse(text, &seconds)) {
    return cli_usage_error(
        app, eco_error(ECO_INVALID_REQUEST, "--wait-timeout: \"%s\" is no span such as 45s, 10m or 2h", text));
  }
  return CLI_EXIT_OK;
}

static int wait_and_print(cli_app *app, const char *id, cli_wait_for what) {
  cli_reply last;
  int code = cli_wait_instance(app, id, what, &last);
  if (last.root != NULL) {
    print_instance(app, &last, &cli_view_instances);
    if (code == CLI_EXIT_OK && what != CLI_WAIT_STOPPED) {
      tell_call(app, last.root);
    }
  }
  cli_reply_free(&last);
  return code;
}

int cli_run_launch(cli_app *app) {
  const cli_args *args = &app->args;
  int code = check_wait_timeout(app);
  if (code != CLI_EXIT_OK) {
    return code;
  }
  bool mine = cli_args_positional(args, "model") != NULL;
  if (mine == cli_args_has(args, "platform-model")) {
    return cli_usage_error(app,
                           eco_error(ECO_INVALID_REQUEST, "name either a registered <model> or a --platform-model"));
  }
  yyjson_mut_doc *body = cli_body_build(app, &code);
  const char *path = body != NULL ? cli_api_path(app, args->command->route, &code) : NULL;
  if (path == NULL) {
    yyjson_mut_doc_free(body);
    return code;
  }
  if (cli_args_has(args, "custom-api-path") && !cli_args_has(args, "custom")) {
    (void)yyjson_mut_obj_add_bool(body, yyjson_mut_doc_get_root(body), "openai_compatible", false);
  }
  cli_reply reply = {0};
  code = cli_api_call(app, "POST", path, body, &reply);
  yyjson_mut_doc_free(body);
  if (code != CLI_EXIT_OK) {
    return code;
  }
  bool quote = cli_args_has(args, "dry-run");
  bool wait = cli_args_has(args, "wait") && !quote;
  const char *id = id_of(app, reply.root);
  if (!wait) {
    print_instance(app, &reply, quote ? &cli_view_quote : &cli_view_instances);
    if (!quote && !app->json) {
      (void)fflush(stdout);
      fprintf(stderr, "\nIt is starting. Watch it: ecolink wait %s\n", id);
    }
  }
  cli_reply_free(&reply);
  return wait ? wait_and_print(app, id, CLI_WAIT_RUNNING) : CLI_EXIT_OK;
}

// ---- list, show, wait, stop ----

static bool is_live(yyjson_val *row) {
  const char *status = yyjson_get_str(yyjson_obj_get(row, "status"));
  return status == NULL || (strcmp(status, "stopped") != 0 && strcmp(status, "failed") != 0);
}

int cli_run_ps(cli_app *app) {
  int code = CLI_EXIT_OK;
  const char *path = cli_api_path(app, app->args.command->route, &code);
  if (path == NULL) {
    return code;
  }
  bool all = cli_args_has(&app->args, "all");
  bool everything = all || app->json || cli_args_has(&app->args, "status");
  // Ended instances are hidden by this side, so every page has to be looked at.
  bool walk = all || (!everything && !cli_args_has(&app->args, "limit"));
  return cli_list_show(app, path, app->args.command->view, walk, everything ? NULL : is_live);
}

int cli_run_show(cli_app *app) {
  int code = CLI_EXIT_OK;
  const char *path = cli_api_path(app, app->args.command->route, &code);
  cli_reply reply = {0};
  if (path == NULL) {
    return code;
  }
  code = cli_api_call(app, "GET", path, NULL, &reply);
  if (code == CLI_EXIT_OK) {
    print_instance(app, &reply, app->args.command->view);
    cli_reply_free(&reply);
  }
  return code;
}

int cli_run_wait(cli_app *app) {
  const char *word = cli_args_text(&app->args, "for");
  cli_wait_for what = CLI_WAIT_RUNNING;
  if (word != NULL && !cli_wait_parse(word, &what)) {
    return cli_usage_error(app, eco_error(ECO_INVALID_REQUEST, "--for takes running, ready or stopped"));
  }
  int code = check_wait_timeout(app);
  const char *id =
      code == CLI_EXIT_OK ? cli_resolve(app, CLI_REF_INSTANCE, cli_args_positional(&app->args, "id"), &code) : NULL;
  return id != NULL ? wait_and_print(app, id, what) : code;
}

// The POST of a stop or restart; *reply is filled when it returns CLI_EXIT_OK.
static int change(cli_app *app, cli_reply *reply) {
  int code = check_wait_timeout(app);
  const char *path = code == CLI_EXIT_OK ? cli_api_path(app, app->args.command->route, &code) : NULL;
  return path != NULL ? cli_api_call(app, "POST", path, NULL, reply) : code;
}

int cli_run_stop(cli_app *app) {
  cli_reply reply = {0};
  int code = change(app, &reply);
  if (code != CLI_EXIT_OK) {
    return code;
  }
  bool wait = cli_args_has(&app->args, "wait");
  const char *id = id_of(app, reply.root);
  if (!wait) {
    print_instance(app, &reply, &cli_view_instances);
  }
  cli_reply_free(&reply);
  return wait ? wait_and_print(app, id, CLI_WAIT_STOPPED) : CLI_EXIT_OK;
}

int cli_run_restart(cli_app *app) {
  cli_reply reply = {0};
  int code = change(app, &reply);
  if (code != CLI_EXIT_OK) {
    return code;
  }
  bool wait = cli_args_has(&app->args, "wait");
  if (wait) {
    code = cli_restart_wait(app, reply.root);
    const char *path = eco_sprintf(app->arena, "/inference-instances/%s", id_of(app, reply.root));
    cli_reply_free(&reply);
    int shown = code == CLI_EXIT_OK ? cli_api_call(app, "GET", path, NULL, &reply) : code;
    if (shown != CLI_EXIT_OK) {
      return shown;
    }
  }
  print_instance(app, &reply, &cli_view_instances);
  cli_reply_free(&reply);
  return code;
}

// ---- events and logs ----

static bool print_event(cli_app *app, void *arg, yyjson_val *event, const char *text, size_t len) {
  (void)arg;
  if (app->json) {
    printf("%.*s\n", (int)len, text);
    return true;
  }
  eco_buf out;
  eco_buf_init(&out, 64 * 1024);
  static const char *const fields[] = {"created_at", "status", "type", "region", "message"};
  for (size_t i = 0; i < sizeof(fields) / sizeof(fields[0]); i++) {
    const char *value = yyjson_get_str(yyjson_obj_get(event, fields[i]));
    (void)eco_buf_printf(&out, "%s%s", i > 0 ? "  " : "", value != NULL ? value : "-");
  }
  (void)eco_buf_putc(&out, '\n');
  (void)fflush(stdout);
  cli_term_write(STDOUT_FILENO, out.data, out.len, false);
  eco_buf_free(&out);
  return true;
}

int cli_run_events(cli_app *app) {
  int code = CLI_EXIT_OK;
  const char *path = cli_api_path(app, app->args.command->route, &code);
  if (path == NULL) {
    return code;
  }
  if (!cli_args_has(&app->args, "follow")) {
    return cli_list_show(app, path, app->args.command->view, cli_args_has(&app->args, "all"), NULL);
  }
  return cli_stream_events(app, cli_api_add_query(app->arena, path, "follow", "true"), 0, print_event, NULL);
}

static bool print_log(cli_app *app, void *arg, yyjson_val *line, const char *text, size_t len) {
  const char *only = arg;  // one replica was asked for: its name need not stand on each line
  if (app->json) {
    printf("%.*s\n", (int)len, text);
    return true;
  }
  eco_buf out;
  eco_buf_init(&out, 1024 * 1024);
  const char *region = yyjson_get_str(yyjson_obj_get(line, "region"));
  const char *written = yyjson_get_str(yyjson_obj_get(line, "text"));
  if (only == NULL) {
    (void)eco_buf_printf(&out, "%lld/%s  ", (long long)yyjson_get_sint(yyjson_obj_get(line, "replica_id")),
                         region != NULL ? region : "-");
  }
  (void)eco_buf_printf(&out, "%s\n", written != NULL ? written : "");
  (void)fflush(stdout);
  cli_term_write(STDOUT_FILENO, out.data, out.len, false);
  eco_buf_free(&out);
  return true;
}

int cli_run_logs(cli_app *app) {
  int code = CLI_EXIT_OK;
  const char *path = cli_api_path(app, app->args.command->route, &code);
  void *only = (void *)(uintptr_t)cli_args_text(&app->args, "replica");
  if (path == NULL) {
    return code;
  }
  if (cli_args_has(&app->args, "follow")) {
    return cli_stream_events(app, cli_api_add_query(app->arena, path, "follow", "true"), 0, print_log, only);
  }
  cli_reply reply = {0};
  code = cli_api_call(app, "GET", path, NULL, &reply);
  if (code != CLI_EXIT_OK) {
    return code;
  }
  if (app->json) {
    cli_api_print_raw(&reply);
  } else {
    size_t i = 0;
    size_t max = 0;
    yyjson_val *line = NULL;
    yyjson_arr_foreach(yyjson_obj_get(reply.root, "data"), i, max, line) {
      (void)print_log(app, only, line, "", 0);
    }
  }
  cli_reply_free(&reply);
  return CLI_EXIT_OK;
}
