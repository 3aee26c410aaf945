// A growable byte buffer that is created with its maximum, so that no input grows memory without bound.
//
//   eco_buf b; eco_buf_init(&b, MAX); ... eco_buf_append(...) == false means "would pass the maximum": nothing was
//   added. data[0 .. len) is valid; data[len] is always a NUL once something was appended.
#ifndef ECOLINK_BUF_H
#define ECOLINK_BUF_H

#include <stdbool.h>
#include <stddef.h>

typedef struct eco_buf {
  char *data;
  size_t len;
  size_t cap;
  size_t max;
} eco_buf;

void eco_buf_init(eco_buf *b, size_t max);
void eco_buf_free(eco_buf *b);  // also resets to empty with the same maximum
bool eco_buf_append(eco_buf *b, const void *p, size_t n);
bool eco_buf_puts(eco_buf *b, const char *s);
bool eco_buf_putc(eco_buf *b, char c);
bool eco_buf_printf(eco_buf *b, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
// Appends s as a JSON string with its quotes; invalid UTF-8 bytes become U+FFFD.
bool eco_buf_json_string(eco_buf *b, const char *s, size_t n);
void eco_buf_reset(eco_buf *b);  // len = 0, keeps memory

#endif
