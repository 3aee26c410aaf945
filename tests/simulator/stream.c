// Answers that come token by token: server-sent events in the shapes of chat, completions, responses and messages, and
// a plain one for custom containers. The head and the role chunk go out at once, the first token after ttft_ms.
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "sim.h"

enum { KIND_CHAT, KIND_COMPLETION, KIND_RESPONSE, KIND_MESSAGE, KIND_PLAIN };
enum { BURST_TOKENS = 64, QUEUE_BYTES_MAX = 1024 * 1024 };

static const struct {
  const char *endpoint;
  int kind;
  const char *prefix;
} kinds[] = {
    {"chat/completions", KIND_CHAT, "chatcmpl-"},
    {"completions", KIND_COMPLETION, "cmpl-"},
    {"responses", KIND_RESPONSE, "resp_"},
    {"messages", KIND_MESSAGE, "msg_"},
    {"sse", KIND_PLAIN, "sse-"},
};

bool sim_stream_supported(const char *endpoint) {
  for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
    if (strcmp(kinds[i].endpoint, endpoint) == 0) {
      return true;
    }
  }
  return false;
}

static void send_event(sim_conn *c, const char *event, yyjson_mut_doc *doc) {
  size_t n = 0;
  char *json = yyjson_mut_write(doc, 0, &n);
  yyjson_mut_doc_free(doc);
  char *text = sim_alloc(n + 96);
  int k = event ? snprintf(text, n + 96, "event: %s\ndata: %s\n\n", event, json)
                : snprintf(text, n + 96, "data: %s\n\n", json);
  sim_stream_write(c, text, (size_t)k);
  free(text);
  free(json);
}

static yyjson_mut_doc *chunk_new(sim_conn *c, const char *object, yyjson_mut_val **root_out,
                                 yyjson_mut_val **choices_out) {
  char print[400];
  sim_fingerprint(print, sizeof(print), c->stream.model);
  yyjson_mut_doc *doc = yyjson_mut_doc_new(NULL);
  yyjson_mut_val *root = yyjson_mut_obj(doc);
  yyjson_mut_doc_set_root(doc, root);
  yyjson_mut_obj_add_str(doc, root, "id", c->stream.id);
  yyjson_mut_obj_add_str(doc, root, "object", object);
  yyjson_mut_obj_add_sint(doc, root, "created", (int64_t)time(NULL));
  yyjson_mut_obj_add_str(doc, root, "model", c->stream.model);
  yyjson_mut_obj_add_strcpy(doc, root, "system_fingerprint", print);
  *choices_out = yyjson_mut_obj_add_arr(doc, root, "choices");
  *root_out = root;
  return doc;
}

static void add_finish(yyjson_mut_doc *doc, yyjson_mut_val *choice, const char *finish) {
  yyjson_mut_obj_add_val(doc, choice, "finish_reason", finish ? yyjson_mut_str(doc, finish) : yyjson_mut_null(doc));
}

// role and text may be NULL; finish NULL gives null.
static void chat_chunk(sim_conn *c, const char *role, const char *text, const char *finish) {
  yyjson_mut_val *root, *choices;
  yyjson_mut_doc *doc = chunk_new(c, "chat.completion.chunk", &root, &choices);
  yyjson_mut_val *choice = yyjson_mut_arr_add_obj(doc, choices);
  yyjson_mut_obj_add_int(doc, choice, "index", 0);
  yyjson_mut_val *delta = yyjson_mut_obj_add_obj(doc, choice, "delta");
  if (role) {
    yyjson_mut_obj_add_str(doc, delta, "role", role);
    yyjson_mut_obj_add_str(doc, delta, "content", "");
  }
  if (text) {
    yyjson_mut_obj_add_str(doc, delta, "content", text);
  }
  add_finish(doc, choice, finish);
  send_event(c, NULL, doc);
}

static void completion_chunk(sim_conn *c, const char *text, const char *finish) {
  yyjson_mut_val *root, *choices;
  yyjson_mut_doc *doc = chunk_new(c, "text_completion", &root, &choices);
  yyjson_mut_val *choice = yyjson_mut_arr_add_obj(doc, choices);
  yyjson_mut_obj_add_int(doc, choice, "index", 0);
  yyjson_mut_obj_add_str(doc, choice, "text", text);
  add_finish(doc, choice, finish);
  send_event(c, NULL, doc);
}

static void usage_chunk(sim_conn *c, const char *object) {
  yyjson_mut_val *root, *choices;
  yyjson_mut_doc *doc = chunk_new(c, object, &root, &choices);
  yyjson_mut_val *usage = yyjson_mut_obj_add_obj(doc, root, "usage");
  yyjson_mut_obj_add_sint(doc, usage, "prompt_tokens", c->stream.prompt_tokens);
  yyjson_mut_obj_add_sint(doc, usage, "completion_tokens", c->stream.total);
  yyjson_mut_obj_add_sint(doc, usage, "total_tokens", c->stream.prompt_tokens + c->stream.total);
  send_event(c, NULL, doc);
}

// The event families that carry their type inside: {"type": ..., ...}.
static yyjson_mut_doc *typed_new(const char *type, yyjson_mut_val **root_out) {
  yyjson_mut_doc *doc = yyjson_mut_doc_new(NULL);
  *root_out = yyjson_mut_obj(doc);
  yyjson_mut_doc_set_root(doc, *root_out);
  yyjson_mut_obj_add_str(doc, *root_out, "type", type);
  return doc;
}

static void response_event(sim_conn *c, const char *type, const char *status, bool usage) {
  yyjson_mut_val *root;
  yyjson_mut_doc *doc = typed_new(type, &root);
  yyjson_mut_val *response = yyjson_mut_obj_add_obj(doc, root, "response");
  yyjson_mut_obj_add_str(doc, response, "id", c->stream.id);
  yyjson_mut_obj_add_str(doc, response, "object", "response");
  yyjson_mut_obj_add_str(doc, response, "model", c->stream.model);
  yyjson_mut_obj_add_str(doc, response, "status", status);
  yyjson_mut_obj_add_arr(doc, response, "output");
  if (usage) {
    yyjson_mut_val *u = yyjson_mut_obj_add_obj(doc, response, "usage");
    yyjson_mut_obj_add_sint(doc, u, "input_tokens", c->stream.prompt_tokens);
    yyjson_mut_obj_add_sint(doc, u, "output_tokens", c->stream.total);
    yyjson_mut_obj_add_sint(doc, u, "total_tokens", c->stream.prompt_tokens + c->stream.total);
  }
  send_event(c, type, doc);
}

static void message_start(sim_conn *c) {
  yyjson_mut_val *root;
  yyjson_mut_doc *doc = typed_new("message_start", &root);
  yyjson_mut_val *message = yyjson_mut_obj_add_obj(doc, root, "message");
  yyjson_mut_obj_add_str(doc, message, "id", c->stream.id);
  yyjson_mut_obj_add_str(doc, message, "type", "message");
  yyjson_mut_obj_add_str(doc, message, "role", "assistant");
  yyjson_mut_obj_add_str(doc, message, "model", c->stream.model);
  yyjson_mut_obj_add_arr(doc, message, "content");
  yyjson_mut_val *usage = yyjson_mut_obj_add_obj(doc, message, "usage");
  yyjson_mut_obj_add_sint(doc, usage, "input_tokens", c->stream.prompt_tokens);
  yyjson_mut_obj_add_sint(doc, usage, "output_tokens", 0);
  send_event(c, "message_start", doc);
  doc = typed_new("content_block_start", &root);
  yyjson_mut_obj_add_int(doc, root, "index", 0);
  yyjson_mut_val *block = yyjson_mut_obj_add_obj(doc, root, "content_block");
  yyjson_mut_obj_add_str(doc, block, "type", "text");
  yyjson_mut_obj_add_str(doc, block, "text", "");
  send_event(c, "content_block_start", doc);
}

static void message_end(sim_conn *c) {
  yyjson_mut_val *root;
  yyjson_mut_doc *doc = typed_new("content_block_stop", &root);
  yyjson_mut_obj_add_int(doc, root, "index", 0);
  send_event(c, "content_block_stop", doc);
  doc = typed_new("message_delta", &root);
  yyjson_mut_obj_add_str(doc, yyjson_mut_obj_add_obj(doc, root, "delta"), "stop_reason", "end_turn");
  yyjson_mut_obj_add_sint(doc, yyjson_mut_obj_add_obj(doc, root, "usage"), "output_tokens", c->stream.total);
  send_event(c, "message_delta", doc);
  send_event(c, "message_stop", typed_new("message_stop", &root));
}

static void send_token(sim_conn *c) {
  const char *text = sim_token_text(c->stream.sent);
  yyjson_mut_val *root;
  yyjson_mut_doc *doc;
  switch (c->stream.kind) {
    case KIND_CHAT:
      chat_chunk(c, NULL, text, NULL);
      break;
    case KIND_COMPLETION:
      completion_chunk(c, text, NULL);
      break;
    case KIND_RESPONSE:
      doc = typed_new("response.output_text.delta", &root);
      yyjson_mut_obj_add_str(doc, root, "item_id", "msg_1");
      yyjson_mut_obj_add_int(doc, root, "output_index", 0);
      yyjson_mut_obj_add_int(doc, root, "content_index", 0);
      yyjson_mut_obj_add_str(doc, root, "delta", text);
      send_event(c, "response.output_text.delta", doc);
      break;
    case KIND_MESSAGE:
      doc = typed_new("content_block_delta", &root);
      yyjson_mut_obj_add_int(doc, root, "index", 0);
      yyjson_mut_val *delta = yyjson_mut_obj_add_obj(doc, root, "delta");
      yyjson_mut_obj_add_str(doc, delta, "type", "text_delta");
      yyjson_mut_obj_add_str(doc, delta, "text", text);
      send_event(c, "content_block_delta", doc);
      break;
    default: {
      char line[96];
      int n = snprintf(line, sizeof(line), "data: %lld %s\n\n", (long long)c->stream.sent, text);
      sim_stream_write(c, line, (size_t)n);
    }
  }
  c->stream.sent++;
  sim_count.tokens_sent++;
}

static void send_end(sim_conn *c) {
  static const char done[] = "data: [DONE]\n\n";
  switch (c->stream.kind) {
    case KIND_CHAT:
      chat_chunk(c, NULL, NULL, "stop");
      break;
    case KIND_COMPLETION:
      completion_chunk(c, "", "stop");
      break;
    case KIND_RESPONSE:
      response_event(c, "response.completed", "completed", true);
      break;
    case KIND_MESSAGE:
      message_end(c);
      break;
    default:
      break;
  }
  if (c->stream.include_usage && c->stream.kind == KIND_CHAT) {
    usage_chunk(c, "chat.completion.chunk");
  } else if (c->stream.include_usage && c->stream.kind == KIND_COMPLETION) {
    usage_chunk(c, "text_completion");
  }
  if (c->stream.kind != KIND_MESSAGE && c->stream.kind != KIND_RESPONSE) {
    sim_stream_write(c, done, sizeof(done) - 1);
  }
  sim_stream_finish(c);
}

static void tick(sim_conn *c) {
  if (uv_stream_get_write_queue_size((uv_stream_t *)&c->tcp) > QUEUE_BYTES_MAX) {
    sim_after(c, 5, tick);  // the reader is slow: wait for it
    return;
  }
  for (int burst = sim_opt.token_ms > 0 ? 1 : BURST_TOKENS; burst > 0; burst--) {
    if (sim_opt.cut_after_tokens != SIM_OFF && c->stream.sent >= sim_opt.cut_after_tokens) {
      sim_log("cutting the connection after %lld tokens", (long long)c->stream.sent);
      sim_cut(c);
      return;
    }
    if (sim_opt.crash_after_tokens != SIM_OFF && c->stream.sent >= sim_opt.crash_after_tokens) {
      sim_crash("crash-after-tokens");
    }
    if (c->stream.sent >= c->stream.total) {
      send_end(c);
      return;
    }
    if (strcmp(sim_opt.garbage, "sse") == 0) {
      static const char nonsense[] = "data: {\"choices\":[{\"delta\n\n\x01\x02:::\n\n";
      sim_stream_write(c, nonsense, sizeof(nonsense) - 1);
      c->stream.sent++;
    } else {
      send_token(c);
    }
  }
  sim_after(c, (uint64_t)(sim_opt.token_ms > 0 ? sim_opt.token_ms : 0), tick);
}

void sim_stream_start(sim_conn *c, const char *endpoint, yyjson_val *request, const char *model) {
  sim_stream *s = &c->stream;
  *s = (sim_stream){.prompt_tokens = sim_prompt_tokens(request), .total = sim_wanted_tokens(request)};
  for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
    if (strcmp(kinds[i].endpoint, endpoint) == 0) {
      s->kind = kinds[i].kind;
      sim_new_id(kinds[i].prefix, s->id, sizeof(s->id));
    }
  }
  snprintf(s->model, sizeof(s->model), "%s", model);
  s->include_usage = yyjson_get_bool(yyjson_obj_get(yyjson_obj_get(request, "stream_options"), "include_usage"));
  sim_stream_begin(c, 200, "text/event-stream");
  if (s->kind == KIND_CHAT) {
    chat_chunk(c, "assistant", NULL, NULL);
  } else if (s->kind == KIND_RESPONSE) {
    response_event(c, "response.created", "in_progress", false);
  } else if (s->kind == KIND_MESSAGE) {
    message_start(c);
  }
  sim_after(c, (uint64_t)(sim_opt.ttft_ms > 0 ? sim_opt.ttft_ms : 0), tick);
}
