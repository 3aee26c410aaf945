// Calls of the API as commands use them: errors are told to the user here, once, with what to do next.
#ifndef CLI_API_H
#define CLI_API_H

#include "app.h"

typedef struct cli_reply {
  yyjson_doc *doc;   // NULL when the answer was empty or no JSON
  yyjson_val *root;  // of doc
  cli_answer answer;
} cli_reply;

// Calls and keeps the answer. body may be NULL. Returns the exit code: anything but CLI_EXIT_OK has been told on
// standard error. With a 2xx *reply is filled and freed by cli_reply_free; else it is empty.
int cli_api_call(cli_app *app, const char *method, const char *path, yyjson_mut_doc *body, cli_reply *reply);
// Like it, but tells nothing: *st and reply->answer say what happened (for polling).
int cli_api_try(cli_app *app, const char *method, const char *path, yyjson_mut_doc *body, cli_reply *reply,
                eco_status *st);
void cli_reply_free(cli_reply *reply);

// Tells a failed transport or an error answer; returns the exit code.
int cli_api_tell_transport(cli_app *app, eco_status st);
int cli_api_tell_error(cli_app *app, const cli_answer *answer);
// An error object as it comes inside a stream ({"error":{...}}).
int cli_api_tell_error_json(cli_app *app, yyjson_val *root, const cli_answer *answer);
int cli_exit_of_status(long http_status);

// Prints the answer as it came, with a line end.
void cli_api_print_raw(const cli_reply *reply);
// The path with {names} from the command's positionals (resolved and percent-encoded) and the query from its options;
// NULL: an error was told, *exit_code says which.
const char *cli_api_path(cli_app *app, const char *route, int *exit_code);
const char *cli_api_encode(eco_arena *arena, const char *text);  // percent-encoding of a path segment or query value
const char *cli_api_add_query(eco_arena *arena, const char *path, const char *name, const char *value);

// Tells a usage error and returns CLI_EXIT_USAGE.
int cli_usage_error(cli_app *app, eco_status st);

// The i-th code of the error list that this program knows what to do about; NULL beyond the last.
const char *cli_api_hint_code(size_t i);

#endif
