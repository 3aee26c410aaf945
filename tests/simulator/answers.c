// Whole answers of the OpenAI-shaped endpoints, deterministic: the same request gives the same answer.
#include <ctype.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "sim.h"

const char *sim_token_text(int64_t i) {
  static const char *const words[] = {
      "This ",   "is ",  "the ",   "simulator ", "speaking: ", "no ",    "model ",  "was ",
      "asked, ", "and ", "every ", "word ",      "was ",       "known ", "before. "};
  return words[i % (int64_t)(sizeof(words) / sizeof(words[0]))];
}

int64_t sim_words(const char *s) {
  int64_t n = 0;
  bool in = false;
  for (; s && *s; s++) {
    bool blank = isspace((unsigned char)*s);
    n += !blank && !in;
    in = !blank;
  }
  return n;
}

void sim_fingerprint(char *out, size_t size, const char *model) {
  snprintf(out, size, "ecolink-simulator model=%s port=%d pid=%d", model, (int)sim_opt.port, (int)uv_os_getpid());
}

void sim_new_id(const char *prefix, char *out, size_t size) {
  static int64_t next;
  snprintf(out, size, "%s%d-%lld", prefix, (int)uv_os_getpid(), (long long)++next);
}

static int64_t words_within(yyjson_val *v, int depth) {
  if (yyjson_is_str(v)) {
    return sim_words(yyjson_get_str(v));
  }
  int64_t n = 0;
  size_t i, max;
  yyjson_val *key, *item;
  if (depth < 8 && yyjson_is_arr(v)) {
    yyjson_arr_foreach(v, i, max, item) {
      n += words_within(item, depth + 1);
    }
  } else if (depth < 8 && yyjson_is_obj(v)) {
    yyjson_obj_foreach(v, i, max, key, item) {
      if (yyjson_equals_str(key, "content") || yyjson_equals_str(key, "text")) {
        n += words_within(item, depth + 1);
      }
    }
  }
  return n;
}

int64_t sim_prompt_tokens(yyjson_val *request) {
  static const char *const fields[] = {"messages", "prompt", "input", "query", "documents"};
  int64_t n = 0;
  for (size_t i = 0; i < sizeof(fields) / sizeof(fields[0]); i++) {
    n += words_within(yyjson_obj_get(request, fields[i]), 0);
  }
  return n ? n : 1;
}

int64_t sim_wanted_tokens(yyjson_val *request) {
  static const char *const fields[] = {"max_tokens", "max_completion_tokens", "max_output_tokens"};
  for (size_t i = 0; i < sizeof(fields) / sizeof(fields[0]); i++) {
    yyjson_val *v = yyjson_obj_get(request, fields[i]);
    if (yyjson_is_int(v) && yyjson_get_sint(v) > 0) {
      return yyjson_get_sint(v);
    }
  }
  return sim_opt.tokens;
}

static void add_usage(yyjson_mut_doc *doc, yyjson_mut_val *root, const char *in, const char *out, int64_t prompt,
                      int64_t tokens) {
  yyjson_mut_val *usage = yyjson_mut_obj_add_obj(doc, root, "usage");
  yyjson_mut_obj_add_sint(doc, usage, in, prompt);
  if (out) {
    yyjson_mut_obj_add_sint(doc, usage, out, tokens);
  }
  yyjson_mut_obj_add_sint(doc, usage, "total_tokens", prompt + (out ? tokens : 0));
}

static char *text_of(int64_t tokens) {
  char *text = NULL;
  size_t n = 0;
  FILE *f = open_memstream(&text, &n);
  if (!f) {
    abort();
  }
  for (int64_t i = 0; i < tokens; i++) {
    fputs(sim_token_text(i), f);
  }
  fclose(f);
  return text;
}

// ---- one function per endpoint: fills `root` ----
static void chat(yyjson_mut_doc *doc, yyjson_mut_val *root, yyjson_val *request) {
  int64_t tokens = sim_wanted_tokens(request);
  char *text = text_of(tokens);
  yyjson_mut_obj_add_str(doc, root, "object", "chat.completion");
  yyjson_mut_val *choice = yyjson_mut_arr_add_obj(doc, yyjson_mut_obj_add_arr(doc, root, "choices"));
  yyjson_mut_obj_add_int(doc, choice, "index", 0);
  yyjson_mut_val *message = yyjson_mut_obj_add_obj(doc, choice, "message");
  yyjson_mut_obj_add_str(doc, message, "role", "assistant");
  yyjson_mut_obj_add_strcpy(doc, message, "content", text);
  yyjson_mut_obj_add_str(doc, choice, "finish_reason", "stop");
  add_usage(doc, root, "prompt_tokens", "completion_tokens", sim_prompt_tokens(request), tokens);
  free(text);
}

static void completion(yyjson_mut_doc *doc, yyjson_mut_val *root, yyjson_val *request) {
  int64_t tokens = sim_wanted_tokens(request);
  char *text = text_of(tokens);
  yyjson_mut_obj_add_str(doc, root, "object", "text_completion");
  yyjson_mut_val *choice = yyjson_mut_arr_add_obj(doc, yyjson_mut_obj_add_arr(doc, root, "choices"));
  yyjson_mut_obj_add_int(doc, choice, "index", 0);
  yyjson_mut_obj_add_strcpy(doc, choice, "text", text);
  yyjson_mut_obj_add_str(doc, choice, "finish_reason", "stop");
  add_usage(doc, root, "prompt_tokens", "completion_tokens", sim_prompt_tokens(request), tokens);
  free(text);
}

static void add_vector(yyjson_mut_doc *doc, yyjson_mut_val *data, yyjson_val *input, int index, int dimensions,
                       bool base64) {
  size_t n = 0;
  char *text = input ? yyjson_val_write(input, 0, &n) : NULL;
  uint64_t state = sim_hash(text ? text : "", n);
  free(text);
  yyjson_mut_val *item = yyjson_mut_arr_add_obj(doc, data);
  yyjson_mut_obj_add_str(doc, item, "object", "embedding");
  yyjson_mut_obj_add_int(doc, item, "index", index);
  float *vector = sim_alloc((size_t)dimensions * sizeof(float));
  for (int i = 0; i < dimensions; i++) {
    vector[i] = (float)((double)(sim_random(&state) >> 40) * 0x1p-23 - 1.0);
  }
  if (base64) {
    char *encoded = sim_base64(vector, (size_t)dimensions * sizeof(float));
    yyjson_mut_obj_add_strcpy(doc, item, "embedding", encoded);
    free(encoded);
  } else {
    yyjson_mut_val *numbers = yyjson_mut_obj_add_arr(doc, item, "embedding");
    for (int i = 0; i < dimensions; i++) {
      yyjson_mut_arr_add_real(doc, numbers, (double)vector[i]);
    }
  }
  free(vector);
}

static void embeddings(yyjson_mut_doc *doc, yyjson_mut_val *root, yyjson_val *request) {
  yyjson_val *input = yyjson_obj_get(request, "input");
  yyjson_val *wanted = yyjson_obj_get(request, "dimensions");
  int dimensions = yyjson_is_int(wanted) && yyjson_get_int(wanted) > 0 && yyjson_get_int(wanted) <= 4096
                       ? yyjson_get_int(wanted)
                       : SIM_EMBEDDING_DIMENSIONS;
  bool base64 = yyjson_equals_str(yyjson_obj_get(request, "encoding_format"), "base64");
  yyjson_mut_obj_add_str(doc, root, "object", "list");
  yyjson_mut_val *data = yyjson_mut_obj_add_arr(doc, root, "data");
  if (yyjson_is_arr(input) && !yyjson_is_num(yyjson_arr_get_first(input))) {
    size_t i, max;
    yyjson_val *item;
    yyjson_arr_foreach(input, i, max, item) {
      add_vector(doc, data, item, (int)i, dimensions, base64);
    }
  } else {
    add_vector(doc, data, input, 0, dimensions, base64);
  }
  add_usage(doc, root, "prompt_tokens", NULL, sim_prompt_tokens(request), 0);
}

static void responses(yyjson_mut_doc *doc, yyjson_mut_val *root, yyjson_val *request) {
  int64_t tokens = sim_wanted_tokens(request);
  char *text = text_of(tokens);
  yyjson_mut_obj_add_str(doc, root, "object", "response");
  yyjson_mut_obj_add_str(doc, root, "status", "completed");
  yyjson_mut_obj_add_bool(doc, root, "parallel_tool_calls", false);
  yyjson_mut_obj_add_str(doc, root, "tool_choice", "auto");
  yyjson_mut_obj_add_arr(doc, root, "tools");
  yyjson_mut_val *message = yyjson_mut_arr_add_obj(doc, yyjson_mut_obj_add_arr(doc, root, "output"));
  yyjson_mut_obj_add_str(doc, message, "id", "msg_1");
  yyjson_mut_obj_add_str(doc, message, "type", "message");
  yyjson_mut_obj_add_str(doc, message, "role", "assistant");
  yyjson_mut_obj_add_str(doc, message, "status", "completed");
  yyjson_mut_val *part = yyjson_mut_arr_add_obj(doc, yyjson_mut_obj_add_arr(doc, message, "content"));
  yyjson_mut_obj_add_str(doc, part, "type", "output_text");
  yyjson_mut_obj_add_strcpy(doc, part, "text", text);
  yyjson_mut_obj_add_arr(doc, part, "annotations");
  add_usage(doc, root, "input_tokens", "output_tokens", sim_prompt_tokens(request), tokens);
  free(text);
}

static void messages(yyjson_mut_doc *doc, yyjson_mut_val *root, yyjson_val *request) {
  int64_t tokens = sim_wanted_tokens(request);
  char *text = text_of(tokens);
  yyjson_mut_obj_add_str(doc, root, "type", "message");
  yyjson_mut_obj_add_str(doc, root, "role", "assistant");
  yyjson_mut_val *part = yyjson_mut_arr_add_obj(doc, yyjson_mut_obj_add_arr(doc, root, "content"));
  yyjson_mut_obj_add_str(doc, part, "type", "text");
  yyjson_mut_obj_add_strcpy(doc, part, "text", text);
  yyjson_mut_obj_add_str(doc, root, "stop_reason", "end_turn");
  yyjson_mut_obj_add_null(doc, root, "stop_sequence");
  add_usage(doc, root, "input_tokens", "output_tokens", sim_prompt_tokens(request), tokens);
  free(text);
}

static void rerank(yyjson_mut_doc *doc, yyjson_mut_val *root, yyjson_val *request) {
  // Fewer common hash bits with the query means less relevant: arbitrary, but fixed.
  yyjson_val *query = yyjson_obj_get(request, "query");
  yyjson_val *documents = yyjson_obj_get(request, "documents");
  uint64_t wanted = sim_hash(yyjson_is_str(query) ? yyjson_get_str(query) : "", yyjson_get_len(query));
  yyjson_mut_val *results = yyjson_mut_obj_add_arr(doc, root, "results");
  size_t i, max;
  yyjson_val *item;
  yyjson_arr_foreach(documents, i, max, item) {
    uint64_t h = sim_hash(yyjson_is_str(item) ? yyjson_get_str(item) : "", yyjson_get_len(item));
    yyjson_mut_val *result = yyjson_mut_arr_add_obj(doc, results);
    yyjson_mut_obj_add_uint(doc, result, "index", i);
    yyjson_mut_obj_add_real(doc, result, "relevance_score", 1.0 - (double)__builtin_popcountll(wanted ^ h) / 64.0);
  }
  add_usage(doc, root, "prompt_tokens", NULL, sim_prompt_tokens(request), 0);
}

static void moderations(yyjson_mut_doc *doc, yyjson_mut_val *root, yyjson_val *request) {
  (void)request;
  yyjson_mut_val *result = yyjson_mut_arr_add_obj(doc, yyjson_mut_obj_add_arr(doc, root, "results"));
  yyjson_mut_obj_add_bool(doc, result, "flagged", false);
  yyjson_mut_obj_add_obj(doc, result, "categories");
  yyjson_mut_obj_add_obj(doc, result, "category_scores");
}

// One transparent pixel.
static const char PNG_BASE64[] =
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNkYPhfDwAChwGA60e6kgAAAABJRU5ErkJggg==";

static void images(yyjson_mut_doc *doc, yyjson_mut_val *root, yyjson_val *request) {
  yyjson_val *n = yyjson_obj_get(request, "n");
  int count = yyjson_is_int(n) && yyjson_get_int(n) > 0 && yyjson_get_int(n) <= 10 ? yyjson_get_int(n) : 1;
  yyjson_mut_val *data = yyjson_mut_obj_add_arr(doc, root, "data");
  for (int i = 0; i < count; i++) {
    yyjson_mut_obj_add_str(doc, yyjson_mut_arr_add_obj(doc, data), "b64_json", PNG_BASE64);
  }
}

static void video(yyjson_mut_doc *doc, yyjson_mut_val *root, yyjson_val *request) {
  (void)request;
  yyjson_mut_obj_add_str(doc, root, "object", "video.generation");
  yyjson_mut_obj_add_str(doc, root, "status", "completed");
}

static const struct {
  const char *endpoint;
  const char *prefix;
  void (*fill)(yyjson_mut_doc *doc, yyjson_mut_val *root, yyjson_val *request);
} table[] = {
    {"chat/completions", "chatcmpl-", chat}, {"completions", "cmpl-", completion},   {"embeddings", "emb-", embeddings},
    {"responses", "resp_", responses},       {"messages", "msg_", messages},         {"rerank", "rerank-", rerank},
    {"moderations", "modr-", moderations},   {"images/generations", "img-", images}, {"images/edits", "img-", images},
    {"video/generations", "video-", video},
};

// A whole answer that takes its time: kept in the connection's body until the timer fires.
static void send_kept(sim_conn *c) {
  char *body = c->body;
  size_t n = c->body_len;
  c->body = NULL;
  sim_reply(c, 200, "application/json", body, n);
  free(body);
}

void sim_answer(sim_conn *c, const char *endpoint, yyjson_val *request, const char *model) {
  yyjson_mut_doc *doc = yyjson_mut_doc_new(NULL);
  yyjson_mut_val *root = yyjson_mut_obj(doc);
  yyjson_mut_doc_set_root(doc, root);
  char print[400];
  char id[64] = "";
  sim_fingerprint(print, sizeof(print), model);
  for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
    if (strcmp(table[i].endpoint, endpoint) == 0) {
      sim_new_id(table[i].prefix, id, sizeof(id));
      yyjson_mut_obj_add_str(doc, root, "id", id);
      yyjson_mut_obj_add_sint(doc, root, strcmp(endpoint, "responses") == 0 ? "created_at" : "created",
                              (int64_t)time(NULL));
      yyjson_mut_obj_add_strcpy(doc, root, "model", model);
      yyjson_mut_obj_add_str(doc, root, "system_fingerprint", print);
      table[i].fill(doc, root, request);
    }
  }
  size_t n = 0;
  char *text = yyjson_mut_write(doc, 0, &n);
  yyjson_mut_doc_free(doc);
  if (!text) {
    sim_reply_error(c, 500, "no_memory", "the answer could not be written");
    return;
  }
  free(c->body);
  c->body = text;
  c->body_len = n;
  int64_t wait = sim_opt.ttft_ms + (request ? sim_wanted_tokens(request) * sim_opt.token_ms : 0);
  if (wait > 0) {
    sim_after(c, (uint64_t)wait, send_kept);
  } else {
    send_kept(c);
  }
}

// A tenth of a second of silence: RIFF, PCM, 8 kHz, 8 bits, mono.
void sim_answer_speech(sim_conn *c) {
  static const uint8_t head[44] = {'R', 'I', 'F', 'F', 0x44, 3, 0,   0,   'W', 'A',  'V',  'E', 'f', 'm',  't',
                                   ' ', 16,  0,   0,   0,    1, 0,   1,   0,   0x40, 0x1f, 0,   0,   0x40, 0x1f,
                                   0,   0,   1,   0,   8,    0, 'd', 'a', 't', 'a',  0x20, 3,   0,   0};
  uint8_t wav[44 + 800];
  memcpy(wav, head, sizeof(head));
  memset(wav + 44, 0x80, 800);
  sim_reply(c, 200, "audio/wav", wav, sizeof(wav));
}

void sim_answer_transcription(sim_conn *c, const char *model) {
  size_t n = 0;
  char *file = sim_multipart_field(c, "file", &n);
  if (!file) {
    sim_reply_error(c, 400, "file_missing", "the form field file is missing");
    return;
  }
  char text[200];
  char print[400];
  snprintf(text, sizeof(text), "A simulator heard %zu bytes with hash %016llx.", n,
           (unsigned long long)sim_hash(file, n));
  free(file);
  sim_fingerprint(print, sizeof(print), model);
  yyjson_mut_doc *doc = yyjson_mut_doc_new(NULL);
  yyjson_mut_val *root = yyjson_mut_obj(doc);
  yyjson_mut_doc_set_root(doc, root);
  yyjson_mut_obj_add_str(doc, root, "text", text);
  yyjson_mut_obj_add_strcpy(doc, root, "model", model);
  yyjson_mut_obj_add_strcpy(doc, root, "system_fingerprint", print);
  sim_reply_json(c, 200, doc);
}

// RFC 7578: parts between "--boundary" lines; the name sits in Content-Disposition.
char *sim_multipart_field(const sim_conn *c, const char *name, size_t *len) {
  const char *type = sim_header_get(c, "Content-Type");
  const char *mark = type ? strstr(type, "boundary=") : NULL;
  if (!mark || !c->body) {
    return NULL;
  }
  char boundary[256];
  char wanted[96];
  const char *b = mark + 9 + (mark[9] == '"');
  snprintf(boundary, sizeof(boundary), "--%.*s", (int)strcspn(b, "\";"), b);
  snprintf(wanted, sizeof(wanted), " name=\"%s\"", name);
  const char *end = c->body + c->body_len;
  const char *at = c->body;
  size_t k = strlen(boundary);
  while ((at = memmem(at, (size_t)(end - at), boundary, k))) {
    at += k;
    const char *blank = memmem(at, (size_t)(end - at), "\r\n\r\n", 4);
    const char *next = blank ? memmem(blank + 4, (size_t)(end - blank - 4), boundary, k) : NULL;
    if (!next || next - blank < 6) {
      return NULL;
    }
    if (memmem(at, (size_t)(blank - at), wanted, strlen(wanted))) {
      size_t n = (size_t)(next - 2 - (blank + 4));
      char *value = sim_alloc(n + 1);
      memcpy(value, blank + 4, n);
      if (len) {
        *len = n;
      }
      return value;
    }
    at = next;
  }
  return NULL;
}
