// Lists: pages of the API joined into one, and shown.
#ifndef CLI_LIST_H
#define CLI_LIST_H

#include "app.h"
#include "view.h"

// Walks `path` (without limit and cursor) and shows it: as a table, or with --json as the API's list object. `all`:
// every page. keep: which rows are shown; NULL: all. Returns the exit code.
int cli_list_show(cli_app *app, const char *path, const cli_view *view, bool all, bool (*keep)(yyjson_val *row));

#endif
