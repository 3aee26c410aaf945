// Finds the form field `model` of a multipart/form-data body while it streams past. Pure, resumable at any byte.
// Same use, offsets and errors as model_finder.h; [value_start, value_end) is the field's bytes.
#ifndef GATEWAY_MULTIPART_FINDER_H
#define GATEWAY_MULTIPART_FINDER_H

#include "model_finder.h"

typedef struct gw_multipart_finder {
  uint64_t pos;
  uint64_t value_start;
  uint64_t value_end;
  uint8_t state;
  uint8_t delim_len;  // of "\r\n--<boundary>"
  uint8_t matched;    // bytes of the delimiter matched so far
  uint8_t parts;
  bool found;
  bool part_is_model;
  bool part_has_disposition;
  gw_find_error error;
  uint16_t header_bytes;  // of this part
  uint16_t line_len;
  uint16_t name_len;
  char delim[4 + GW_BOUNDARY_MAX];
  char line[GW_PART_LINE_MAX];
  char name[GW_MODEL_MAX];
} gw_multipart_finder;

// Takes the boundary from a Content-Type value. False when it is not multipart/form-data with a valid boundary.
bool gw_multipart_finder_init(gw_multipart_finder *f, const char *content_type, size_t n);
bool gw_multipart_finder_feed(gw_multipart_finder *f, const void *data, size_t n);
gw_find_error gw_multipart_finder_finish(gw_multipart_finder *f);

#endif
