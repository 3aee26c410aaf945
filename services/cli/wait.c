// Polling an instance, and the display that goes with it.
#include "wait.h"

#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "api.h"
#include "ecolink/clock.h"
#include "format.h"
#include "table.h"
#include "term.h"

enum {
  POLL_MS = 1000,
  UNREACHABLE_MAX_MS = 120000,  // a gateway that restarts is waited for, one that is gone is not
  FRAME_MAX = 64 * 1024,
};

static const char *const WORDS[] = {
    [CLI_WAIT_RUNNING] = "running",
    [CLI_WAIT_READY] = "ready",
    [CLI_WAIT_STOPPED] = "stopped",
};

const char *cli_wait_word(cli_wait_for what) {
  return WORDS[what];
}

bool cli_wait_parse(const char *word, cli_wait_for *out) {
  for (size_t i = 0; i < sizeof(WORDS) / sizeof(WORDS[0]); i++) {
    if (strcmp(word, WORDS[i]) == 0) {
      *out = (cli_wait_for)i;
      return true;
    }
  }
  return false;
}

int cli_wait_judge(cli_wait_for what, const char *status, bool all_ready) {
  bool ended = strcmp(status, "stopped") == 0 || strcmp(status, "failed") == 0;
  if (what == CLI_WAIT_STOPPED) {
    return ended ? 1 : 0;
  }
  if (strcmp(status, "running") == 0) {
    return what == CLI_WAIT_RUNNING || all_ready ? 1 : 0;
  }
  return ended || strcmp(status, "stopping") == 0 ? -1 : 0;
}

static const char *text_of(eco_arena *arena, yyjson_val *object, const char *name) {
  yyjson_val *v = yyjson_obj_get(object, name);
  return yyjson_is_str(v) ? cli_format_clean(arena, yyjson_get_str(v), yyjson_get_len(v)) : "";
}

static cli_paint paint_of(const char *status) {
  if (strcmp(status, "running") == 0 || strcmp(status, "ready") == 0) {
    return CLI_GREEN;
  }
  return strcmp(status, "failed") == 0 || strcmp(status, "backoff") == 0 ? CLI_RED : CLI_YELLOW;
}

bool cli_wait_frame(yyjson_val *instance, int64_t elapsed_s, int width, bool colour, eco_buf *out) {
  eco_arena *arena = eco_arena_new();
  const char *status = text_of(arena, instance, "status");
  const char *detail = text_of(arena, instance, "status_detail");
  cli_table *table = cli_table_new(arena, 3);
  cli_cell *cells = cli_table_row(table);
  cells[0] = (cli_cell){text_of(arena, instance, "model"), CLI_BOLD};
  cells[1] = (cli_cell){status, paint_of(status)};
  cells[2] =
      (cli_cell){eco_sprintf(arena, "%s%s%s", cli_format_span(arena, elapsed_s), detail[0] != '\0' ? "  " : "", detail),
                 CLI_PLAIN};
  size_t i = 0;
  size_t max = 0;
  yyjson_val *replica = NULL;
  yyjson_arr_foreach(yyjson_obj_get(instance, "replicas"), i, max, replica) {
    const char *replica_status = text_of(arena, replica, "status");
    int64_t restarts = yyjson_get_sint(yyjson_obj_get(replica, "restarts"));
    const char *more = text_of(arena, replica, "status_detail");
    more = strcmp(more, replica_status) == 0 ? "" : more;
    if (restarts > 0) {
      more = eco_sprintf(arena, "%s%s%lld restarts", more, more[0] != '\0' ? ", " : "", (long long)restarts);
    }
    cells = cli_table_row(table);
    cells[0] = (cli_cell){eco_sprintf(arena, "  %s", text_of(arena, replica, "region")), CLI_PLAIN};
    cells[1] = (cli_cell){replica_status, paint_of(replica_status)};
    cells[2] = (cli_cell){more, CLI_DIM};
  }
  bool ok = cli_table_write(table, width, colour, out);
  eco_arena_free(arena);
  return ok;
}

// ---- display ----

typedef struct display {
  bool live;       // redrawn in place
  int lines;       // of the frame on the screen
  char last[512];  // what a display that is not live has said last
} display;

static void erase(display *d) {
  if (d->lines > 0) {
    fprintf(stderr, "\x1b[%dA\x1b[J", d->lines);
    d->lines = 0;
  }
}

static int count_lines(const eco_buf *frame) {
  int lines = 0;
  for (size_t i = 0; i < frame->len; i++) {
    lines += frame->data[i] == '\n' ? 1 : 0;
  }
  return lines;
}

static void show_live(cli_app *app, display *d, yyjson_val *instance, int64_t elapsed_s) {
  eco_buf frame;
  eco_buf_init(&frame, FRAME_MAX);
  // One column is left free: some terminals wrap when the last one is written.
  if (cli_wait_frame(instance, elapsed_s, cli_term_width(STDERR_FILENO) - 1, app->colour_err, &frame)) {
    erase(d);
    (void)fwrite(frame.data, 1, frame.len, stderr);
    d->lines = count_lines(&frame);
  }
  eco_buf_free(&frame);
}

// Without a terminal a line is said for each change.
static void show_line(cli_app *app, display *d, yyjson_val *instance, int64_t elapsed_s) {
  char line[sizeof(d->last)];
  (void)snprintf(line, sizeof(line), "%s %s %s (%lld/%lld ready)", text_of(app->arena, instance, "model"),
                 text_of(app->arena, instance, "status"), text_of(app->arena, instance, "status_detail"),
                 (long long)yyjson_get_sint(yyjson_obj_get(instance, "ready_replicas")),
                 (long long)yyjson_get_sint(yyjson_obj_get(instance, "total_replicas")));
  if (strcmp(line, d->last) != 0) {
    fprintf(stderr, "%s  %s\n", cli_format_span(app->arena, elapsed_s), line);
    memcpy(d->last, line, sizeof(line));
  }
}

// ---- waiting ----

static void sleep_ms(int ms) {
  struct timespec t = {.tv_sec = ms / 1000, .tv_nsec = (long)(ms % 1000) * 1000000};
  (void)nanosleep(&t, NULL);  // Ctrl-C cuts it short
}

static int tell_outcome(cli_app *app, yyjson_val *instance, const char *id, int verdict) {
  if (verdict > 0) {
    return CLI_EXIT_OK;
  }
  const char *reason = text_of(app->arena, instance, "termination_reason");
  const char *detail = text_of(app->arena, instance, "status_detail");
  fprintf(stderr, "ecolink: instance %s is %s%s%s%s%s\n", id, text_of(app->arena, instance, "status"),
          reason[0] != '\0' ? ": " : "", reason, detail[0] != '\0' ? ", " : "", detail);
  fprintf(stderr, "  next: `ecolink logs %s` shows its last lines, `ecolink events %s` what happened\n", id, id);
  return CLI_EXIT_WAIT;
}

static int64_t timeout_ms_of(cli_app *app) {
  const char *text = cli_args_text(&app->args, "wait-timeout");
  int64_t seconds = 0;
  return text != NULL && cli_span_parse(text, &seconds) ? seconds * 1000 : INT64_MAX;
}

// One wait under way.
typedef struct waiting {
  cli_app *app;
  const char *id;
  cli_wait_for what;
  display display;
  int64_t begun_ms;
  int64_t reached_ms;  // when the gateway answered last
} waiting;

static int judge(const waiting *w, yyjson_val *instance) {
  int64_t ready = yyjson_get_sint(yyjson_obj_get(instance, "ready_replicas"));
  bool all = ready > 0 && ready >= yyjson_get_sint(yyjson_obj_get(instance, "total_replicas"));
  return cli_wait_judge(w->what, text_of(w->app->arena, instance, "status"), all);
}

// Asks once, shows what came. The verdict as of cli_wait_judge, also -1 when there is no more hope of an answer; *code
// then says what to exit with. *reply is the caller's to free.
static int look(waiting *w, const char *path, cli_reply *reply, int *code) {
  eco_status st = eco_success();
  *code = cli_api_try(w->app, "GET", path, NULL, reply, &st);
  int64_t now_ms = eco_boottime_ms();
  if (*code == CLI_EXIT_OK) {
    w->reached_ms = now_ms;
    int64_t elapsed_s = (now_ms - w->begun_ms) / 1000;
    if (w->display.live) {
      show_live(w->app, &w->display, reply->root, elapsed_s);
    } else {
      show_line(w->app, &w->display, reply->root, elapsed_s);
    }
    int verdict = judge(w, reply->root);
    *code = verdict != 0 ? tell_outcome(w->app, reply->root, w->id, verdict) : CLI_EXIT_OK;
    return verdict;
  }
  bool passing = *code == CLI_EXIT_UNREACHABLE || (*code == CLI_EXIT_API && reply->answer.status >= 429);
  if (*code == CLI_EXIT_INTERRUPTED || (passing && now_ms - w->reached_ms <= UNREACHABLE_MAX_MS)) {
    return 0;
  }
  *code =
      *code == CLI_EXIT_UNREACHABLE ? cli_api_tell_transport(w->app, st) : cli_api_tell_error(w->app, &reply->answer);
  return -1;
}

static const char *again(const waiting *w) {
  return w->what == CLI_WAIT_RUNNING ? w->id : eco_sprintf(w->app->arena, "%s --for %s", w->id, cli_wait_word(w->what));
}

static int tell_timeout(const waiting *w) {
  fprintf(stderr, "ecolink: instance %s is not %s after %s; go on waiting with `ecolink wait %s`\n", w->id,
          cli_wait_word(w->what), cli_format_span(w->app->arena, (eco_boottime_ms() - w->begun_ms) / 1000), again(w));
  return CLI_EXIT_WAIT;
}

int cli_wait_instance(cli_app *app, const char *id, cli_wait_for what, cli_reply *reply_out) {
  const char *path = eco_sprintf(app->arena, "/inference-instances/%s", id);
  int64_t now_ms = eco_boottime_ms();
  waiting w = {.app = app, .id = id, .what = what, .begun_ms = now_ms, .reached_ms = now_ms};
  w.display.live = cli_term_is_tty(STDERR_FILENO) && cli_term_width(STDERR_FILENO) > 20;
  int64_t timeout_ms = timeout_ms_of(app);
  cli_reply reply = {0};
  int code = CLI_EXIT_OK;
  int verdict = look(&w, path, &reply, &code);
  while (verdict == 0 && eco_boottime_ms() - w.begun_ms < timeout_ms && !cli_interrupted) {
    cli_reply_free(&reply);
    reply = (cli_reply){0};
    sleep_ms(POLL_MS);
    verdict = cli_interrupted ? 0 : look(&w, path, &reply, &code);
  }
  bool answered = verdict != 0 && reply.root != NULL && (code == CLI_EXIT_OK || code == CLI_EXIT_WAIT);
  if (reply_out != NULL) {
    *reply_out = answered ? reply : (cli_reply){.doc = NULL};
  }
  if (reply_out == NULL || !answered) {
    cli_reply_free(&reply);
  }
  if (verdict == 0 && cli_interrupted) {
    fprintf(stderr, "\necolink: no longer waiting; the instance goes on. Look again with `ecolink wait %s`\n",
            again(&w));
    return CLI_EXIT_INTERRUPTED;
  }
  return verdict == 0 ? tell_timeout(&w) : code;
}
