// Storing the gateway and the key.
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "api.h"
#include "ecolink/id.h"
#include "run.h"
#include "term.h"

static bool read_key(cli_app *app, char out[CLI_KEY_MAX]) {
  if (cli_args_has(&app->args, "key-stdin") || !cli_term_is_tty(STDIN_FILENO)) {
    if (fgets(out, CLI_KEY_MAX, stdin) == NULL) {
      return false;
    }
    out[strcspn(out, " \t\r\n")] = '\0';
    return out[0] != '\0';
  }
  return cli_term_ask_secret("API key (eco_..., not shown): ", out, CLI_KEY_MAX) && out[0] != '\0';
}

// Asks the gateway something that every key may read: are the URL and the key good?
static int check(cli_app *app) {
  cli_reply reply = {0};
  int code = cli_api_call(app, app->args.command->method,
                          cli_api_add_query(app->arena, app->args.command->route, "limit", "1"), NULL, &reply);
  if (code == CLI_EXIT_OK) {
    cli_reply_free(&reply);
  }
  return code;
}

int cli_run_login(cli_app *app) {
  const char *url = cli_args_positional(&app->args, "gateway");
  char path[CLI_PATH_MAX];
  eco_status st = url != NULL ? cli_url_normalise(url, app->profile.url) : eco_success();
  if (eco_ok(st)) {
    st = cli_profile_path(path);
  }
  if (eco_ok(st) && !read_key(app, app->profile.key)) {
    st = eco_error(ECO_INVALID_REQUEST, "no API key was given");
  }
  if (eco_ok(st) && !eco_api_key_is(app->profile.key, strlen(app->profile.key))) {
    st = eco_error(ECO_INVALID_REQUEST, "that is no API key: one is \"eco_\" and %d letters and digits",
                   ECO_API_KEY_LEN - 4);
  }
  if (!eco_ok(st)) {
    return cli_usage_error(app, st);
  }
  if (!cli_args_has(&app->args, "no-check")) {
    int code = check(app);
    if (code != CLI_EXIT_OK) {
      fprintf(stderr, "  nothing was stored; --no-check stores without asking\n");
      return code;
    }
  }
  st = cli_profile_store(app->profile.url, app->profile.key);
  if (!eco_ok(st)) {
    return cli_usage_error(app, st);
  }
  fprintf(stderr, "Logged in to %s; stored in %s\n", app->profile.url, path);
  return CLI_EXIT_OK;
}

int cli_run_logout(cli_app *app) {
  eco_status st = cli_profile_store(app->profile.url, "");
  if (!eco_ok(st)) {
    return cli_usage_error(app, st);
  }
  fprintf(stderr, "The stored key is gone. It is still valid: `ecolink keys revoke` ends it.\n");
  return CLI_EXIT_OK;
}
