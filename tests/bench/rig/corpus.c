// Requests, keys and routes; see corpus.h.
#include "corpus.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

enum { KEY_CHARS = 52, KEY_LEN = KEY_CHARS + 4, CHAT_REQUESTS = 2000, LARGE_REQUESTS = 64, HUGE_REQUESTS = 8 };
enum { CHAT_MIN = 600, CHAT_MAX = 4000, LIMIT_PER_MINUTE = 10000000 };

// ---- numbers ----

static uint64_t mix(uint64_t x) {
  x += UINT64_C(0x9e3779b97f4a7c15);
  x = (x ^ (x >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
  x = (x ^ (x >> 27)) * UINT64_C(0x94d049bb133111eb);
  return x ^ (x >> 31);
}

static void key_text(uint64_t n, bool wrong, char out[KEY_LEN + 1]) {
  static const char ALPHABET[] = "0123456789abcdefghjkmnpqrstvwxyz";
  memcpy(out, "eco_", 4);
  for (unsigned i = 0; i < KEY_CHARS; i++) {
    out[4 + i] = ALPHABET[mix(n * 64 + i + (wrong ? UINT64_C(1) << 40 : 0)) % 32];
  }
  out[KEY_LEN] = 0;
}

// ---- growing text ----

typedef struct text {
  char *p;
  size_t len;
  size_t cap;
} text;

static void room(text *t, size_t n) {
  if (t->len + n + 1 > t->cap) {
    t->cap = (t->len + n + 1) * 2;
    t->p = realloc(t->p, t->cap);
    if (!t->p) {
      abort();
    }
  }
}

static void add(text *t, const char *p, size_t n) {
  room(t, n);
  memcpy(t->p + t->len, p, n);
  t->len += n;
  t->p[t->len] = 0;
}

__attribute__((format(printf, 2, 3))) static void addf(text *t, const char *format, ...) {
  char buf[512];
  va_list args;
  va_start(args, format);
  int n = vsnprintf(buf, sizeof buf, format, args);
  va_end(args);
  add(t, buf, (size_t)n);
}

// n bytes of words with an escaped line end every hundred bytes or so, as prompts have.
static void add_words(text *t, size_t n, uint64_t seed) {
  static const char *const WORDS[] = {"the ",   "model ", "answers ",  "questions ", "about ", "rivers, ",
                                      "cities", " and ",  "people\\n", "in ",        "plain ", "words. ",
                                      "Some ",  "said: ", "so ",       "twice "};
  room(t, n);
  size_t end = t->len + n;
  for (uint64_t i = 0; t->len < end; i++) {
    const char *w = WORDS[mix(seed + i) % (sizeof WORDS / sizeof WORDS[0])];
    size_t len = strlen(w);
    if (len > end - t->len) {
      w = "................";
      len = end - t->len;
    }
    add(t, w, len);
  }
}

// ---- bodies ----

typedef enum model_place { MODEL_AFTER, MODEL_FIRST, MODEL_AMONG } model_place;

static void add_messages(text *t, size_t bytes, uint64_t seed) {
  addf(t, "\"messages\":[{\"role\":\"system\",\"content\":\"You are a helpful assistant.\"},");
  addf(t, "{\"role\":\"user\",\"content\":\"");
  add_words(t, bytes, seed);
  addf(t, "\"}]");
}

static void add_body(text *t, size_t words, model_place place, unsigned route, bool stream, uint64_t seed) {
  const char *more = stream ? ",\"stream\":true,\"stream_options\":{\"include_usage\":true}" : "";
  if (place == MODEL_FIRST) {
    addf(t, "{\"model\":\"bench:%u\",", route + 1);
    add_messages(t, words, seed);
    addf(t, ",\"max_tokens\":256%s}", more);
    return;
  }
  if (place == MODEL_AFTER) {
    addf(t, "{");
    add_messages(t, words, seed);
    addf(t, ",\"max_tokens\":256,\"temperature\":0.7%s,\"model\":\"bench:%u\"}", more, route + 1);
    return;
  }
  static const char *const BEFORE[] = {"temperature", "top_p", "n",     "presence_penalty", "frequency_penalty",
                                       "seed",        "top_k", "min_p", "best_of"};
  static const char *const AFTER[] = {"user", "service_tier",        "store",           "logprobs", "metadata",
                                      "stop", "parallel_tool_calls", "reasoning_effort"};
  addf(t, "{");
  for (size_t i = 0; i < sizeof BEFORE / sizeof BEFORE[0]; i++) {
    addf(t, "\"%s\":%zu,", BEFORE[i], i + 1);
  }
  add_messages(t, words, seed);
  addf(t, ",\"model\":\"bench:%u\"", route + 1);
  for (size_t i = 0; i < sizeof AFTER / sizeof AFTER[0]; i++) {
    addf(t, ",\"%s\":\"v%zu\"", AFTER[i], i);
  }
  addf(t, ",\"max_tokens\":256%s}", more);
}

static size_t body_bytes(rig_size size, uint64_t random) {
  switch (size) {
    case RIG_64K:
      return (size_t)64 * 1024;
    case RIG_1M:
      return (size_t)1024 * 1024;
    case RIG_8M:
      return (size_t)8 * 1024 * 1024 - 4096;
    default:
      // Most are short: the cube of a uniform number leans towards the smaller end; the mean is 1.4 KB.
      random %= 1000;
      return CHAT_MIN + (size_t)((CHAT_MAX - CHAT_MIN) * random / 1000 * random / 1000 * random / 1000);
  }
}

static void add_head(text *t, const char *key, const char *extra, bool chunked, size_t length) {
  addf(t,
       "POST /v1/chat/completions HTTP/1.1\r\nHost: api.example.com\r\nUser-Agent: OpenAI/Python 1.99.0\r\n"
       "Accept: application/json\r\nAccept-Encoding: gzip, deflate\r\nContent-Type: application/json\r\n"
       "Authorization: Bearer %s\r\nX-Stainless-Lang: python\r\nX-Stainless-Retry-Count: 0\r\n",
       key);
  add(t, extra, strlen(extra));
  if (chunked) {
    addf(t, "Transfer-Encoding: chunked\r\n\r\n");
  } else {
    addf(t, "Content-Length: %zu\r\n\r\n", length);
  }
}

static rig_request make(const char *key, const char *extra, const text *body, bool chunked, uint64_t random) {
  text t = {0};
  add_head(&t, key, extra, chunked, body->len);
  if (chunked) {
    size_t cut = 1 + (size_t)(random % (body->len - 1));
    addf(&t, "%zx\r\n", cut);
    add(&t, body->p, cut);
    addf(&t, "\r\n%zX\r\n", body->len - cut);
    add(&t, body->p + cut, body->len - cut);
    addf(&t, "\r\n0\r\n\r\n");
  } else {
    add(&t, body->p, body->len);
  }
  return (rig_request){.bytes = t.p, .len = t.len};
}

rig_corpus rig_corpus_new(const rig_population *p, rig_size size, bool wrong, bool stream, const char *extra) {
  rig_corpus c = {.n = size == RIG_CHAT ? CHAT_REQUESTS : size == RIG_64K ? LARGE_REQUESTS : HUGE_REQUESTS};
  c.requests = calloc(c.n, sizeof *c.requests);
  if (!c.requests) {
    abort();
  }
  unsigned keys_each = p->used_keys / p->used_routes;
  for (size_t i = 0; i < c.n; i++) {
    uint64_t random = mix(i * 1000 + 7);
    unsigned route = (unsigned)(mix(i) % p->used_routes) * (p->routes / p->used_routes);
    unsigned key = route + (unsigned)(mix(i + 77777) % keys_each) * p->routes;
    char key_chars[KEY_LEN + 1];
    text body = {0};
    key_text(key, wrong, key_chars);
    model_place place = size != RIG_CHAT  ? MODEL_AFTER
                        : random % 4 == 0 ? MODEL_FIRST
                        : random % 4 == 1 ? MODEL_AMONG
                                          : MODEL_AFTER;
    add_body(&body, 0, place, route, stream, i);  // how much there is without the words
    size_t words = body_bytes(size, random >> 8);
    words = words > body.len ? words - body.len : 0;
    body.len = 0;
    add_body(&body, words, place, route, stream, i);
    unsigned dice = (unsigned)((random >> 32) % 10);
    c.requests[i] = make(key_chars, extra, &body, dice == 0, mix(random));
    if (dice == 1) {
      c.requests[i].split = 1 + (size_t)(mix(random + 1) % (c.requests[i].len - 1));
    }
    free(body.p);
  }
  return c;
}

void rig_corpus_free(rig_corpus *c) {
  for (size_t i = 0; i < c->n; i++) {
    free(c->requests[i].bytes);
  }
  free(c->requests);
  *c = (rig_corpus){0};
}

void rig_corpus_write_snapshot(const rig_population *p, int port, FILE *out) {
  char key[KEY_LEN + 1];
  fputs("{\"keys\":[", out);
  for (unsigned i = 0; i < p->keys; i++) {
    key_text(i, false, key);
    fprintf(out,
            "%s\n{\"key\":\"%s\",\"key_id\":\"key_%08u\",\"account_id\":\"acc_%08u\",\"role\":\"inference\","
            "\"rate_limit_per_minute\":%d}",
            i ? "," : "", key, i, i % p->routes, LIMIT_PER_MINUTE);
  }
  fputs("],\"routes\":[", out);
  for (unsigned i = 0; i < p->routes; i++) {
    fprintf(
        out,
        "%s\n{\"instance_id\":%u,\"account_id\":\"acc_%08u\",\"served_name\":\"bench\",\"openai_compatible\":true,"
        "\"status\":\"running\",\"replicas\":["
        "{\"replica_id\":1,\"region\":\"eu-west\",\"host\":\"127.0.0.1\",\"port\":%d,\"token\":\"\",\"run_id\":\"r1\"},"
        "{\"replica_id\":2,\"region\":\"us-east\",\"host\":\"127.0.0.1\",\"port\":%d,\"token\":\"\",\"run_id\":\"r2\"}]"
        "}",
        i ? "," : "", i + 1, i, port, port);
  }
  fputs("]}\n", out);
}
