// The model finder's state machine; see model_finder.h.
#include "model_finder.h"

#include <string.h>

#include "scan.h"

enum {
  S_START,
  S_KEY_OR_END,
  S_KEY,
  S_IN_KEY,
  S_COLON,
  S_VALUE,
  S_IN_MODEL,
  S_STRING,  // another depth-1 value that is a string
  S_SCALAR,
  S_NESTED,
  S_NESTED_STRING,
  S_AFTER,
  S_END,
};
enum { NO_MATCH = 0xff };
static const char KEY[] = "model";
enum { KEY_LEN = sizeof KEY - 1 };

void gw_model_finder_init(gw_model_finder *f) {
  memset(f, 0, offsetof(gw_model_finder, name));
}

static bool fail(gw_model_finder *f, gw_find_error error) {
  f->error = error;
  return false;
}

static bool is_space(uint8_t c) {
  return c == ' ' || c == '\n' || c == '\r' || c == '\t';
}

static void key_byte(gw_model_finder *f, uint32_t c) {
  if (f->matched != NO_MATCH) {
    f->matched = f->matched < KEY_LEN && c == (uint8_t)KEY[f->matched] ? (uint8_t)(f->matched + 1) : NO_MATCH;
  }
}

static bool name_byte(gw_model_finder *f, uint8_t c) {
  if (f->name_len == GW_MODEL_MAX) {
    return fail(f, GW_FIND_TOO_LONG);
  }
  f->name[f->name_len++] = (char)c;
  return true;
}

static bool name_code_point(gw_model_finder *f, uint32_t c) {
  if (c < 0x80) {
    return name_byte(f, (uint8_t)c);
  }
  if (c < 0x800) {
    return name_byte(f, (uint8_t)(0xc0 | (c >> 6))) && name_byte(f, (uint8_t)(0x80 | (c & 0x3f)));
  }
  if (c < 0x10000) {
    return name_byte(f, (uint8_t)(0xe0 | (c >> 12))) && name_byte(f, (uint8_t)(0x80 | ((c >> 6) & 0x3f))) &&
           name_byte(f, (uint8_t)(0x80 | (c & 0x3f)));
  }
  return name_byte(f, (uint8_t)(0xf0 | (c >> 18))) && name_byte(f, (uint8_t)(0x80 | ((c >> 12) & 0x3f))) &&
         name_byte(f, (uint8_t)(0x80 | ((c >> 6) & 0x3f))) && name_byte(f, (uint8_t)(0x80 | (c & 0x3f)));
}

// A decoded character of a key or of the model string.
static bool text_char(gw_model_finder *f, uint32_t c) {
  if (f->state == S_IN_KEY) {
    key_byte(f, c);
    return true;
  }
  if (f->high_surrogate) {
    uint32_t high = f->high_surrogate;
    f->high_surrogate = 0;
    if (c < 0xdc00 || c > 0xdfff) {
      return fail(f, GW_FIND_INVALID_JSON);
    }
    return name_code_point(f, 0x10000 + ((high - 0xd800) << 10) + (c - 0xdc00));
  }
  if (c >= 0xd800 && c <= 0xdbff) {
    f->high_surrogate = c;
    return true;
  }
  if (c >= 0xdc00 && c <= 0xdfff) {
    return fail(f, GW_FIND_INVALID_JSON);
  }
  return name_code_point(f, c);
}

static bool escape_byte(gw_model_finder *f, uint8_t c) {
  if (f->escape > 1) {
    int v = gw_hex_value(c);
    if (v < 0) {
      return fail(f, GW_FIND_INVALID_JSON);
    }
    f->code_point = (f->code_point << 4) | (uint32_t)v;
    if (--f->escape == 1) {
      f->escape = 0;
      return text_char(f, f->code_point);
    }
    return true;
  }
  if (c == 'u') {
    f->escape = 5;
    f->code_point = 0;
    return true;
  }
  static const char FROM[] = "\"\\/bfnrt";
  static const char TO[] = "\"\\/\b\f\n\r\t";
  const char *at = c ? strchr(FROM, c) : NULL;
  if (!at) {
    return fail(f, GW_FIND_INVALID_JSON);
  }
  f->escape = 0;
  return text_char(f, (uint8_t)TO[at - FROM]);
}

// One byte of a key or of the model string. *closed: it was the closing quote.
static bool text_byte(gw_model_finder *f, uint8_t c, bool *closed) {
  if (f->escape) {
    return escape_byte(f, c);
  }
  if (c == '\\') {
    f->escape = 1;
    return true;
  }
  if (f->state == S_IN_KEY) {
    *closed = true;  // key_run has taken everything before the quote
    return true;
  }
  if (f->high_surrogate || c < 0x20) {
    return fail(f, GW_FIND_INVALID_JSON);
  }
  if (c == '"') {
    *closed = true;
    return true;
  }
  return name_byte(f, c);
}

static bool start_byte(gw_model_finder *f, uint8_t c) {
  static const uint8_t BOM[] = {0xef, 0xbb, 0xbf};
  if (f->bom < sizeof BOM && c == BOM[f->bom] && (f->bom > 0 || f->pos == 0)) {
    f->bom++;
    return true;
  }
  if (f->bom > 0 && f->bom < sizeof BOM) {
    return fail(f, GW_FIND_INVALID_JSON);
  }
  if (is_space(c)) {
    return true;
  }
  if (c == '{') {
    f->depth = 1;
    f->state = S_KEY_OR_END;
    return true;
  }
  if (c == 0 || c == 0xfe || c == 0xff) {
    return fail(f, GW_FIND_ENCODING);
  }
  return fail(f,
              c == '[' || c == '"' || c == '-' || (c >= '0' && c <= '9') ? GW_FIND_NOT_OBJECT : GW_FIND_INVALID_JSON);
}

static bool value_byte(gw_model_finder *f, uint8_t c) {
  bool model = f->matched == KEY_LEN;
  if (model && f->found) {
    return fail(f, GW_FIND_DUPLICATE);
  }
  if (model && c != '"') {
    return fail(f, GW_FIND_NOT_STRING);
  }
  switch (c) {
    case '"':
      f->state = model ? S_IN_MODEL : S_STRING;
      f->escape = 0;
      if (model) {
        f->value_start = f->pos;
      }
      return true;
    case '{':
    case '[':
      f->depth = 2;
      f->state = S_NESTED;
      return true;
    case '}':
    case ']':
    case ',':
    case ':':
      return fail(f, GW_FIND_INVALID_JSON);
    default:
      f->state = S_SCALAR;
      return c > 0x20 ? true : fail(f, GW_FIND_INVALID_JSON);
  }
}

static bool after_byte(gw_model_finder *f, uint8_t c) {
  if (c == ',') {
    f->state = S_KEY;
  } else if (c == '}') {
    f->depth = 0;
    f->state = S_END;
  } else if (!is_space(c)) {
    return fail(f, GW_FIND_INVALID_JSON);
  }
  return true;
}

// Up to the next string, or to the end of what is nested. Returns bytes used.
static size_t skip_nested(gw_model_finder *f, const uint8_t *p, size_t n) {
  for (size_t i = 0; i < n; i++) {
    const uint8_t c = p[i];
    if (c == '"') {
      f->state = S_NESTED_STRING;
      f->escape = 0;
      return i + 1;
    }
    if (c == '{' || c == '[') {
      f->depth++;
    } else if ((c == '}' || c == ']') && --f->depth == 1) {
      f->state = S_AFTER;
      return i + 1;
    }
  }
  return n;
}

// The bytes of a key up to its quote or to an escape, at once. Returns bytes used: 0 when text_byte must look.
static size_t key_run(gw_model_finder *f, const uint8_t *p, size_t n) {
  if (f->escape) {
    return 0;
  }
  size_t plain = gw_skip_plain(p, n);
  if (plain > 0 && f->matched != NO_MATCH) {
    bool same = plain <= (size_t)(KEY_LEN - f->matched) && memcmp(p, KEY + f->matched, plain) == 0;
    f->matched = same ? (uint8_t)(f->matched + plain) : (uint8_t)NO_MATCH;
  }
  return plain;
}

static bool structure_byte(gw_model_finder *f, uint8_t c) {
  bool closed = false;
  if (is_space(c) && f->state != S_IN_KEY && f->state != S_IN_MODEL && f->state != S_SCALAR) {
    return true;
  }
  switch (f->state) {
    case S_START:
      return start_byte(f, c);
    case S_KEY_OR_END:
    case S_KEY:
      if (c == '"') {
        f->state = S_IN_KEY;
        f->matched = 0;
        f->escape = 0;
        return true;
      }
      if (c == '}' && f->state == S_KEY_OR_END) {
        return after_byte(f, c);
      }
      return fail(f, c == 0 ? GW_FIND_ENCODING : GW_FIND_INVALID_JSON);
    case S_IN_KEY:
      if (!text_byte(f, c, &closed)) {
        return false;
      }
      f->state = closed ? S_COLON : f->state;
      return true;
    case S_COLON:
      f->state = S_VALUE;
      return c == ':' ? true : fail(f, GW_FIND_INVALID_JSON);
    case S_VALUE:
      return value_byte(f, c);
    case S_IN_MODEL:
      if (!text_byte(f, c, &closed)) {
        return false;
      }
      if (closed) {
        f->found = true;
        f->value_end = f->pos + 1;
        f->state = S_AFTER;
      }
      return true;
    case S_SCALAR:
      if (c == ',' || c == '}' || is_space(c)) {
        f->state = S_AFTER;
        return after_byte(f, c);
      }
      return c == '"' || c == '{' || c == '[' || c == ':' ? fail(f, GW_FIND_INVALID_JSON) : true;
    case S_AFTER:
      return after_byte(f, c);
    default:
      return fail(f, GW_FIND_INVALID_JSON);  // S_END: something follows the object
  }
}

// Skips inside a string that is of no interest. Returns bytes used.
static size_t skip_string(gw_model_finder *f, const uint8_t *p, size_t n) {
  bool escape = f->escape != 0;
  size_t i = gw_skip_string(p, n, &escape);
  f->escape = escape;
  if (i == n) {
    return n;
  }
  f->state = f->state == S_STRING ? S_AFTER : S_NESTED;
  return i + 1;
}

// What most bodies have next: a key's quote and colon, or the comma and the quote before a key. Returns bytes used.
static size_t usual_pair(gw_model_finder *f, const uint8_t *p, size_t n) {
  if (n < 2) {
    return 0;
  }
  if (f->state == S_AFTER && p[0] == ',' && p[1] == '"') {
    f->state = S_IN_KEY;
    f->matched = 0;
    f->escape = 0;
    return 2;
  }
  if (f->state == S_IN_KEY && f->escape == 0 && p[0] == '"' && p[1] == ':') {
    f->state = S_VALUE;
    return 2;
  }
  return 0;
}

bool gw_model_finder_feed(gw_model_finder *f, const void *data, size_t n) {
  const uint8_t *p = data;
  if (f->error != GW_FIND_OK) {
    return false;
  }
  size_t i = 0;
  while (i < n) {
    size_t used = 0;
    if (f->state == S_STRING || f->state == S_NESTED_STRING) {
      used = skip_string(f, p + i, n - i);
    } else if (f->state == S_NESTED) {
      used = skip_nested(f, p + i, n - i);
    } else if (f->state == S_IN_KEY) {
      used = key_run(f, p + i, n - i);
    }
    if (used == 0) {
      used = usual_pair(f, p + i, n - i);
    }
    if (used == 0) {
      if (!structure_byte(f, p[i])) {
        return false;
      }
      used = 1;
    }
    i += used;
    f->pos += used;
  }
  return true;
}

gw_find_error gw_model_finder_finish(gw_model_finder *f) {
  if (f->error == GW_FIND_OK && f->state != S_END) {
    f->error = GW_FIND_INVALID_JSON;
  } else if (f->error == GW_FIND_OK && !f->found) {
    f->error = GW_FIND_MISSING;
  }
  return f->error;
}

eco_status gw_find_status(gw_find_error error) {
  switch (error) {
    case GW_FIND_OK:
      return eco_success();
    case GW_FIND_INVALID_JSON:
      return eco_error(ECO_INVALID_JSON, "The request body is not valid JSON. Send one JSON object in UTF-8.");
    case GW_FIND_NOT_OBJECT:
      return eco_error(ECO_INVALID_REQUEST, "The request body must be a JSON object at the top level.");
    case GW_FIND_ENCODING:
      return eco_error(ECO_INVALID_REQUEST, "The request body is not UTF-8. Send JSON in UTF-8, not UTF-16 or UTF-32.");
    case GW_FIND_MISSING:
      return eco_error_param(
          ECO_INVALID_REQUEST, "model",
          "The field `model` is missing. Send the instance's model string, for example \"my-llama:142\".");
    case GW_FIND_DUPLICATE:
      return eco_error_param(ECO_INVALID_REQUEST, "model", "The field `model` appears more than once. Send it once.");
    case GW_FIND_NOT_STRING:
      return eco_error_param(ECO_INVALID_REQUEST, "model", "The field `model` must be a string.");
    case GW_FIND_TOO_LONG:
      return eco_error_param(ECO_INVALID_REQUEST, "model", "The field `model` is longer than %d bytes.", GW_MODEL_MAX);
    case GW_FIND_MULTIPART:
      return eco_error(ECO_INVALID_REQUEST,
                       "The multipart body is malformed: check the boundary and that the body ends with it.");
    case GW_FIND_PARTS:
      return eco_error(ECO_INVALID_REQUEST,
                       "The multipart body has more than %d parts, or part headers above %d bytes.", GW_PARTS_MAX,
                       GW_PART_HEADERS_MAX);
    case GW_FIND_FILENAME:
      return eco_error_param(ECO_INVALID_REQUEST, "model", "The form field `model` must be a plain field, not a file.");
  }
  return eco_error(ECO_INTERNAL, "unknown finder error");
}
