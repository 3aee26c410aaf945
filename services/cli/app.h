// What a running command has in hand: its arguments, the gateway, the terminal, and one arena for everything.
#ifndef CLI_APP_H
#define CLI_APP_H

#include <yyjson.h>

#include "args.h"
#include "ecolink/arena.h"
#include "ecolink/buf.h"
#include "http.h"
#include "profile.h"

typedef struct cli_app {
  cli_args args;
  cli_profile profile;
  cli_http *http;
  eco_arena *arena;
  bool json;
  bool colour;      // on standard output
  bool colour_err;  // on standard error
  int width;        // of standard output; 0: no terminal
} cli_app;

// The program: parses, runs, returns the exit code.
int cli_main(int argc, char **argv);

#endif
