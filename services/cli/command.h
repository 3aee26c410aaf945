// The command table: the one source from which parsing, help, completion and the man page come.
//
// A command is a path of words ("models create"); a row without `run` is a group that only holds others. Most commands
// need no code: a `rest` row says which route they call, options and positionals say where their values go, and the
// view says how the answer is shown.
#ifndef CLI_COMMAND_H
#define CLI_COMMAND_H

#include <stdbool.h>
#include <stddef.h>

enum { CLI_POSITIONALS_MAX = 64 };  // words that one command line may carry

// Exit codes of the program.
enum {
  CLI_EXIT_OK = 0,
  CLI_EXIT_API = 1,           // the API refused
  CLI_EXIT_USAGE = 2,         // the command line is wrong
  CLI_EXIT_UNREACHABLE = 3,   // no answer from the API
  CLI_EXIT_UNAUTHORIZED = 4,  // 401 or 403
  CLI_EXIT_WAIT = 5,          // what was waited for did not happen
  CLI_EXIT_INTERRUPTED = 130,
};

// What a value is: checked when parsed, and how it becomes JSON.
typedef enum cli_kind {
  CLI_TEXT,    // string
  CLI_FLAG,    // present: true
  CLI_NOT,     // present: false in the body
  CLI_INT,     // whole number
  CLI_NUMBER,  // decimal number
  CLI_MONEY,   // dollars, sent as a decimal string
  CLI_TIME,    // RFC 3339, or a span from now such as 30d, 12h
  CLI_LIST,    // may be repeated: array of strings
  CLI_WORDS,   // may be repeated, and each value split at commas: array of strings
  CLI_MAP,     // NAME=VALUE, or NAME to take the value from the environment; may be repeated: object
  CLI_ROOM,    // TYPE=COUNT; may be repeated: array of {gpu_type, total}
  CLI_SECRET,  // path of a file that holds the value, or - for standard input: string
  CLI_JSON,    // path of a file that holds a JSON object, or - for standard input: that object
} cli_kind;

typedef enum cli_place {
  CLI_LOCAL,  // read by the command itself
  CLI_PATH,   // positionals: {name} in the route
  CLI_QUERY,
  CLI_BODY,
} cli_place;

// Names of things that may be given instead of their ids.
typedef enum cli_ref {
  CLI_REF_NONE,
  CLI_REF_MODEL,
  CLI_REF_FILESYSTEM,
  CLI_REF_KEY,
  CLI_REF_ACCOUNT,
  CLI_REF_INSTANCE,  // 142 or my-llama:142
} cli_ref;

typedef struct cli_option {
  const char *name;  // long form, without dashes
  char letter;       // short form; 0: none
  cli_kind kind;
  cli_place place;
  const char *field;  // member of the body or of the query; NULL: the name with _ for -
  const char *value;  // its name in help; NULL for flags
  const char *help;
  const char *words;  // comma-separated: what completion offers, not a limit
  cli_ref ref;
  bool required;
} cli_option;
#define CLI_OPTION_END \
  { .name = NULL }

typedef struct cli_positional {
  const char *name;  // its name in help and, for CLI_PATH, in the route
  cli_place place;
  const char *field;  // CLI_BODY, CLI_QUERY; NULL: the name
  const char *help;
  const char *words;
  cli_kind kind;
  cli_ref ref;
  bool optional;
  bool rest;    // takes all that remain (the last one only)
  bool dashed;  // a rest that is filled from behind "--" alone
} cli_positional;

struct cli_app;
struct cli_view;
typedef int (*cli_run_fn)(struct cli_app *app);

typedef struct cli_command {
  const char *path;
  const char *summary;  // one line
  const char *details;  // paragraphs for --help and the man page; NULL: none
  const char *example;  // lines; NULL: none
  const cli_positional *positionals;
  const cli_option *options;
  cli_run_fn run;  // NULL: a group
  // For commands that are one call (run == cli_run_rest), and as defaults for others:
  const char *method;
  const char *route;
  const struct cli_view *view;
  bool hidden;
} cli_command;

extern const cli_command cli_commands[];       // ends with a row whose path is NULL
extern const cli_option cli_global_options[];  // accepted by every command

// The command of exactly this path; NULL when there is none.
const cli_command *cli_command_find(const char *path);
// Whether `command` lies directly below the group of this path ("" is the root).
bool cli_command_is_child(const cli_command *command, const char *group);
const char *cli_command_word(const cli_command *command);  // last word of its path
const cli_option *cli_option_find(const cli_command *command, const char *name, size_t len);
const cli_option *cli_option_find_letter(const cli_command *command, char letter);
bool cli_option_takes_value(const cli_option *option);
bool cli_option_repeats(const cli_option *option);

#endif
