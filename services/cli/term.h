// The terminal: whether there is one, how wide, and writing to it without letting foreign text drive it.
#ifndef CLI_TERM_H
#define CLI_TERM_H

#include <signal.h>
#include <stdbool.h>
#include <stddef.h>

// Set by SIGINT after cli_term_catch_interrupt; cleared by whoever has dealt with it.
extern volatile sig_atomic_t cli_interrupted;
void cli_term_catch_interrupt(void);

bool cli_term_is_tty(int fd);
int cli_term_width(int fd);  // 0: no terminal, no limit
bool cli_term_colour(int fd, bool no_color);
// Writes text of others. On a terminal control characters except line end and tab are left out (`raw`: not even then).
void cli_term_write(int fd, const char *text, size_t len, bool raw);
// Asks on the terminal with echo off; false at the end of input. The answer is cut at `size`.
bool cli_term_ask_secret(const char *prompt, char *out, size_t size);

#endif
