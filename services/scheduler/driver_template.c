// Replacing what a driver alone knows.
#include "driver_template.h"

#include <stdbool.h>
#include <string.h>

#include "ecolink/buf.h"

char *driver_template(eco_arena *arena, const char *text, const driver_vars *vars) {
  const struct {
    const char *name;
    const char *value;
  } table[] = {{"{port}", vars->port}, {"{host}", vars->host}, {"{model}", vars->model}};
  eco_buf out;
  eco_buf_init(&out, DRIVER_ARG_BYTES_MAX);
  bool ok = eco_buf_puts(&out, "");
  while (ok && *text != '\0') {
    size_t used = 0;
    for (size_t i = 0; ok && *text == '{' && i < sizeof(table) / sizeof(table[0]); i++) {
      size_t n = strlen(table[i].name);
      if (strncmp(text, table[i].name, n) == 0) {
        ok = eco_buf_puts(&out, table[i].value);
        used = n;
      }
    }
    if (used == 0) {
      ok = eco_buf_putc(&out, *text);
      used = 1;
    }
    text += used;
  }
  char *result = ok ? eco_strndup(arena, out.data ? out.data : "", out.len) : NULL;
  eco_buf_free(&out);
  return result;
}
