// The event stream reader; see sse.h.
#include "sse.h"

#include <string.h>

enum { E_FIELD, E_SKIP, E_DATA_START, E_DATA, E_EVENT };
static const char DONE[] = "[DONE]";

void gw_sse_init(gw_sse *s) {
  memset(s, 0, sizeof *s);
  gw_json_walk_init(&s->walk);
  s->line_empty = true;
}

static void event_end(gw_sse *s) {
  if (s->data) {
    s->events++;
    s->done = s->done || s->done_match == sizeof DONE - 1;
    s->content = s->content || s->walk.content || s->odd;
  }
  s->data = false;
  s->odd = false;
  s->done_match = 0;
  gw_json_walk_next(&s->walk);
}

// True when the line that ends here ends an event.
static bool line_end(gw_sse *s) {
  bool blank = s->line_empty;
  if (s->state == E_DATA || s->state == E_DATA_START) {
    gw_json_walk_feed(&s->walk, "\n", 1);
  }
  s->state = E_FIELD;
  s->field_len = 0;
  s->line_empty = true;
  if (blank) {
    event_end(s);
  }
  return blank;
}

static void field_byte(gw_sse *s, char c) {
  if (c != ':') {
    if (s->field_len < sizeof s->field) {
      s->field[s->field_len++] = c;
    } else {
      s->state = E_SKIP;
    }
    return;
  }
  s->state = E_SKIP;
  if (s->field_len == 4 && memcmp(s->field, "data", 4) == 0) {
    s->state = E_DATA_START;
  } else if (s->field_len == 5 && memcmp(s->field, "event", 5) == 0) {
    s->state = E_EVENT;
    s->field_len = 0;
  }
}

static void data_first(gw_sse *s, char c) {
  s->state = E_DATA;
  if (!s->data) {
    s->data = true;
    s->odd = c != '{';
    s->done_match = 0;
  }
}

static void data_bytes(gw_sse *s, const char *p, size_t n) {
  if (s->odd && s->done_match < sizeof DONE) {
    for (size_t i = 0; i < n && s->done_match < sizeof DONE; i++) {
      bool same = s->done_match < sizeof DONE - 1 && p[i] == DONE[s->done_match];
      s->done_match = same ? (uint8_t)(s->done_match + 1) : (uint8_t)sizeof DONE;
    }
  } else if (!s->odd) {
    gw_json_walk_feed(&s->walk, p, n);
  }
}

static size_t line_bytes(const char *p, size_t n) {
  size_t i = 0;
  while (i < n && p[i] != '\n' && p[i] != '\r') {
    i++;
  }
  return i;
}

static void event_name(gw_sse *s, const char *p, size_t n) {
  for (size_t i = 0; i < n; i++) {
    if (s->field_len == 0 && p[i] == ' ') {
      continue;
    }
    if (s->field_len < sizeof s->field) {
      s->field[s->field_len++] = p[i];
    }
  }
  s->error = s->error || (s->field_len == 5 && memcmp(s->field, "error", 5) == 0);
}

size_t gw_sse_feed(gw_sse *s, const void *data, size_t n) {
  const char *p = data;
  size_t complete = 0;
  for (size_t i = 0; i < n;) {
    char c = p[i];
    if (s->last_cr && c == '\n') {
      s->last_cr = false;
      i++;
      complete = s->event_cr ? i : complete;
      continue;
    }
    s->last_cr = c == '\r';
    if (c == '\n' || c == '\r') {
      i++;
      s->event_cr = line_end(s);
      complete = s->event_cr ? i : complete;
      continue;
    }
    s->line_empty = false;
    size_t run = 1;
    switch (s->state) {
      case E_FIELD:
        field_byte(s, c);
        break;
      case E_DATA_START:
        if (c == ' ') {
          s->state = E_DATA;
          break;
        }
        // fall through
      case E_DATA:
        if (!s->data) {
          data_first(s, c);
        }
        s->state = E_DATA;
        run = line_bytes(p + i, n - i);
        data_bytes(s, p + i, run);
        break;
      case E_EVENT:
        run = line_bytes(p + i, n - i);
        event_name(s, p + i, run);
        break;
      default:
        run = line_bytes(p + i, n - i);
    }
    i += run;
  }
  return complete;
}

// A line that is under way is ended first; behind a complete one an empty line would end the event, under its own name.
// (A CR at the end leaves open whether an LF follows: "event" goes on in either case.) `[` and a bare word are no JSON
// at any place between tokens, and the line end before them is none within a string.
#define BREAK "event: error\ndata: [INCOMPLETE]\n\n"
const char *gw_sse_break(const gw_sse *s) {
  static const char WITH_LINE_END[] = "\n" BREAK;
  _Static_assert(sizeof WITH_LINE_END <= GW_SSE_BREAK_MAX, "as promised");
  return s->line_empty ? WITH_LINE_END + 1 : WITH_LINE_END;
}
#undef BREAK
