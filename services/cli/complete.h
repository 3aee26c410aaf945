// Completion: which words may come next, and the scripts by which shells ask. Pure.
#ifndef CLI_COMPLETE_H
#define CLI_COMPLETE_H

#include "command.h"
#include "ecolink/buf.h"

// words: the command line so far without the program; the last one is being typed (may be ""). One line per candidate:
// "<word>\t<explanation>"; the line ":files" asks the shell for file names.
bool cli_complete_write(const char *const *words, size_t count, eco_buf *out);
// NULL: no such shell.
const char *cli_complete_script(const char *shell);

#endif
