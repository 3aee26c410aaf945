// Showing and streaming answers, for several commands.
#ifndef CLI_REST_H
#define CLI_REST_H

#include "app.h"
#include "view.h"

void cli_print_sheet(cli_app *app, const cli_view *view, yyjson_val *object);
// Copies the answer to standard output as it comes.
int cli_stream_raw(cli_app *app, const char *path, const char *accept);
// Reads an event stream; fn gets each event's JSON. An `error` event is told and ends with its exit code; `end` ends
// it.
typedef bool (*cli_event_fn)(cli_app *app, void *arg, yyjson_val *data, const char *text, size_t len);
int cli_stream_events(cli_app *app, const char *path, int timeout_s, cli_event_fn fn, void *arg);
// Follows a restart until every replica is Ready anew. instance: as the restart answered.
int cli_restart_wait(cli_app *app, yyjson_val *instance);

#endif
