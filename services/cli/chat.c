// Talking to a model: one question, or a conversation.
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "api.h"
#include "ecolink/clock.h"
#include "run.h"
#include "sse.h"
#include "table.h"
#include "term.h"

enum { PROMPT_MAX = 8 * 1024 * 1024, ANSWER_MAX = 16 * 1024 * 1024 };

typedef struct chat {
  cli_app *app;
  yyjson_mut_doc *doc;  // the request; its messages grow with the conversation
  yyjson_mut_val *messages;
  // of the answer that is under way:
  cli_sse sse;
  eco_buf answer;
  bool thinking;  // what a model says to itself is being shown
  int64_t asked_ms;
  int64_t first_ms;
  int64_t chunks;
  int64_t tokens;  // as the engine counts; 0: it did not tell
  int error_code;
} chat;

static void add_message(chat *c, const char *role, const char *text) {
  yyjson_mut_val *m = yyjson_mut_arr_add_obj(c->doc, c->messages);
  (void)yyjson_mut_obj_add_strcpy(c->doc, m, "role", role);
  (void)yyjson_mut_obj_add_strcpy(c->doc, m, "content", text);
}

static void clear_messages(chat *c) {
  (void)yyjson_mut_arr_clear(c->messages);
  const char *system = cli_args_text(&c->app->args, "system");
  if (system != NULL) {
    add_message(c, "system", system);
  }
}

static void begin(chat *c, cli_app *app, bool stream) {
  *c = (chat){.app = app, .doc = yyjson_mut_doc_new(NULL)};
  yyjson_mut_val *root = yyjson_mut_obj(c->doc);
  yyjson_mut_doc_set_root(c->doc, root);
  (void)yyjson_mut_obj_add_strcpy(c->doc, root, "model", cli_args_positional(&app->args, "model"));
  c->messages = yyjson_mut_obj_add_arr(c->doc, root, "messages");
  (void)yyjson_mut_obj_add_bool(c->doc, root, "stream", stream);
  if (stream && cli_args_has(&app->args, "stats")) {
    yyjson_mut_val *options = yyjson_mut_obj_add_obj(c->doc, root, "stream_options");
    (void)yyjson_mut_obj_add_bool(c->doc, options, "include_usage", true);
  }
  if (cli_args_has(&app->args, "max-tokens")) {
    (void)yyjson_mut_obj_add_int(c->doc, root, "max_tokens", cli_args_int(&app->args, "max-tokens", 0));
  }
  const char *temperature = cli_args_text(&app->args, "temperature");
  if (temperature != NULL) {
    (void)yyjson_mut_obj_add_val(c->doc, root, "temperature", yyjson_mut_rawcpy(c->doc, temperature));
  }
  eco_buf_init(&c->answer, ANSWER_MAX);
  clear_messages(c);
}

static void end(chat *c) {
  eco_buf_free(&c->answer);
  yyjson_mut_doc_free(c->doc);
}

// ---- one answer ----

static void paint(const chat *c, cli_paint p) {
  if (c->app->colour) {
    const char *on = p == CLI_PLAIN ? cli_paint_off : cli_paint_on(p);
    cli_term_write(STDOUT_FILENO, on, strlen(on), true);
  }
}

// Reasoning is shown dimmed and is no part of the conversation.
static void show_text(chat *c, yyjson_val *v, bool thinking) {
  const char *text = yyjson_get_str(v);
  size_t len = yyjson_get_len(v);
  if (text == NULL || len == 0) {
    return;
  }
  if (c->first_ms == 0) {
    c->first_ms = eco_boottime_ms();
  }
  c->chunks++;
  if (thinking != c->thinking) {
    c->thinking = thinking;
    paint(c, thinking ? CLI_DIM : CLI_PLAIN);
    if (!thinking) {
      cli_term_write(STDOUT_FILENO, "\n\n", 2, false);
    }
  }
  cli_term_write(STDOUT_FILENO, text, len, false);
  if (!thinking) {
    (void)eco_buf_append(&c->answer, text, len);
  }
}

static void take_choice(chat *c, yyjson_val *root, const char *member) {
  yyjson_val *said = yyjson_obj_get(yyjson_arr_get(yyjson_obj_get(root, "choices"), 0), member);
  yyjson_val *thought = yyjson_obj_get(said, "reasoning_content");
  show_text(c, thought != NULL ? thought : yyjson_obj_get(said, "reasoning"), true);
  show_text(c, yyjson_obj_get(said, "content"), false);
  yyjson_val *tokens = yyjson_obj_get(yyjson_obj_get(root, "usage"), "completion_tokens");
  c->tokens = tokens != NULL ? yyjson_get_sint(tokens) : c->tokens;
}

static bool on_event(void *arg, const char *event, const char *data, size_t len) {
  (void)event;
  chat *c = arg;
  if (c->app->json) {
    printf("%.*s\n", (int)len, data);
  }
  if (strcmp(data, "[DONE]") == 0) {
    return true;  // the connection ends by itself
  }
  yyjson_doc *doc = yyjson_read(data, len, 0);
  yyjson_val *root = yyjson_doc_get_root(doc);
  if (yyjson_is_obj(yyjson_obj_get(root, "error"))) {
    const cli_answer none = {.status = 200};
    c->error_code = cli_api_tell_error_json(c->app, root, &none);
  } else if (!c->app->json) {
    take_choice(c, root, "delta");
  }
  yyjson_doc_free(doc);
  return c->error_code == CLI_EXIT_OK;
}

static bool feed(void *arg, const char *p, size_t n) {
  chat *c = arg;
  return cli_sse_feed(&c->sse, p, n);
}

static void tell_stats(const chat *c, const cli_answer *answer) {
  int64_t now_ms = eco_boottime_ms();
  double writing_s = c->first_ms > 0 ? (double)(now_ms - c->first_ms) / 1000 : 0;
  int64_t tokens = c->tokens > 0 ? c->tokens : c->chunks;
  fprintf(stderr, "[%s%sfirst token after %lld ms, %lld %s", answer->region, answer->region[0] != '\0' ? ", " : "",
          (long long)(c->first_ms > 0 ? c->first_ms - c->asked_ms : 0), (long long)tokens,
          c->tokens > 0 ? "tokens" : "pieces");
  if (writing_s > 0.05) {
    fprintf(stderr, ", %.1f/s", (double)tokens / writing_s);
  }
  fprintf(stderr, ", request %s]\n", answer->request_id);
}

// The whole answer at once (--no-stream).
static void take_whole(chat *c, const cli_answer *answer) {
  if (c->app->json) {
    printf("%.*s\n", (int)answer->body.len, answer->body.data);
    return;
  }
  yyjson_doc *doc = yyjson_read(answer->body.data, answer->body.len, 0);
  take_choice(c, yyjson_doc_get_root(doc), "message");
  yyjson_doc_free(doc);
}

// Asks with the messages so far; the answer is shown, and kept in c->answer.
static int ask(chat *c) {
  size_t len = 0;
  char *body = yyjson_mut_write(c->doc, YYJSON_WRITE_ALLOW_INVALID_UNICODE, &len);
  if (body == NULL) {
    return cli_usage_error(c->app, eco_error(ECO_INVALID_REQUEST, "the conversation is too large to send"));
  }
  bool stream = !cli_args_has(&c->app->args, "no-stream");
  const cli_request request = {.method = c->app->args.command->method,
                               .path = c->app->args.command->route,
                               .body = body,
                               .body_len = len,
                               .accept = stream ? "text/event-stream" : NULL,
                               .piece = stream ? feed : NULL,
                               .arg = c,
                               .timeout_s = (int)cli_args_int(&c->app->args, "timeout", 0)};
  eco_buf_reset(&c->answer);
  c->asked_ms = eco_boottime_ms();
  c->first_ms = c->chunks = c->tokens = 0;
  c->thinking = false;
  c->error_code = CLI_EXIT_OK;
  cli_sse_init(&c->sse, on_event, c);
  cli_answer answer;
  eco_status st = cli_http_do(c->app->http, &request, &answer);
  cli_sse_free(&c->sse);
  free(body);
  bool good = eco_ok(st) && !cli_interrupted && cli_exit_of_status(answer.status) == CLI_EXIT_OK;
  if (good && !stream) {
    take_whole(c, &answer);
  }
  if (c->thinking) {
    paint(c, CLI_PLAIN);
  }
  if (c->chunks > 0) {
    cli_term_write(STDOUT_FILENO, "\n", 1, false);
  }
  int code = c->error_code;
  if (!eco_ok(st)) {
    code = cli_api_tell_transport(c->app, st);
  } else if (cli_interrupted) {
    code = CLI_EXIT_INTERRUPTED;
  } else if (!good) {
    code = cli_api_tell_error(c->app, &answer);
  } else if (code == CLI_EXIT_OK && cli_args_has(&c->app->args, "stats")) {
    tell_stats(c, &answer);
  }
  cli_answer_free(&answer);
  return code;
}

// ---- conversation ----

static int converse(chat *c) {
  char *line = NULL;
  size_t cap = 0;
  int code = CLI_EXIT_OK;
  fprintf(stderr, "Talking to %s. /clear forgets, /exit or Ctrl-D ends.\n",
          cli_args_positional(&c->app->args, "model"));
  for (;;) {
    fprintf(stderr, "%s> %s", c->app->colour_err ? cli_paint_on(CLI_BLUE) : "",
            c->app->colour_err ? cli_paint_off : "");
    errno = 0;
    ssize_t n = getline(&line, &cap, stdin);
    if (n < 0 && errno == EINTR) {
      clearerr(stdin);
      cli_interrupted = 0;
      fputc('\n', stderr);
      continue;
    }
    if (n < 0) {
      fputc('\n', stderr);
      break;
    }
    line[strcspn(line, "\r\n")] = '\0';
    if (strcmp(line, "/exit") == 0) {
      break;
    }
    if (strcmp(line, "/clear") == 0) {
      clear_messages(c);
      continue;
    }
    if (line[0] == '\0') {
      continue;
    }
    add_message(c, "user", line);
    code = ask(c);
    if (code == CLI_EXIT_UNAUTHORIZED) {
      break;
    }
    if (c->answer.len > 0) {
      add_message(c, "assistant", c->answer.data);
    } else {
      (void)yyjson_mut_arr_remove_last(c->messages);  // unanswered: as if it had not been said
    }
    cli_interrupted = 0;
  }
  free(line);
  return code == CLI_EXIT_INTERRUPTED ? CLI_EXIT_OK : code;
}

// The words of the command line, or what comes from a pipe; NULL: neither.
static const char *prompt_of(cli_app *app) {
  const cli_args *args = &app->args;
  if (args->positional_count > 1) {
    const char *text = args->positionals[1];
    for (size_t i = 2; i < args->positional_count; i++) {
      text = eco_sprintf(app->arena, "%s %s", text, args->positionals[i]);
    }
    return text;
  }
  if (cli_term_is_tty(STDIN_FILENO)) {
    return NULL;
  }
  eco_buf all;
  eco_buf_init(&all, PROMPT_MAX);
  char piece[65536];
  size_t n = 0;
  while ((n = fread(piece, 1, sizeof(piece), stdin)) > 0 && eco_buf_append(&all, piece, n)) {
  }
  const char *text = all.len > 0 ? eco_strndup(app->arena, all.data, all.len) : "";
  eco_buf_free(&all);
  return text;
}

int cli_run_chat(cli_app *app) {
  const char *prompt = prompt_of(app);
  if (prompt != NULL && prompt[0] == '\0') {
    return cli_usage_error(app, eco_error(ECO_INVALID_REQUEST, "the prompt is empty"));
  }
  chat c;
  begin(&c, app, !cli_args_has(&app->args, "no-stream"));
  int code = CLI_EXIT_OK;
  if (prompt != NULL) {
    add_message(&c, "user", prompt);
    code = ask(&c);
  } else {
    code = converse(&c);
  }
  end(&c);
  return code;
}
