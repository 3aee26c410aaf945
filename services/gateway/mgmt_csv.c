// Transactions as CSV lines.
#include "mgmt_csv.h"

#include <ctype.h>
#include <inttypes.h>
#include <string.h>

#include "ecolink/clock.h"
#include "ecolink/money.h"

bool mgmt_csv_header(eco_buf *out) {
  return eco_buf_puts(out, "id,created_at,type,amount,balance_after,description,instance_id,sequence\r\n");
}

bool mgmt_csv_text(eco_buf *out, const char *text) {
  // A description comes from people: a spreadsheet must show it, never run it (OWASP, CSV injection).
  const bool formula = text[0] != '\0' && strchr("=+-@\t\r", text[0]) != NULL;
  const bool quoted = strpbrk(text, ",\"\r\n") != NULL;
  bool ok = (!quoted || eco_buf_putc(out, '"')) && (!formula || eco_buf_putc(out, '\''));
  for (const char *c = text; ok && *c != '\0'; c++) {
    ok = (*c != '"' || eco_buf_putc(out, '"')) && eco_buf_putc(out, *c);
  }
  return ok && (!quoted || eco_buf_putc(out, '"'));
}

static bool put_money(eco_buf *out, const Ecolink__V1__Money *m) {
  if (m == NULL) {
    return true;
  }
  char text[ECO_MONEY_TEXT_MAX];
  eco_money_format(m->micros, text);
  return eco_buf_puts(out, text);
}

static bool put_time(eco_buf *out, const Ecolink__V1__Timestamp *t) {
  if (t == NULL) {
    return true;
  }
  char text[ECO_RFC3339_MAX];
  eco_rfc3339_format(t->micros, text);
  return eco_buf_puts(out, text);
}

static bool put_type(eco_buf *out, Ecolink__V1__TransactionType type) {
  static const char PREFIX[] = "TRANSACTION_TYPE_";
  const ProtobufCEnumValue *value =
      type == 0 ? NULL : protobuf_c_enum_descriptor_get_value(&ecolink__v1__transaction_type__descriptor, (int)type);
  bool ok = true;
  for (const char *c = value == NULL ? "" : value->name + sizeof PREFIX - 1; ok && *c != '\0'; c++) {
    ok = eco_buf_putc(out, (char)tolower((unsigned char)*c));
  }
  return ok;
}

bool mgmt_csv_row(eco_buf *out, const Ecolink__V1__Transaction *t) {
  bool ok = mgmt_csv_text(out, t->id) && eco_buf_putc(out, ',') && put_time(out, t->created_at) &&
            eco_buf_putc(out, ',') && put_type(out, t->type) && eco_buf_putc(out, ',') && put_money(out, t->amount) &&
            eco_buf_putc(out, ',') && put_money(out, t->balance_after) && eco_buf_putc(out, ',') &&
            mgmt_csv_text(out, t->description) && eco_buf_putc(out, ',');
  if (t->instance_case == ECOLINK__V1__TRANSACTION__INSTANCE_INSTANCE_ID) {
    ok = ok && eco_buf_printf(out, "%" PRId64, t->instance_id);
  }
  return ok && eco_buf_printf(out, ",%" PRId64 "\r\n", t->sequence);
}
