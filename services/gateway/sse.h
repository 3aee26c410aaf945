// Reads a server-sent event stream on its way to the client: where events end, when real content begins, what `usage`
// says. Pure, resumable at any byte. https://html.spec.whatwg.org/multipage/server-sent-events.html
#ifndef GATEWAY_SSE_H
#define GATEWAY_SSE_H

#include "json_walk.h"

typedef struct gw_sse {
  gw_json_walk walk;
  bool content;  // an event that is more than a role chunk was completed (or is too odd to judge)
  bool done;     // "data: [DONE]" was seen
  bool odd;      // this event's data is not a JSON object
  bool data;     // this event has data
  bool error;    // the engine sent an event named "error"
  uint8_t state;
  bool line_empty;
  bool last_cr;       // the last byte was CR: an LF that follows belongs to it
  bool event_cr;      // ... and that CR ended an event
  uint8_t field_len;  // of field[]; 255: longer than any that matters
  char field[8];
  uint8_t done_match;
  uint64_t events;
} gw_sse;

void gw_sse_init(gw_sse *s);
// Reads n bytes. Returns how many of them lie before the end of the last event that they complete (0: none ends here),
// so that [0, result) can go out and the rest is a partial event.
size_t gw_sse_feed(gw_sse *s, const void *data, size_t n);

// What ends a partial event of which everything has been passed on, when no more of it will come. Its client has it in
// memory, and nothing in the format takes it back: the next blank line dispatches it, whole or not. So that it is not
// taken for what it was going to be, it gets the name `error` and a last line of data that makes it no JSON, wherever
// it broke off. Constant; at most GW_SSE_BREAK_MAX bytes.
enum { GW_SSE_BREAK_MAX = 64 };
const char *gw_sse_break(const gw_sse *s);

#endif
