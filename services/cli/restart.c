// Restarting, and waiting until every replica has been replaced: the instance stays `running` meanwhile, so only its
// events tell.
#include <stdio.h>
#include <string.h>

#include "api.h"
#include "rest.h"
#include "run.h"

enum { REPLICAS_MAX = 64, PAGES_MAX = 1000 };

typedef struct replaced {
  int64_t after;  // the event that began this restart
  int64_t total;
  bool ready[REPLICAS_MAX];
  bool done;
} replaced;

static const char *text_of(yyjson_val *object, const char *name) {
  const char *text = yyjson_get_str(yyjson_obj_get(object, name));
  return text != NULL ? text : "";
}

// The newest `instance.restarting` event's id, or -1 with *code set.
static int64_t find_begin(cli_app *app, const char *path, int *code) {
  int64_t begin = 0;
  const char *page = cli_api_add_query(app->arena, path, "limit", "1000");
  for (int pages = 0; page != NULL && pages < PAGES_MAX; pages++) {
    cli_reply reply = {0};
    *code = cli_api_call(app, "GET", page, NULL, &reply);
    if (*code != CLI_EXIT_OK) {
      return -1;
    }
    size_t i = 0;
    size_t max = 0;
    yyjson_val *event = NULL;
    yyjson_arr_foreach(yyjson_obj_get(reply.root, "data"), i, max, event) {
      if (strcmp(text_of(event, "type"), "instance.restarting") == 0) {
        begin = yyjson_get_sint(yyjson_obj_get(event, "id"));
      }
    }
    const char *next =
        yyjson_get_bool(yyjson_obj_get(reply.root, "has_more")) ? text_of(reply.root, "next_cursor") : "";
    page = next[0] != '\0'
               ? cli_api_add_query(app->arena, cli_api_add_query(app->arena, path, "limit", "1000"), "cursor", next)
               : NULL;
    cli_reply_free(&reply);
  }
  return begin;
}

static bool take_event(cli_app *app, void *arg, yyjson_val *event, const char *text, size_t len) {
  (void)text;
  (void)len;
  replaced *r = arg;
  int64_t replica = yyjson_get_sint(yyjson_obj_get(event, "replica_id"));
  if (yyjson_get_sint(yyjson_obj_get(event, "id")) <= r->after) {
    return true;
  }
  if (!app->json) {
    fprintf(stderr, "  %s\n", text_of(event, "message"));
  }
  if (strcmp(text_of(event, "type"), "replica.ready") == 0 && replica > 0 && replica < REPLICAS_MAX) {
    r->ready[replica] = true;
  }
  int64_t count = 0;
  for (int i = 1; i < REPLICAS_MAX; i++) {
    count += r->ready[i] ? 1 : 0;
  }
  r->done = count >= r->total;
  return !r->done;
}

int cli_restart_wait(cli_app *app, yyjson_val *instance) {
  long long id = (long long)yyjson_get_sint(yyjson_obj_get(instance, "id"));
  const char *path = eco_sprintf(app->arena, "/inference-instances/%lld/events", id);
  replaced r = {.total = yyjson_get_sint(yyjson_obj_get(instance, "total_replicas"))};
  int code = CLI_EXIT_OK;
  int64_t timeout_s = 0;
  const char *span = cli_args_text(&app->args, "wait-timeout");
  r.after = find_begin(app, path, &code);
  if (code == CLI_EXIT_OK) {
    bool limited = span != NULL && cli_span_parse(span, &timeout_s);
    code = cli_stream_events(app, cli_api_add_query(app->arena, path, "follow", "true"), limited ? (int)timeout_s : 0,
                             take_event, &r);
  }
  if (code == CLI_EXIT_OK && !r.done) {
    fprintf(stderr, "ecolink: instance %lld ended before every replica was replaced; `ecolink events %lld` tells why\n",
            id, id);
    code = CLI_EXIT_WAIT;
  }
  return code;
}
