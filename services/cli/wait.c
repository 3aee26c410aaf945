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

int cli_wait_judge(cli_wait_for what, const char *status) {
  bool stopped = strcmp(status, "stopped") == 0;
  bool failed = strcmp(status, "failed") == 0;
  if (what == CLI_WAIT_STOPPED) {
    return stopped || failed ? 1 : 0;
  }
  if (strcmp(status, "running") == 0) {
    return 1;
  }
  return stopped || failed || strcmp(status, "stopping") == 0 ? -1 : 0;
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

int cli_wait_instance(cli_app *app, const char *id, cli_wait_for what, cli_reply *reply_out) {
  const char *path = eco_sprintf(app->arena, "/inference-instances/%s", id);
  display d = {.live = cli_term_is_tty(STDERR_FILENO) && cli_term_width(STDERR_FILENO) > 20};
  int64_t begun_ms = eco_boottime_ms();
  int64_t reached_ms = begun_ms;
  int64_t timeout_ms = timeout_ms_of(app);
  for (;;) {
    cli_reply reply = {0};
    eco_status st = eco_success();
    int code = cli_api_try(app, "GET", path, NULL, &reply, &st);
    int64_t now_ms = eco_boottime_ms();
    int64_t elapsed_s = (now_ms - begun_ms) / 1000;
    bool passing = code == CLI_EXIT_UNREACHABLE || (code == CLI_EXIT_API && reply.answer.status >= 429);
    int verdict = 0;
    if (code == CLI_EXIT_OK) {
      reached_ms = now_ms;
      if (d.live) {
        show_live(app, &d, reply.root, elapsed_s);
      } else {
        show_line(app, &d, reply.root, elapsed_s);
      }
      verdict = cli_wait_judge(what, text_of(app->arena, reply.root, "status"));
      code = verdict != 0 ? tell_outcome(app, reply.root, id, verdict) : CLI_EXIT_OK;
      if (verdict != 0 && reply_out != NULL) {
        *reply_out = reply;
        return code;
      }
    } else if (code == CLI_EXIT_INTERRUPTED) {
      verdict = -1;
    } else if (!passing || now_ms - reached_ms > UNREACHABLE_MAX_MS) {
      verdict = -1;
      code = code == CLI_EXIT_UNREACHABLE ? cli_api_tell_transport(app, st) : cli_api_tell_error(app, &reply.answer);
    }
    cli_reply_free(&reply);
    if (verdict == 0 && now_ms - begun_ms >= timeout_ms) {
      fprintf(stderr, "ecolink: instance %s is not %s after %s; go on waiting with `ecolink wait %s%s`\n", id,
              what == CLI_WAIT_RUNNING ? "running" : "stopped", cli_format_span(app->arena, elapsed_s), id,
              what == CLI_WAIT_RUNNING ? "" : " --for stopped");
      verdict = -1;
      code = CLI_EXIT_WAIT;
    }
    if (verdict != 0) {
      if (reply_out != NULL) {
        *reply_out = (cli_reply){.doc = NULL};
      }
      return code;
    }
    if (!cli_interrupted) {
      sleep_ms(POLL_MS);
    }
    if (cli_interrupted) {
      fprintf(stderr, "\necolink: no longer waiting; the instance goes on. Look again with `ecolink wait %s`\n", id);
      if (reply_out != NULL) {
        *reply_out = (cli_reply){.doc = NULL};
      }
      return CLI_EXIT_INTERRUPTED;
    }
  }
}
