// From argv to an exit code.
#include "app.h"

#include <locale.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "api.h"
#include "complete.h"
#include "help.h"
#include "run.h"
#include "term.h"

static int print_help(const cli_command *command, bool colour) {
  eco_buf out;
  eco_buf_init(&out, CLI_HELP_MAX);
  bool ok = cli_help_write(command, colour, &out);
  if (ok) {
    (void)fwrite(out.data, 1, out.len, stdout);
  }
  eco_buf_free(&out);
  return ok ? CLI_EXIT_OK : CLI_EXIT_USAGE;
}

int cli_run_help(cli_app *app) {
  const char *path = "";
  for (size_t i = 0; i < app->args.positional_count; i++) {
    path = eco_sprintf(app->arena, "%s%s%s", path, i > 0 ? " " : "", app->args.positionals[i]);
  }
  const cli_command *command = path[0] != '\0' ? cli_command_find(path) : NULL;
  if (path[0] != '\0' && command == NULL) {
    return cli_usage_error(app, eco_error(ECO_INVALID_REQUEST, "there is no command \"%s\"", path));
  }
  return print_help(command, app->colour);
}

int cli_run_completion(cli_app *app) {
  const char *script = cli_complete_script(cli_args_positional(&app->args, "shell"));
  if (script == NULL) {
    return cli_usage_error(app, eco_error(ECO_INVALID_REQUEST, "there are scripts for bash and zsh"));
  }
  (void)fputs(script, stdout);
  return CLI_EXIT_OK;
}

static int print_made(bool ok, eco_buf *out) {
  if (ok && out->len > 0) {
    (void)fwrite(out->data, 1, out->len, stdout);
  }
  eco_buf_free(out);
  return ok ? CLI_EXIT_OK : CLI_EXIT_USAGE;
}

int cli_run_complete(cli_app *app) {
  eco_buf out;
  eco_buf_init(&out, CLI_HELP_MAX);
  return print_made(cli_complete_write(app->args.positionals, app->args.positional_count, &out), &out);
}

int cli_run_man(cli_app *app) {
  (void)app;
  eco_buf out;
  eco_buf_init(&out, CLI_HELP_MAX);
  return print_made(cli_man_write(&out), &out);
}

static int run(cli_app *app) {
  const cli_args *args = &app->args;
  const char *ca_file = cli_args_text(args, "ca-file");
  const char *ca_env = getenv("ECOLINK_CA_FILE");
  if (ca_file == NULL && ca_env != NULL && ca_env[0] != '\0') {
    ca_file = ca_env;
  }
  eco_status st = cli_profile_load(cli_args_text(args, "url"), &app->profile);
  if (eco_ok(st)) {
    st = cli_http_new(app->profile.url, app->profile.key, ca_file, &app->http);
  }
  int64_t timeout_s = cli_args_int(args, "timeout", 1);
  if (eco_ok(st) && (timeout_s < 1 || timeout_s > 86400)) {
    st = eco_error(ECO_INVALID_REQUEST, "--timeout is from 1 to 86400 seconds");
  }
  int code = eco_ok(st) ? args->command->run(app) : cli_usage_error(app, st);
  cli_http_free(app->http);
  explicit_bzero(&app->profile, sizeof(app->profile));
  return code;
}

int cli_main(int argc, char **argv) {
  (void)setlocale(LC_CTYPE, "");
  (void)signal(SIGPIPE, SIG_IGN);  // a broken connection is told, a reader that left ends the output (term.c)
  cli_app *app = calloc(1, sizeof(*app));
  if (app == NULL) {
    return CLI_EXIT_USAGE;
  }
  app->arena = eco_arena_new();
  eco_status st = cli_args_parse(argc - 1, argv + 1, &app->args);
  bool no_color = cli_args_has(&app->args, "no-color");
  app->json = cli_args_has(&app->args, "json");
  app->colour = cli_term_colour(STDOUT_FILENO, no_color) && !app->json;
  app->colour_err = cli_term_colour(STDERR_FILENO, no_color);
  app->width = cli_term_width(STDOUT_FILENO);
  int code = CLI_EXIT_OK;
  if (!eco_ok(st)) {
    code = cli_usage_error(app, st);
  } else if (cli_args_has(&app->args, "version")) {
    printf("ecolink %s\n", ECO_VERSION);
  } else if (app->args.help) {
    code = print_help(app->args.command, app->colour);
  } else {
    cli_term_catch_interrupt();
    code = run(app);
  }
  if (fflush(stdout) != 0 && code == CLI_EXIT_OK) {
    code = CLI_EXIT_API;  // a full disk is no success
  }
  eco_arena_free(app->arena);
  free(app);
  return code;
}
