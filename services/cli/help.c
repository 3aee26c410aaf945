// Help on the terminal.
#include "help.h"

#include <string.h>

#include "table.h"

enum { WRAP = 88, OPTION_COLUMN = 34 };

static bool put_title(eco_buf *out, const char *title, bool colour) {
  return eco_buf_printf(out, "\n%s%s%s\n", colour ? cli_paint_on(CLI_BOLD) : "", title, colour ? cli_paint_off : "");
}

// Wraps at blanks, each line indented; `column` is where the cursor stands.
static bool put_wrapped(eco_buf *out, const char *text, int indent, int column) {
  bool first = true;
  bool ok = true;
  while (ok && *text != '\0') {
    size_t word = strcspn(text, " ");
    if (!first && column + 1 + (int)word > WRAP) {
      ok = eco_buf_printf(out, "\n%*s", indent, "");
      column = indent;
    } else if (!first) {
      ok = eco_buf_putc(out, ' ');
      column++;
    }
    ok = ok && eco_buf_append(out, text, word);
    column += (int)word;
    first = false;
    text += word + strspn(text + word, " ");
  }
  return ok && eco_buf_putc(out, '\n');
}

// A name in the left column and its explanation in the right one.
static bool put_pair(eco_buf *out, const char *name, const char *help, int column) {
  int used = 2 + cli_text_width(name);
  bool fits = used + 2 <= column;
  return eco_buf_printf(out, "  %s", name) &&
         (fits ? eco_buf_printf(out, "%*s", column - used, "") : eco_buf_printf(out, "\n%*s", column, "")) &&
         put_wrapped(out, help, column, column);
}

bool cli_usage_write(const cli_command *command, eco_buf *out) {
  bool ok = eco_buf_puts(out, command->path);
  for (const cli_positional *p = command->positionals; ok && p != NULL && p->name != NULL; p++) {
    ok = eco_buf_puts(out, p->dashed     ? " [-- <"
                           : p->optional ? " [<"
                                         : " <") &&
         eco_buf_printf(out, "%s>%s%s", p->name, p->rest ? "..." : "", p->optional ? "]" : "");
  }
  for (const cli_option *o = command->options; ok && o != NULL && o->name != NULL; o++) {
    ok = !o->required || eco_buf_printf(out, " --%s %s", o->name, o->value);
  }
  bool more = command->options != NULL && command->options->name != NULL;
  return ok && (command->run != NULL ? !more || eco_buf_puts(out, " [options]") : eco_buf_puts(out, " <command>"));
}

static bool put_options(eco_buf *out, const cli_option *options) {
  for (const cli_option *o = options; o->name != NULL; o++) {
    eco_buf name;
    eco_buf_init(&name, 256);
    bool ok = o->letter != '\0' ? eco_buf_printf(&name, "-%c, ", o->letter) : eco_buf_puts(&name, "    ");
    ok = ok && eco_buf_printf(&name, "--%s%s%s", o->name, cli_option_takes_value(o) ? " " : "",
                              cli_option_takes_value(o) ? o->value : "");
    ok = ok && put_pair(out, name.data, o->help, OPTION_COLUMN);
    eco_buf_free(&name);
    if (!ok) {
      return false;
    }
  }
  return true;
}

static bool put_children(eco_buf *out, const char *group) {
  for (const cli_command *c = cli_commands; c->path != NULL; c++) {
    if (!c->hidden && cli_command_is_child(c, group) && !put_pair(out, cli_command_word(c), c->summary, 20)) {
      return false;
    }
  }
  return true;
}

static bool put_overview(eco_buf *out, bool colour) {
  return eco_buf_puts(
             out, "Usage: ecolink <command> [options]\n\nManaged, self-hosted inference from the command line.\n") &&
         put_title(out, "Commands", colour) && put_children(out, "") &&
         put_title(out, "Options of every command", colour) && put_options(out, cli_global_options) &&
         put_title(out, "Begin with", colour) &&
         eco_buf_puts(out,
                      "  ecolink login https://gateway.example.com\n"
                      "  ecolink models create my-llama --repo meta-llama/Llama-3.1-8B-Instruct\n"
                      "  ecolink launch my-llama --engine vllm --wait\n"
                      "  ecolink chat my-llama:142 Hello\n"
                      "\n`ecolink <command> --help` explains one command.\n");
}

static bool put_example(eco_buf *out, const char *example) {
  while (*example != '\0') {
    size_t n = strcspn(example, "\n");
    if (!eco_buf_printf(out, "  %.*s\n", (int)n, example)) {
      return false;
    }
    example += n + (example[n] == '\n' ? 1 : 0);
  }
  return true;
}

bool cli_help_write(const cli_command *command, bool colour, eco_buf *out) {
  if (command == NULL) {
    return put_overview(out, colour);
  }
  bool ok = eco_buf_puts(out, "Usage: ecolink ") && cli_usage_write(command, out) && eco_buf_puts(out, "\n\n") &&
            put_wrapped(out, command->summary, 0, 0);
  if (ok && command->details != NULL) {
    ok = eco_buf_putc(out, '\n') && put_wrapped(out, command->details, 0, 0);
  }
  if (ok && command->run == NULL) {
    return put_title(out, "Commands", colour) && put_children(out, command->path);
  }
  if (ok && command->positionals != NULL) {
    ok = put_title(out, "Arguments", colour);
    for (const cli_positional *p = command->positionals; ok && p->name != NULL; p++) {
      eco_buf name;
      eco_buf_init(&name, 256);
      ok = eco_buf_printf(&name, "<%s>", p->name) && put_pair(out, name.data, p->help, OPTION_COLUMN);
      eco_buf_free(&name);
    }
  }
  if (ok && command->options != NULL) {
    ok = put_title(out, "Options", colour) && put_options(out, command->options);
  }
  ok = ok && put_title(out, "Options of every command", colour) && put_options(out, cli_global_options);
  if (ok && command->example != NULL) {
    ok = put_title(out, "Examples", colour) && put_example(out, command->example);
  }
  return ok;
}
