// Answers that come in pieces: exports as they are, followed events and logs as server-sent events.
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "api.h"
#include "rest.h"
#include "sse.h"
#include "term.h"

static bool copy_piece(void *arg, const char *p, size_t n) {
  (void)arg;
  return fwrite(p, 1, n, stdout) == n;
}

// Ends a streamed request: transport, error answer, Ctrl-C.
static int conclude(cli_app *app, eco_status st, cli_answer *answer) {
  int code = CLI_EXIT_OK;
  if (!eco_ok(st)) {
    code = cli_api_tell_transport(app, st);
  } else if (cli_interrupted) {
    code = CLI_EXIT_INTERRUPTED;
  } else if (cli_exit_of_status(answer->status) != CLI_EXIT_OK) {
    code = cli_api_tell_error(app, answer);
  }
  cli_answer_free(answer);
  return code;
}

int cli_stream_raw(cli_app *app, const char *path, const char *accept) {
  const cli_request request = {.method = "GET", .path = path, .accept = accept, .piece = copy_piece};
  cli_answer answer;
  eco_status st = cli_http_do(app->http, &request, &answer);
  (void)fflush(stdout);
  return conclude(app, st, &answer);
}

typedef struct follower {
  cli_app *app;
  cli_event_fn fn;
  void *arg;
  cli_sse sse;
  bool ended;
  int exit_code;
} follower;

static bool on_event(void *arg, const char *event, const char *data, size_t len) {
  follower *f = arg;
  if (strcmp(event, "end") == 0) {
    f->ended = true;
    return false;
  }
  yyjson_doc *doc = yyjson_read(data, len, 0);
  yyjson_val *root = yyjson_doc_get_root(doc);
  bool go_on = true;
  if (strcmp(event, "error") == 0) {
    const cli_answer none = {.status = 200};
    f->exit_code = cli_api_tell_error_json(f->app, root, &none);
    go_on = false;
  } else if (root != NULL) {
    go_on = f->fn(f->app, f->arg, root, data, len);
    f->ended = f->ended || !go_on;
  }
  yyjson_doc_free(doc);
  return go_on;
}

static bool feed(void *arg, const char *p, size_t n) {
  follower *f = arg;
  bool go_on = cli_sse_feed(&f->sse, p, n);
  return fflush(stdout) == 0 && go_on;
}

int cli_stream_events(cli_app *app, const char *path, int timeout_s, cli_event_fn fn, void *arg) {
  follower f = {.app = app, .fn = fn, .arg = arg};
  cli_sse_init(&f.sse, on_event, &f);
  const cli_request request = {
      .method = "GET", .path = path, .accept = "text/event-stream", .piece = feed, .arg = &f, .timeout_s = timeout_s};
  cli_answer answer;
  eco_status st = cli_http_do(app->http, &request, &answer);
  cli_sse_free(&f.sse);
  if (f.exit_code != CLI_EXIT_OK) {
    cli_answer_free(&answer);
    return f.exit_code;
  }
  if (st.code == ECO_UPSTREAM_TIMEOUT && timeout_s > 0) {
    fprintf(stderr, "ecolink: not done after %d seconds; it goes on\n", timeout_s);
    cli_answer_free(&answer);
    return CLI_EXIT_WAIT;
  }
  bool whole = f.ended || !eco_ok(st) || cli_interrupted || cli_exit_of_status(answer.status) != CLI_EXIT_OK;
  int code = conclude(app, st, &answer);
  if (!whole) {
    fprintf(stderr, "ecolink: the gateway ended the stream before the instance did; run the command again to go on\n");
    return CLI_EXIT_UNREACHABLE;
  }
  return code;
}
