// Waiting for an instance, with its progress on standard error.
#ifndef CLI_WAIT_H
#define CLI_WAIT_H

#include "api.h"

typedef enum cli_wait_for {
  CLI_WAIT_RUNNING,  // it answers: one replica is enough
  CLI_WAIT_READY,    // every replica is ready
  CLI_WAIT_STOPPED,
} cli_wait_for;

// The word for it, as `--for` takes it; and back: false when there is no such word.
const char *cli_wait_word(cli_wait_for what);
bool cli_wait_parse(const char *word, cli_wait_for *out);

// Whether the wait is over in this state: 1 it happened, -1 it cannot happen any more, 0 go on. Pure. `all_ready`: each
// replica of the instance is ready.
int cli_wait_judge(cli_wait_for what, const char *status, bool all_ready);

// Polls until it happens (CLI_EXIT_OK), cannot (CLI_EXIT_WAIT), or --wait-timeout is over (CLI_EXIT_WAIT). *reply_out,
// when not NULL and CLI_EXIT_OK or CLI_EXIT_WAIT, is the last answer; freed by the caller (it may be empty).
int cli_wait_instance(cli_app *app, const char *id, cli_wait_for what, cli_reply *reply_out);

// The lines of the display. Pure: elapsed in seconds, lines end with '\n'.
bool cli_wait_frame(yyjson_val *instance, int64_t elapsed_s, int width, bool colour, eco_buf *out);

#endif
