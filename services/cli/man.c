// The manual page.
#include <stdio.h>
#include <string.h>

#include "help.h"

// Escapes what man(7) would read: backslashes, dashes of options, a dot or apostrophe at the beginning of a line.
static bool put_roff(eco_buf *out, const char *text) {
  bool ok = true;
  for (const char *p = text; ok && *p != '\0'; p++) {
    bool line_start = p == text || p[-1] == '\n';
    if (line_start && (*p == '.' || *p == '\'')) {
      ok = eco_buf_puts(out, "\\&");
    }
    ok = ok && (*p == '\\' ? eco_buf_puts(out, "\\e") : *p == '-' ? eco_buf_puts(out, "\\-") : eco_buf_putc(out, *p));
  }
  return ok;
}

static bool put_line(eco_buf *out, const char *macro, const char *text) {
  return eco_buf_puts(out, macro) && put_roff(out, text) && eco_buf_putc(out, '\n');
}

static bool put_options(eco_buf *out, const cli_option *options) {
  bool ok = true;
  for (const cli_option *o = options; ok && o != NULL && o->name != NULL; o++) {
    ok = eco_buf_puts(out, ".TP\n");
    if (o->letter != '\0') {
      ok = ok && eco_buf_printf(out, "\\fB\\-%c\\fR, ", o->letter);
    }
    ok = ok && eco_buf_puts(out, "\\fB\\-\\-") && put_roff(out, o->name) && eco_buf_puts(out, "\\fR");
    if (cli_option_takes_value(o)) {
      ok = ok && eco_buf_puts(out, " \\fI") && put_roff(out, o->value) && eco_buf_puts(out, "\\fR");
    }
    ok = ok && eco_buf_putc(out, '\n') && put_line(out, "", o->help);
  }
  return ok;
}

static bool put_command(eco_buf *out, const cli_command *c) {
  eco_buf usage;
  eco_buf_init(&usage, 1024);
  bool ok = cli_usage_write(c, &usage) && put_line(out, ".SS ", usage.data) && put_line(out, "", c->summary) &&
            eco_buf_puts(out, ".br\n");
  eco_buf_free(&usage);
  if (c->details != NULL) {
    ok = ok && put_line(out, ".PP\n", c->details);
  }
  for (const cli_positional *p = c->positionals; ok && p != NULL && p->name != NULL; p++) {
    ok = eco_buf_puts(out, ".TP\n\\fI") && put_roff(out, p->name) && eco_buf_puts(out, "\\fR\n") &&
         put_line(out, "", p->help);
  }
  ok = ok && put_options(out, c->options);
  if (c->example != NULL) {
    ok = ok && eco_buf_puts(out, ".PP\n.EX\n") && put_roff(out, c->example) && eco_buf_puts(out, "\n.EE\n");
  }
  return ok;
}

bool cli_man_write(eco_buf *out) {
  static const char head[] =
      ".\\\" Made from the command table by \"ecolink __man\": change services/cli/commands*.c, then make it again.\n"
      ".TH ECOLINK 1 \"\" \"EcoLink\" \"User Commands\"\n"
      ".SH NAME\necolink \\- managed, self\\-hosted inference from the command line\n"
      ".SH SYNOPSIS\n.B ecolink\n\\fIcommand\\fR [\\fIoptions\\fR]\n"
      ".SH DESCRIPTION\n"
      "Registers models, launches them as managed endpoints, watches and stops them, talks to them, and shows what "
      "they cost.\n"
      "Store the gateway and an API key once with\n.BR \"ecolink login\" .\n"
      ".SH OPTIONS OF EVERY COMMAND\n";
  static const char tail[] =
      ".SH ENVIRONMENT\n"
      ".TP\n.B ECOLINK_URL\nGateway to talk to; before the stored one.\n"
      ".TP\n.B ECOLINK_API_KEY\nAPI key; before the stored one.\n"
      ".TP\n.B ECOLINK_CA_FILE\nCertificates to trust, in PEM.\n"
      ".TP\n.B NO_COLOR\nWhen set and not empty: no colours.\n"
      ".SH FILES\n.TP\n.I ~/.config/ecolink/config\n"
      "URL and API key, mode 0600 (below $XDG_CONFIG_HOME when that is set).\n"
      ".SH EXIT STATUS\n"
      ".TP\n.B 0\nDone.\n.TP\n.B 1\nThe API refused.\n.TP\n.B 2\nThe command line is wrong.\n"
      ".TP\n.B 3\nThe gateway could not be reached.\n.TP\n.B 4\nNot authorised: no key, a wrong one, or one without "
      "the right.\n"
      ".TP\n.B 5\nWhat was waited for did not happen.\n.TP\n.B 130\nInterrupted.\n";
  bool ok = eco_buf_puts(out, head) && put_options(out, cli_global_options) && eco_buf_puts(out, ".SH COMMANDS\n");
  for (const cli_command *c = cli_commands; ok && c->path != NULL; c++) {
    ok = c->hidden || c->run == NULL || put_command(out, c);
  }
  return ok && eco_buf_puts(out, tail);
}
