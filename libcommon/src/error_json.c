// OpenAI's error object from an eco_status.
#include "ecolink/error_json.h"

#include <string.h>

enum { REQUEST_ID_MAX = 128 };

static bool put_member(eco_buf *out, const char *name, const char *value) {
  return eco_buf_printf(out, "\"%s\":", name) && eco_buf_json_string(out, value, strlen(value));
}

bool eco_error_json(eco_buf *out, eco_status st, const char *request_id) {
  const eco_code code = eco_ok(st) ? ECO_INTERNAL : st.code;
  bool ok = eco_buf_puts(out, "{\"error\":{") && put_member(out, "message", st.message) && eco_buf_putc(out, ',') &&
            put_member(out, "type", eco_code_type(code)) && eco_buf_putc(out, ',') &&
            put_member(out, "code", eco_code_word(code));
  if (st.param[0] != '\0') {
    ok = ok && eco_buf_putc(out, ',') && put_member(out, "param", st.param);
  } else {
    ok = ok && eco_buf_puts(out, ",\"param\":null");
  }
  if (request_id != NULL && request_id[0] != '\0') {
    ok = ok && eco_buf_puts(out, ",\"request_id\":") &&
         eco_buf_json_string(out, request_id, strnlen(request_id, REQUEST_ID_MAX));
  }
  return ok && eco_buf_puts(out, "}}");
}
