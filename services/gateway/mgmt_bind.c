// Binding: what a client sent becomes the row's request message, or a refusal that names the parameter at fault.
#include "mgmt_bind.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "ecolink/v1/billing.pb-c.h"
#include "ecolink/v1/scheduler.pb-c.h"

// ---- small text ----

static int hex_digit(char c) {
  if (c >= '0' && c <= '9') {
    return c - '0';
  }
  const char lower = (char)(c | 0x20);
  return lower >= 'a' && lower <= 'f' ? lower - 'a' + 10 : -1;
}

char *mgmt_decode(const char *text, size_t len, bool plus, eco_arena *arena, size_t *len_out) {
  char *out = eco_alloc(arena, len + 1);
  size_t n = 0;
  for (size_t i = 0; i < len; i++) {
    if (text[i] == '%') {
      if (i + 2 >= len || hex_digit(text[i + 1]) < 0 || hex_digit(text[i + 2]) < 0) {
        return NULL;
      }
      out[n++] = (char)(unsigned char)(hex_digit(text[i + 1]) * 16 + hex_digit(text[i + 2]));
      i += 2;
    } else {
      out[n] = text[i];
      if (plus && text[i] == '+') {
        out[n] = ' ';
      }
      n++;
    }
  }
  out[n] = '\0';
  *len_out = n;
  return out;
}

static const char *skip_blanks(const char *s) {
  return s + strspn(s, " \t");
}

// Whether a header value's media type (parameters left aside) is this one.
static bool is_media_type(const char *value, const char *media_type) {
  const char *s = skip_blanks(value);
  const size_t len = strcspn(s, ";, \t");
  return len == strlen(media_type) && strncasecmp(s, media_type, len) == 0;
}

bool mgmt_accepts(const char *accept, const char *media_type) {
  for (const char *s = accept; *s != '\0'; s += *s == ',' ? 1 : 0) {
    const size_t len = strcspn(s, ",");
    if (is_media_type(s, media_type)) {
      const char *q = memmem(s, len, ";q=", 3);
      q = q != NULL ? q : memmem(s, len, "; q=", 4);
      if (q == NULL || strtod(strchr(q, '=') + 1, NULL) > 0) {
        return true;
      }
    }
    s += len;
  }
  return false;
}

// ---- who ----

static const char *who_may(unsigned allow) {
  if (allow & ECO_ALLOW_INFERENCE) {
    return "any key";
  }
  if (allow & ECO_ALLOW_MEMBER) {
    return "an owner's or a member's key";
  }
  return allow & ECO_ALLOW_OWNER ? "an owner's key" : "an operator's key";
}

eco_status mgmt_allowed(const rest_row *row, Ecolink__V1__Role role) {
  const unsigned known = eco_allow_bit(role);
  const unsigned bit = known != 0 ? known : ECO_ALLOW_PUBLIC;
  if (row->allow & bit) {
    return eco_success();
  }
  if (bit == ECO_ALLOW_PUBLIC) {
    return eco_error(ECO_UNAUTHORIZED, "send an API key: Authorization: Bearer eco_...");
  }
  return eco_error(ECO_FORBIDDEN, "%s %s takes %s", row->method, row->path, who_may(row->allow));
}

eco_status mgmt_idempotency_key_check(const char *key, unsigned sent) {
  const size_t len = strlen(key);
  if (sent > 1 || (sent == 1 && len == 0)) {
    return eco_error_param(ECO_INVALID_REQUEST, "Idempotency-Key", "send one Idempotency-Key, and not an empty one");
  }
  for (size_t i = 0; i < len; i++) {
    if (key[i] < 0x21 || key[i] > 0x7E) {
      return eco_error_param(ECO_INVALID_REQUEST, "Idempotency-Key",
                             "Idempotency-Key must consist of visible ASCII characters");
    }
  }
  if (len > MGMT_IDEMPOTENCY_KEY_MAX) {
    return eco_error_param(ECO_INVALID_REQUEST, "Idempotency-Key", "Idempotency-Key is longer than %d characters",
                           MGMT_IDEMPOTENCY_KEY_MAX);
  }
  return eco_success();
}

// ---- body ----

static bool body_is_bare(const gw_mgmt_request *request) {
  // Empty, or an empty object as careful clients send it with every POST.
  size_t braces = 0;
  for (size_t i = 0; i < request->body_len; i++) {
    const char c = (char)request->body[i];
    if (strchr(" \t\r\n", c) != NULL && c != '\0') {
      continue;
    }
    if (braces > 1 || c != "{}"[braces]) {
      return false;
    }
    braces++;
  }
  return braces != 1;
}

static eco_status bind_body(const rest_row *row, const gw_mgmt_request *request, const eco_seal_key *seal_key,
                            eco_arena *arena, ProtobufCMessage **out) {
  if (!row->body) {
    *out = eco_alloc(arena, row->request->sizeof_message);
    protobuf_c_message_init(row->request, *out);
    return body_is_bare(request) ? eco_success()
                                 : eco_error(ECO_INVALID_REQUEST, "%s %s takes no body", row->method, row->path);
  }
  if (request->content_type[0] != '\0' && !is_media_type(request->content_type, "application/json")) {
    return eco_error(ECO_UNSUPPORTED_MEDIA_TYPE, "send the body as Content-Type: application/json");
  }
  return eco_json_to_pb((const char *)request->body, request->body_len, row->request, seal_key, arena, out);
}

// ---- path ----

static const char *string_of(const ProtobufCMessage *message, const char *name) {
  const ProtobufCFieldDescriptor *field = protobuf_c_message_descriptor_get_field_by_name(message->descriptor, name);
  if (field == NULL || field->type != PROTOBUF_C_TYPE_STRING) {
    return "";
  }
  const char *value = *(char *const *)(const void *)((const char *)message + field->offset);
  return value == NULL ? "" : value;
}

static eco_status bind_path(const rest_match *match, eco_arena *arena, ProtobufCMessage *message) {
  for (size_t i = 0; i < match->capture_count; i++) {
    const rest_capture *c = &match->captures[i];
    const char *name = eco_strndup(arena, c->name, c->name_len);
    size_t len = 0;
    const char *value = mgmt_decode(c->value, c->value_len, false, arena, &len);
    if (value == NULL) {
      return eco_error_param(ECO_INVALID_REQUEST, name, "the path is not properly percent-encoded");
    }
    const char *in_body = string_of(message, name);
    if (in_body[0] != '\0' && strcmp(in_body, value) != 0) {
      return eco_error_param(ECO_INVALID_REQUEST, name, "%s in the body differs from the path's", name);
    }
    ECO_TRY(eco_pb_set_text(message, name, value, len, arena));
  }
  return eco_success();
}

// ---- query ----

typedef struct query_param {
  const char *name;
  size_t name_len;
  const char *value;
  size_t value_len;
} query_param;

static eco_status decode_query(const char *query, eco_arena *arena, query_param *params, size_t *count) {
  *count = 0;
  for (const char *s = query; *s != '\0'; s += *s == '&' ? 1 : 0) {
    const size_t len = strcspn(s, "&");
    const char *equals = memchr(s, '=', len);
    const size_t name_len = equals == NULL ? len : (size_t)(equals - s);
    if (len == 0) {
      continue;
    }
    if (*count == MGMT_QUERY_PARAMS_MAX) {
      return eco_error(ECO_INVALID_REQUEST, "more than %d query parameters", MGMT_QUERY_PARAMS_MAX);
    }
    query_param *p = &params[*count];
    p->name = mgmt_decode(s, name_len, true, arena, &p->name_len);
    p->value = equals == NULL ? "" : mgmt_decode(equals + 1, len - name_len - 1, true, arena, &p->value_len);
    if (p->name == NULL || p->value == NULL) {
      return eco_error(ECO_INVALID_REQUEST, "the query is not properly percent-encoded");
    }
    for (size_t i = 0; i < *count; i++) {
      if (strcmp(params[i].name, p->name) == 0) {
        return eco_error_param(ECO_INVALID_REQUEST, p->name, "given more than once");
      }
    }
    (*count)++;
    s += len;
  }
  return eco_success();
}

static eco_status take_flag(const query_param *p, bool *out) {
  *out = strcmp(p->value, "true") == 0;
  return *out || strcmp(p->value, "false") == 0
             ? eco_success()
             : eco_error_param(ECO_INVALID_REQUEST, p->name, "%s must be true or false", p->name);
}

static bool follows(rest_extra extra) {
  return extra == REST_FOLLOW_EVENTS || extra == REST_FOLLOW_LOGS;
}

static bool is_path_param(const rest_match *match, const char *name) {
  for (size_t i = 0; i < match->capture_count; i++) {
    if (match->captures[i].name_len == strlen(name) && strncmp(match->captures[i].name, name, strlen(name)) == 0) {
      return true;
    }
  }
  return false;
}

static eco_status bind_query_param(const rest_match *match, const query_param *p, eco_arena *arena, mgmt_bound *out) {
  const rest_row *row = match->row;
  if (strlen(p->name) != p->name_len) {
    return eco_error(ECO_INVALID_REQUEST, "the query is not properly percent-encoded");
  }
  if (row->extra == REST_LAUNCH && strcmp(p->name, "dry_run") == 0) {
    return take_flag(p, &out->quote);
  }
  if (follows(row->extra) && strcmp(p->name, "follow") == 0) {
    return take_flag(p, &out->follow);
  }
  if (row->extra == REST_CSV && strcmp(p->name, "format") == 0) {
    out->csv = strcmp(p->value, "csv") == 0;
    return out->csv || strcmp(p->value, "json") == 0
               ? eco_success()
               : eco_error_param(ECO_INVALID_REQUEST, "format", "format must be csv or json");
  }
  if (row->body || is_path_param(match, p->name) || !eco_pb_has_text_field(row->request, p->name)) {
    return eco_error_param(ECO_INVALID_REQUEST, p->name, "unknown query parameter of %s %s", row->method, row->path);
  }
  // A message cannot tell 0 from absent, where the service takes its default; a client that says 0 is told.
  if (strcmp(p->name, "limit") == 0 && strcmp(p->value, "0") == 0) {
    return eco_error_param(ECO_INVALID_REQUEST, "limit", "limit must be at least 1");
  }
  return eco_pb_set_text(out->message, p->name, p->value, p->value_len, arena);
}

static eco_status bind_query(const rest_match *match, const gw_mgmt_request *request, eco_arena *arena,
                             mgmt_bound *out) {
  query_param params[MGMT_QUERY_PARAMS_MAX] = {0};
  size_t count = 0;
  out->csv = match->row->extra == REST_CSV && mgmt_accepts(request->accept, "text/csv");
  ECO_TRY(decode_query(request->query, arena, params, &count));
  for (size_t i = 0; i < count; i++) {
    ECO_TRY(bind_query_param(match, &params[i], arena, out));
  }
  return eco_success();
}

eco_status mgmt_bind(const rest_match *match, const gw_mgmt_request *request, const eco_seal_key *seal_key,
                     eco_arena *arena, mgmt_bound *out) {
  const rest_row *row = match->row;
  *out = (mgmt_bound){.rpc = row->rpc, .reply = row->reply, .status = row->status};
  ECO_TRY(bind_body(row, request, seal_key, arena, &out->message));
  ECO_TRY(bind_path(match, arena, out->message));
  ECO_TRY(bind_query(match, request, arena, out));
  if (out->csv && ((const Ecolink__V1__ListTransactionsRequest *)(const void *)out->message)->limit != 0) {
    return eco_error_param(ECO_INVALID_REQUEST, "limit", "a CSV export holds every row: leave limit out");
  }
  if (out->quote) {
    out->rpc = "scheduler.Quote";
    out->reply = &ecolink__v1__quote__descriptor;
    out->status = 200;
  }
  return eco_success();
}
