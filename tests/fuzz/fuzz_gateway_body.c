// Fuzzes the model finders and the readers of answers. Each reads the same at every split; what a finder found lies
// where it says, and replacing it leaves a body in which the replacement is found.
#include <stdlib.h>
#include <string.h>

#include "model_finder.h"
#include "multipart_finder.h"
#include "sse.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char FORM[] = "multipart/form-data; boundary=b";
static const char NAME[] = "other:7";

static void require(bool ok) {
  if (!ok) {
    abort();
  }
}

static gw_find_error read_json(gw_model_finder *f, const char *p, size_t n, size_t cut) {
  gw_model_finder_init(f);
  return gw_model_finder_feed(f, p, cut) && gw_model_finder_feed(f, p + cut, n - cut) ? gw_model_finder_finish(f)
                                                                                      : f->error;
}

static gw_find_error read_form(gw_multipart_finder *f, const char *p, size_t n, size_t cut) {
  require(gw_multipart_finder_init(f, FORM, sizeof FORM - 1));
  return gw_multipart_finder_feed(f, p, cut) && gw_multipart_finder_feed(f, p + cut, n - cut)
             ? gw_multipart_finder_finish(f)
             : f->error;
}

static char *replaced(const char *p, size_t n, uint64_t start, uint64_t end, const char *with, size_t *len) {
  const size_t w = strlen(with);
  require(start <= end && end <= n);
  *len = n - (size_t)(end - start) + w;
  char *out = malloc(*len + 1);
  memcpy(out, p, (size_t)start);
  memcpy(out + start, with, w);
  memcpy(out + start + w, p + end, n - (size_t)end);
  return out;
}

static void try_json(const char *p, size_t n, size_t cut) {
  gw_model_finder whole;
  gw_model_finder split;
  const gw_find_error error = read_json(&whole, p, n, 0);
  require(read_json(&split, p, n, cut) == error && split.found == whole.found && split.name_len == whole.name_len);
  if (error != GW_FIND_OK) {
    return;
  }
  require(p[whole.value_start] == '"' && p[whole.value_end - 1] == '"');
  size_t len = 0;
  char *edited = replaced(p, n, whole.value_start, whole.value_end, "\"other:7\"", &len);
  require(read_json(&split, edited, len, cut < len ? cut : len) == GW_FIND_OK);
  require(split.name_len == sizeof NAME - 1 && memcmp(split.name, NAME, split.name_len) == 0);
  free(edited);
}

static void try_form(const char *p, size_t n, size_t cut) {
  gw_multipart_finder whole;
  gw_multipart_finder split;
  const gw_find_error error = read_form(&whole, p, n, 0);
  require(read_form(&split, p, n, cut) == error && split.found == whole.found);
  if (error != GW_FIND_OK) {
    return;
  }
  require(split.name_len == whole.name_len && memcmp(split.name, whole.name, whole.name_len) == 0);
  require(whole.value_end - whole.value_start == whole.name_len);
  require(memcmp(p + whole.value_start, whole.name, whole.name_len) == 0);
  if (whole.name_len == 0) {
    return;  // names no instance: such a request is refused, nothing is replaced. Its CRLF may be the headers' own
  }
  size_t len = 0;
  char *edited = replaced(p, n, whole.value_start, whole.value_end, NAME, &len);
  require(read_form(&split, edited, len, cut < len ? cut : len) == GW_FIND_OK);
  require(split.name_len == sizeof NAME - 1 && memcmp(split.name, NAME, split.name_len) == 0);
  free(edited);
}

static void try_type(const char *p, size_t n) {
  gw_multipart_finder f;
  if (gw_multipart_finder_init(&f, p, n)) {
    require(f.delim_len > 4 && f.delim_len <= sizeof f.delim);
  }
}

static void try_stream(const char *p, size_t n, size_t cut) {
  gw_sse whole;
  gw_sse split;
  gw_sse_init(&whole);
  gw_sse_init(&split);
  const size_t end = gw_sse_feed(&whole, p, n);
  const size_t first = gw_sse_feed(&split, p, cut);
  const size_t second = gw_sse_feed(&split, p + cut, n - cut);
  require(end <= n && first <= cut && second <= n - cut);
  require((second > 0 ? cut + second : first) == end);
  require(whole.content == split.content && whole.events == split.events && whole.done == split.done &&
          whole.walk.prompt_tokens == split.walk.prompt_tokens &&
          whole.walk.completion_tokens == split.walk.completion_tokens);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  if (size < 2) {
    return 0;
  }
  const char *p = (const char *)data + 2;
  const size_t n = size - 2;
  const size_t cut = n == 0 ? 0 : data[1] * n / 255;
  switch (data[0] & 3) {
    case 0:
      try_json(p, n, cut);
      break;
    case 1:
      try_form(p, n, cut);
      break;
    case 2:
      try_stream(p, n, cut);
      break;
    default:
      try_type(p, n);
  }
  return 0;
}
