// A resumable walk over an engine's JSON (an answer's body, or one SSE event's data) that notices two things: token
// counts in `usage`, and whether there is real content. Pure; never fails: what it does not understand it stops
// reading.
#ifndef GATEWAY_JSON_WALK_H
#define GATEWAY_JSON_WALK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { GW_WALK_DEPTH = 128, GW_WALK_IDS = 8, GW_WALK_KEY = 24 };

typedef struct gw_json_walk {
  int64_t prompt_tokens;      // -1: not seen
  int64_t completion_tokens;  // -1
  bool content;               // a non-empty text, tool call, finish reason or error was seen
  uint8_t state;
  bool escape;
  bool dead;  // not JSON, or too deep
  uint8_t depth;
  uint8_t mark_depth;        // inside a container whose every scalar is content (tool_calls, error); 0: not
  uint8_t key_len;           // of key[]; > GW_WALK_KEY: longer than any that matters
  uint8_t id;                // what the present key means
  uint8_t ids[GW_WALK_IDS];  // keys of the enclosing containers by depth
  uint8_t number_digits;
  int64_t number;
  uint64_t arrays[GW_WALK_DEPTH / 64];  // bit set: the container at this depth is an array
  char key[GW_WALK_KEY];
} gw_json_walk;

void gw_json_walk_init(gw_json_walk *w);  // forgets everything
void gw_json_walk_next(gw_json_walk *w);  // a new document; token counts and `content` are kept
void gw_json_walk_feed(gw_json_walk *w, const void *data, size_t n);

#endif
