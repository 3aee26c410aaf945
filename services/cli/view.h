// How answers are shown: a view names the columns of an object, the renderer makes a table of a list and a sheet of a
// single object.
#ifndef CLI_VIEW_H
#define CLI_VIEW_H

#include <stdbool.h>
#include <stdint.h>
#include <yyjson.h>

#include "ecolink/arena.h"
#include "ecolink/buf.h"

typedef enum cli_form {
  CLI_AS_TEXT,
  CLI_AS_NUMBER,
  CLI_AS_USD,         // the decimal string of dollars
  CLI_AS_USD_MICROS,  // an integer of micro-dollars
  CLI_AS_RATE,        // dollars an hour, from micro-dollars
  CLI_AS_TIME,
  CLI_AS_AGE,
  CLI_AS_BOOL,
  CLI_AS_STATUS,    // painted by what it means
  CLI_AS_SEVERITY,  // likewise
  CLI_AS_SPAN,      // seconds
  CLI_AS_BYTES,
  CLI_AS_MILLIS,    // microseconds, as milliseconds
  CLI_AS_READY,     // ready_replicas/total_replicas of the object itself
  CLI_AS_REPLICAS,  // an array of replicas
  CLI_AS_ROOM,      // an array of {gpu_type, total, free}
  CLI_AS_LIST,      // an array of strings
  CLI_AS_ONCE,      // a secret that is shown this once
} cli_form;

typedef struct cli_column {
  const char *title;
  const char *field;  // may lead into objects: "account.id"
  cli_form form;
  bool detail;  // on the sheet of one object alone
} cli_column;

typedef struct cli_view {
  const char *empty;  // said instead of an empty table
  cli_column columns[24];
} cli_view;

extern const cli_view cli_view_models, cli_view_filesystems, cli_view_instances, cli_view_quote, cli_view_events,
    cli_view_keys, cli_view_balance, cli_view_transactions, cli_view_usage, cli_view_notices, cli_view_members,
    cli_view_invite, cli_view_invite_accepted, cli_view_regions, cli_view_gpu_types, cli_view_platform_models,
    cli_view_operators, cli_view_accounts, cli_view_account_created, cli_view_corrections;

// rows: JSON objects. width as in table.h.
bool cli_view_table(const cli_view *view, yyjson_val *const *rows, size_t count, int64_t now_us, int width, bool colour,
                    eco_buf *out);
// Whether the object holds a secret that this view shows, and that will not be shown again.
bool cli_view_shows_secret(const cli_view *view, yyjson_val *object);
bool cli_view_sheet(const cli_view *view, yyjson_val *object, int64_t now_us, bool colour, eco_buf *out);

#endif
