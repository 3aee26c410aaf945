// The multipart finder (RFC 2046 section 5.1, RFC 7578); see multipart_finder.h.
#include "multipart_finder.h"

#include <string.h>
#include <strings.h>

enum {
  M_PREAMBLE,     // before the first delimiter
  M_AFTER_DELIM,  // after "--boundary": CR, '-' or padding
  M_DELIM_LF,     // CR seen, LF must follow
  M_DASH,         // one '-' seen
  M_HEADER,       // inside a header line
  M_HEADER_LF,    // CR of a header line seen
  M_BODY,
  M_EPILOGUE,
};

static const char *skip_blank(const char *p, const char *end) {
  while (p < end && (*p == ' ' || *p == '\t')) {
    p++;
  }
  return p;
}

// Reads one `; name=value` parameter at p. Returns what follows it, or NULL at the end or on nonsense.
// The value is unquoted into out (at most cap - 1 bytes, else *out_len = cap).
static const char *next_param(const char *p, const char *end, const char **name, size_t *name_len, char *out,
                              size_t cap, size_t *out_len) {
  p = skip_blank(p, end);
  if (p == end || *p != ';') {
    return NULL;
  }
  p = skip_blank(p + 1, end);
  *name = p;
  while (p < end && *p != '=' && *p != ';' && *p != ' ' && *p != '\t') {
    p++;
  }
  *name_len = (size_t)(p - *name);
  *out_len = 0;
  p = skip_blank(p, end);
  if (p == end || *p != '=') {
    return p;
  }
  p = skip_blank(p + 1, end);
  bool quoted = p < end && *p == '"';
  p += quoted;
  while (p < end && (quoted ? *p != '"' : *p != ';' && *p != ' ' && *p != '\t')) {
    if (quoted && *p == '\\' && p + 1 < end) {
      p++;
    }
    if (*out_len < cap) {
      out[(*out_len)++] = *p;
    }
    p++;
  }
  if (quoted) {
    if (p == end) {
      return NULL;
    }
    p++;
  }
  return p;
}

static bool boundary_ok(const char *b, size_t n) {
  static const char OTHER[] = "'()+_,-./:=? ";
  if (n == 0 || n > GW_BOUNDARY_MAX || b[n - 1] == ' ') {
    return false;
  }
  for (size_t i = 0; i < n; i++) {
    bool alnum = (b[i] >= '0' && b[i] <= '9') || ((b[i] | 0x20) >= 'a' && (b[i] | 0x20) <= 'z');
    if (!alnum && (b[i] == 0 || !strchr(OTHER, b[i]))) {
      return false;
    }
  }
  return true;
}

bool gw_multipart_finder_init(gw_multipart_finder *f, const char *content_type, size_t n) {
  static const char TYPE[] = "multipart/form-data";
  memset(f, 0, offsetof(gw_multipart_finder, delim));
  if (n < sizeof TYPE - 1 || strncasecmp(content_type, TYPE, sizeof TYPE - 1) != 0) {
    return false;
  }
  const char *end = content_type + n;
  const char *p = content_type + sizeof TYPE - 1;
  const char *name = NULL;
  size_t name_len = 0;
  char value[GW_BOUNDARY_MAX + 1];
  size_t len = 0;
  bool found = false;
  while ((p = next_param(p, end, &name, &name_len, value, sizeof value, &len)) != NULL) {
    if (name_len == 8 && strncasecmp(name, "boundary", 8) == 0) {
      if (found || !boundary_ok(value, len)) {
        return false;
      }
      found = true;
      memcpy(f->delim, "\r\n--", 4);
      memcpy(f->delim + 4, value, len);
      f->delim_len = (uint8_t)(4 + len);
    }
  }
  f->matched = 2;  // the first delimiter may stand at the very start: as if CRLF had been seen
  return found;
}

static bool fail(gw_multipart_finder *f, gw_find_error error) {
  f->error = error;
  return false;
}

static bool value_bytes(gw_multipart_finder *f, const char *p, size_t n) {
  if (!f->part_is_model || n == 0) {
    return true;
  }
  if (n > (size_t)(GW_MODEL_MAX - f->name_len)) {
    return fail(f, GW_FIND_TOO_LONG);
  }
  memcpy(f->name + f->name_len, p, n);
  f->name_len = (uint16_t)(f->name_len + n);
  return true;
}

static bool disposition(gw_multipart_finder *f) {
  static const char HEADER[] = "content-disposition:";
  const char *end = f->line + f->line_len;
  if (f->line_len < sizeof HEADER - 1 || strncasecmp(f->line, HEADER, sizeof HEADER - 1) != 0) {
    return true;
  }
  if (f->part_has_disposition) {
    return fail(f, GW_FIND_MULTIPART);
  }
  f->part_has_disposition = true;
  const char *p = skip_blank(f->line + sizeof HEADER - 1, end);
  while (p < end && *p != ';') {
    p++;
  }
  const char *name = NULL;
  size_t name_len = 0;
  char value[GW_PART_LINE_MAX];
  size_t len = 0;
  bool model = false;
  bool file = false;
  while ((p = next_param(p, end, &name, &name_len, value, sizeof value, &len)) != NULL) {
    model = model || (name_len == 4 && strncasecmp(name, "name", 4) == 0 && len == 5 && memcmp(value, "model", 5) == 0);
    file = file || (name_len >= 8 && strncasecmp(name, "filename", 8) == 0);
  }
  if (model && file) {
    return fail(f, GW_FIND_FILENAME);
  }
  if (model && f->found) {
    return fail(f, GW_FIND_DUPLICATE);
  }
  f->part_is_model = model;
  return true;
}

static bool header_line_end(gw_multipart_finder *f) {
  if (f->line_len == 0) {
    f->state = M_BODY;
    f->matched = 2;  // an empty part: the delimiter's CRLF may be the headers' own
    if (f->part_is_model) {
      f->value_start = f->pos + 1;
      f->name_len = 0;
    }
    return true;
  }
  if (!disposition(f)) {
    return false;
  }
  f->line_len = 0;
  f->state = M_HEADER;
  return true;
}

static bool header_byte(gw_multipart_finder *f, char c) {
  if (++f->header_bytes > GW_PART_HEADERS_MAX) {
    return fail(f, GW_FIND_PARTS);
  }
  if (f->state == M_HEADER_LF) {
    return c == '\n' ? header_line_end(f) : fail(f, GW_FIND_MULTIPART);
  }
  if (c == '\r') {
    f->state = M_HEADER_LF;
    return true;
  }
  if (c == '\n' || c == 0 || (f->line_len == 0 && (c == ' ' || c == '\t'))) {
    return fail(f, GW_FIND_MULTIPART);  // bare LF, NUL or a folded line
  }
  if (f->line_len == GW_PART_LINE_MAX) {
    // Only Content-Disposition is read; it alone may not be longer than the line buffer.
    return strncasecmp(f->line, "content-disposition:", 20) == 0 ? fail(f, GW_FIND_PARTS) : true;
  }
  f->line[f->line_len++] = c;
  return true;
}

static bool part_begins(gw_multipart_finder *f) {
  if (++f->parts > GW_PARTS_MAX) {
    return fail(f, GW_FIND_PARTS);
  }
  f->state = M_HEADER;
  f->header_bytes = 0;
  f->line_len = 0;
  f->part_is_model = false;
  f->part_has_disposition = false;
  return true;
}

static bool delimiter_seen(gw_multipart_finder *f) {
  if (f->state == M_BODY && f->part_is_model) {
    f->found = true;
    // pos is at the delimiter's last byte; an empty part has no CRLF of its own.
    uint64_t start = f->pos + 1 - f->delim_len;
    f->value_end = start < f->value_start ? f->value_start : start;
  }
  f->part_is_model = false;
  f->state = M_AFTER_DELIM;
  f->matched = 0;
  return true;
}

// A byte of the preamble or of a part's body. CR occurs in the delimiter only as its first byte, so a failed match can
// restart at nothing but the byte at hand.
static bool body_byte(gw_multipart_finder *f, char c) {
  if (c == f->delim[f->matched]) {
    if (++f->matched == f->delim_len) {
      return delimiter_seen(f);
    }
    return true;
  }
  // What had matched is content, but for the two bytes that were never there (pos - matched before the value).
  size_t had = f->matched;
  size_t skip = 0;
  if (f->part_is_model && f->pos - had < f->value_start) {
    skip = (size_t)(f->value_start - (f->pos - had));
  }
  f->matched = 0;
  if (f->state == M_BODY && had > skip && !value_bytes(f, f->delim + skip, had - skip)) {
    return false;
  }
  if (c == '\r') {
    f->matched = 1;
    return true;
  }
  return f->state == M_BODY ? value_bytes(f, &c, 1) : true;
}

static bool other_byte(gw_multipart_finder *f, char c) {
  switch (f->state) {
    case M_AFTER_DELIM:
      if (c == '\r') {
        f->state = M_DELIM_LF;
      } else if (c == '-') {
        f->state = M_DASH;
      } else if (c != ' ' && c != '\t') {
        return fail(f, GW_FIND_MULTIPART);
      }
      return true;
    case M_DELIM_LF:
      return c == '\n' ? part_begins(f) : fail(f, GW_FIND_MULTIPART);
    case M_DASH:
      f->state = M_EPILOGUE;
      return c == '-' ? true : fail(f, GW_FIND_MULTIPART);
    default:
      return header_byte(f, c);
  }
}

bool gw_multipart_finder_feed(gw_multipart_finder *f, const void *data, size_t n) {
  const char *p = data;
  if (f->error != GW_FIND_OK) {
    return false;
  }
  for (size_t i = 0; i < n;) {
    bool content = f->state == M_BODY || f->state == M_PREAMBLE;
    if (f->state == M_EPILOGUE) {
      f->pos += n - i;
      break;
    }
    if (content && f->matched == 0 && !f->part_is_model && p[i] != '\r') {
      const char *cr = memchr(p + i, '\r', n - i);
      size_t skip = cr ? (size_t)(cr - p) - i : n - i;
      i += skip;
      f->pos += skip;
      continue;
    }
    if (!(content ? body_byte(f, p[i]) : other_byte(f, p[i]))) {
      return false;
    }
    i++;
    f->pos++;
  }
  return true;
}

gw_find_error gw_multipart_finder_finish(gw_multipart_finder *f) {
  if (f->error == GW_FIND_OK && f->state != M_EPILOGUE) {
    f->error = GW_FIND_MULTIPART;
  } else if (f->error == GW_FIND_OK && !f->found) {
    f->error = GW_FIND_MISSING;
  }
  return f->error;
}
