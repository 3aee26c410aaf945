// The walk's state machine; see json_walk.h.
#include "json_walk.h"

#include <string.h>

#include "scan.h"

enum { W_VALUE, W_KEY, W_IN_KEY, W_COLON, W_STRING, W_NUMBER, W_LITERAL, W_AFTER };

// What a key means.
enum { K_NONE, K_TEXT, K_MARK, K_REASON, K_USAGE, K_PROMPT, K_COMPLETION, K_WRAPPER };
#define KEY(text, id) \
  { text, sizeof(text) - 1, id }
typedef struct known_key {
  const char *name;
  uint8_t len;
  uint8_t id;
} known_key;
// By length, so that a key is compared with its like alone.
static const known_key KEYS[] = {
    KEY("text", K_TEXT),
    KEY("error", K_MARK),
    KEY("delta", K_TEXT),
    KEY("usage", K_USAGE),
    KEY("content", K_TEXT),
    KEY("refusal", K_TEXT),
    KEY("message", K_WRAPPER),
    KEY("thinking", K_TEXT),
    KEY("b64_json", K_TEXT),
    KEY("response", K_WRAPPER),
    KEY("reasoning", K_TEXT),
    KEY("arguments", K_TEXT),
    KEY("transcript", K_TEXT),
    KEY("tool_calls", K_MARK),
    KEY("stop_reason", K_REASON),
    KEY("partial_json", K_TEXT),
    KEY("input_tokens", K_PROMPT),
    KEY("function_call", K_MARK),
    KEY("finish_reason", K_REASON),
    KEY("prompt_tokens", K_PROMPT),
    KEY("output_tokens", K_COMPLETION),
    KEY("generated_text", K_TEXT),
    KEY("reasoning_content", K_TEXT),
    KEY("completion_tokens", K_COMPLETION),
};
#undef KEY

void gw_json_walk_init(gw_json_walk *w) {
  memset(w, 0, sizeof *w);
  w->prompt_tokens = -1;
  w->completion_tokens = -1;
}

void gw_json_walk_next(gw_json_walk *w) {
  w->state = W_VALUE;
  w->escape = false;
  w->dead = false;
  w->depth = 0;
  w->mark_depth = 0;
  w->id = K_NONE;
}

static bool in_array(const gw_json_walk *w) {
  return (w->arrays[w->depth / 64] >> (w->depth % 64)) & 1;
}

static void key_done(gw_json_walk *w) {
  // Where the keys of each length begin in KEYS; those of length n end where those of n + 1 begin.
  static const uint8_t FROM[] = {0, 0, 0, 0, 0, 1, 4, 4, 7, 10, 12, 14, 15, 17, 21, 22, 22, 22, 24};
  enum { LONGEST = sizeof FROM - 2 };
  w->id = K_NONE;
  for (size_t i = w->key_len <= LONGEST ? FROM[w->key_len] : 0; w->key_len <= LONGEST && i < FROM[w->key_len + 1];
       i++) {
    if (memcmp(KEYS[i].name, w->key, w->key_len) == 0) {
      w->id = KEYS[i].id;
      return;
    }
  }
}

// `usage` counts at the top, and within `response` or `message` there (Responses and Messages streams).
static bool in_usage(const gw_json_walk *w) {
  return (w->depth == 2 && w->ids[2] == K_USAGE) || (w->depth == 3 && w->ids[3] == K_USAGE && w->ids[2] == K_WRAPPER);
}

static void open_container(gw_json_walk *w, bool array) {
  if (w->depth + 1 >= GW_WALK_DEPTH) {
    w->dead = true;
    return;
  }
  w->depth++;
  if (w->depth < GW_WALK_IDS) {
    w->ids[w->depth] = w->id;
  }
  if (w->id == K_MARK && w->mark_depth == 0) {
    w->mark_depth = w->depth;
  }
  uint64_t bit = UINT64_C(1) << (w->depth % 64);
  if (array) {
    w->arrays[w->depth / 64] |= bit;
    w->state = W_VALUE;
  } else {
    w->arrays[w->depth / 64] &= ~bit;
    w->state = W_KEY;
    w->id = K_NONE;
  }
}

static void close_container(gw_json_walk *w) {
  if (w->depth == 0) {
    w->dead = true;
    return;
  }
  if (w->mark_depth == w->depth) {
    w->mark_depth = 0;
  }
  w->depth--;
  w->state = W_AFTER;
}

static void scalar(gw_json_walk *w, bool meaningful) {
  w->content = w->content || (meaningful && (w->mark_depth != 0 || w->id == K_MARK));
}

static void number_done(gw_json_walk *w) {
  if (w->id == K_PROMPT && in_usage(w)) {
    w->prompt_tokens = w->number;
  } else if (w->id == K_COMPLETION && in_usage(w)) {
    w->completion_tokens = w->number;
  }
}

static void value_byte(gw_json_walk *w, uint8_t c) {
  switch (c) {
    case '"':
      w->state = W_STRING;
      w->key_len = 0;
      return;
    case '{':
    case '[':
      open_container(w, c == '[');
      return;
    case ']':
      close_container(w);  // an empty array
      return;
    case ' ':
    case '\t':
    case '\r':
    case '\n':
      return;
    default:
      if (c >= '0' && c <= '9') {
        w->state = W_NUMBER;
        w->number = c - '0';
        w->number_digits = 1;
        scalar(w, true);
      } else {
        w->state = W_LITERAL;
        scalar(w, c != 'n');
      }
  }
}

static void after_byte(gw_json_walk *w, uint8_t c) {
  if (c == ',') {
    w->state = in_array(w) ? W_VALUE : W_KEY;
    if (in_array(w)) {
      w->id = w->depth < GW_WALK_IDS ? w->ids[w->depth] : K_NONE;
    }
  } else if (c == '}' || c == ']') {
    close_container(w);
  }
}

static void number_byte(gw_json_walk *w, uint8_t c) {
  if (c >= '0' && c <= '9') {
    if (w->number_digits < 18) {
      w->number = w->number * 10 + (c - '0');
      w->number_digits++;
    }
    return;
  }
  if (c == ',' || c == '}' || c == ']' || c <= ' ') {
    number_done(w);
    w->state = W_AFTER;
    after_byte(w, c);
    return;
  }
  w->state = W_LITERAL;  // a fraction or an exponent: no token count
}

static void begin_key(gw_json_walk *w) {
  w->state = W_IN_KEY;
  w->key_len = 0;
}

// The rest of a key, as far as it is here. Returns bytes used.
static size_t key_bytes(gw_json_walk *w, const uint8_t *p, size_t n) {
  if (w->escape) {
    w->escape = false;
    w->key_len = GW_WALK_KEY + 1;
    return 1;
  }
  size_t plain = gw_skip_plain(p, n);
  if (plain <= (size_t)GW_WALK_KEY && w->key_len + plain <= (size_t)GW_WALK_KEY) {
    memcpy(w->key + w->key_len, p, plain);
    w->key_len = (uint8_t)(w->key_len + plain);
  } else {
    w->key_len = GW_WALK_KEY + 1;
  }
  if (plain == n) {
    return n;
  }
  if (p[plain] == '\\') {
    w->escape = true;
  } else {
    key_done(w);
    w->state = W_COLON;
  }
  return plain + 1;
}

static size_t string_bytes(gw_json_walk *w, const uint8_t *p, size_t n) {
  if (w->key_len == 0) {  // the string's first byte tells whether it is empty
    w->key_len = 1;
    if (*p != '"') {
      w->content = w->content || w->id == K_TEXT || w->id == K_REASON || w->mark_depth != 0 || w->id == K_MARK;
    }
  }
  size_t i = gw_skip_string(p, n, &w->escape);
  if (i == n) {
    return n;
  }
  w->state = W_AFTER;
  return i + 1;
}

void gw_json_walk_feed(gw_json_walk *w, const void *data, size_t n) {
  const uint8_t *p = data;
  for (size_t i = 0; i < n && !w->dead; i++) {
    uint8_t c = p[i];
    switch (w->state) {
      case W_STRING:
        i += string_bytes(w, p + i, n - i) - 1;
        break;
      case W_VALUE:
        value_byte(w, c);
        break;
      case W_KEY:
        if (c == '"') {
          begin_key(w);
        } else if (c == '}') {
          close_container(w);
        } else {
          w->dead = c > ' ';
        }
        break;
      case W_IN_KEY:
        i += key_bytes(w, p + i, n - i) - 1;
        if (w->state == W_COLON && i + 1 < n && p[i + 1] == ':') {  // as engines write it
          w->state = W_VALUE;
          i++;
        }
        break;
      case W_COLON:
        w->state = c == ':' ? W_VALUE : w->state;
        break;
      case W_NUMBER:
        number_byte(w, c);
        break;
      case W_LITERAL:
        if (c == ',' || c == '}' || c == ']') {
          w->state = W_AFTER;
          after_byte(w, c);
        }
        break;
      default:
        after_byte(w, c);
        if (w->state == W_KEY && i + 1 < n && p[i + 1] == '"') {
          begin_key(w);
          i++;
        }
    }
  }
}
