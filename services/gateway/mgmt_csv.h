// The ledger as CSV (RFC 4180: CRLF, quotes where needed). Pure.
#ifndef GATEWAY_MGMT_CSV_H
#define GATEWAY_MGMT_CSV_H

#include <stdbool.h>

#include "ecolink/buf.h"
#include "ecolink/v1/billing.pb-c.h"

// Each appends one line; false when the buffer's maximum was reached.
bool mgmt_csv_header(eco_buf *out);
bool mgmt_csv_row(eco_buf *out, const Ecolink__V1__Transaction *t);
// One field of text: quoted where needed, and with an apostrophe before what a spreadsheet would take for a formula.
bool mgmt_csv_text(eco_buf *out, const char *text);

#endif
