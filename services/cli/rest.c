// Commands that are one call: everything about them stands in their row of the table.
#include "rest.h"

#include <stdio.h>
#include <string.h>

#include "api.h"
#include "body.h"
#include "ecolink/clock.h"
#include "list.h"
#include "run.h"

static bool has_body(const cli_command *command) {
  for (const cli_positional *p = command->positionals; p != NULL && p->name != NULL; p++) {
    if (p->place == CLI_BODY) {
      return true;
    }
  }
  for (const cli_option *o = command->options; o != NULL && o->name != NULL; o++) {
    if (o->place == CLI_BODY) {
      return true;
    }
  }
  return false;
}

void cli_print_sheet(cli_app *app, const cli_view *view, yyjson_val *object) {
  eco_buf out;
  eco_buf_init(&out, 1024 * 1024);
  if (cli_view_sheet(view, object, eco_wall_us(), app->colour, &out)) {
    (void)fwrite(out.data, 1, out.len, stdout);
  }
  eco_buf_free(&out);
  if (cli_view_shows_secret(view, object)) {
    (void)fflush(stdout);
    fprintf(stderr, "Keep it now: it is not shown again.\n");
  }
}

// Where the weights come from follows from what was given.
static void default_source(yyjson_mut_doc *body) {
  yyjson_mut_val *root = yyjson_mut_doc_get_root(body);
  if (yyjson_mut_obj_get(root, "source") == NULL) {
    bool repo = yyjson_mut_obj_get(root, "repo") != NULL;
    bool filesystem = yyjson_mut_obj_get(root, "filesystem_id") != NULL;
    (void)yyjson_mut_obj_add_str(body, root, "source",
                                 repo         ? "huggingface"
                                 : filesystem ? "shared_filesystem"
                                              : "container");
  }
  if (yyjson_mut_obj_get(root, "category") == NULL) {
    (void)yyjson_mut_obj_add_str(body, root, "category", "chat");
  }
}

int cli_run_rest(cli_app *app) {
  const cli_command *c = app->args.command;
  int code = CLI_EXIT_OK;
  const char *path = cli_api_path(app, c->route, &code);
  if (path == NULL) {
    return code;
  }
  if (cli_option_find(c, "cursor", 6) != NULL) {
    return cli_list_show(app, path, c->view, cli_args_has(&app->args, "all"), NULL);
  }
  yyjson_mut_doc *body = NULL;
  if (has_body(c)) {
    body = cli_body_build(app, &code);
    if (body == NULL) {
      return code;
    }
    if (strcmp(c->path, "models create") == 0) {
      default_source(body);
    }
  }
  cli_reply reply = {0};
  code = cli_api_call(app, c->method, path, body, &reply);
  yyjson_mut_doc_free(body);
  if (code != CLI_EXIT_OK) {
    return code;
  }
  if (app->json) {
    cli_api_print_raw(&reply);
  } else {
    cli_print_sheet(app, c->view, reply.root);
  }
  cli_reply_free(&reply);
  return CLI_EXIT_OK;
}

int cli_run_transactions(cli_app *app) {
  if (!cli_args_has(&app->args, "csv")) {
    return cli_run_rest(app);
  }
  int code = CLI_EXIT_OK;
  const char *path = cli_api_path(app, app->args.command->route, &code);
  if (path == NULL) {
    return code;
  }
  return cli_stream_raw(app, cli_api_add_query(app->arena, path, "format", "csv"), "text/csv");
}
