// The one place that writes an error body: OpenAI's object, which every HTTP answer of the suite uses.
//
//   {"error":{"message":"...","type":"...","code":"...","param":null,"request_id":"..."}}
//
// Pure, any thread. The HTTP status that belongs to it is eco_code_http(st.code).
#ifndef ECOLINK_ERROR_JSON_H
#define ECOLINK_ERROR_JSON_H

#include <stdbool.h>

#include "ecolink/buf.h"
#include "ecolink/status.h"

// Enough for the longest message and param with every byte escaped: a buffer of this maximum never refuses.
enum { ECO_ERROR_JSON_MAX = 6 * (ECO_STATUS_MESSAGE_MAX + ECO_STATUS_PARAM_MAX) + 1024 };

// Appends the body. `request_id` may be NULL or "": the member is left out then; it is cut at 128 bytes. A success is a
// bug of the caller and is written as `internal`. False when the buffer's maximum was reached.
bool eco_error_json(eco_buf *out, eco_status st, const char *request_id);

#endif
