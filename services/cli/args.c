// Parsing: words choose the command, options belong to it or to everybody, the rest are positionals.
#include "args.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ecolink/clock.h"
#include "ecolink/edit_distance.h"
#include "ecolink/money.h"

enum { PATH_MAX_LEN = 128 };

// ---- values ----

bool cli_span_parse(const char *text, int64_t *seconds) {
  static const struct {
    char unit;
    int64_t seconds;
  } units[] = {{'s', 1}, {'m', 60}, {'h', 3600}, {'d', 86400}, {'w', 604800}};
  if (!isdigit((unsigned char)text[0])) {
    return false;
  }
  char *end = NULL;
  errno = 0;
  long long n = strtoll(text, &end, 10);
  if (errno != 0 || n > INT64_C(1000000000) || end[0] == '\0' || end[1] != '\0') {
    return false;
  }
  for (size_t i = 0; i < sizeof(units) / sizeof(units[0]); i++) {
    if (units[i].unit == end[0]) {
      *seconds = n * units[i].seconds;
      return true;
    }
  }
  return false;
}

static bool is_int(const char *text) {
  const char *p = *text == '-' ? text + 1 : text;
  if (!isdigit((unsigned char)*p)) {
    return false;
  }
  errno = 0;
  char *end = NULL;
  (void)strtoll(text, &end, 10);
  return errno == 0 && *end == '\0';
}

// The numbers of JSON (RFC 8259 section 6), because they are sent as they are typed.
static bool is_number(const char *text) {
  const char *p = *text == '-' ? text + 1 : text;
  size_t whole = strspn(p, "0123456789");
  if (whole == 0 || (whole > 1 && *p == '0')) {
    return false;
  }
  p += whole;
  if (*p == '.') {
    size_t fraction = strspn(p + 1, "0123456789");
    if (fraction == 0) {
      return false;
    }
    p += 1 + fraction;
  }
  return *p == '\0' && strlen(text) < 64;
}

eco_status cli_value_check(cli_kind kind, const char *name, const char *text) {
  int64_t number = 0;
  const char *equals = strchr(text, '=');
  bool good = true;
  const char *wanted = "";
  switch (kind) {
    case CLI_INT:
      good = is_int(text);
      wanted = "a whole number";
      break;
    case CLI_NUMBER:
      good = is_number(text);
      wanted = "a number";
      break;
    case CLI_MONEY:
      good = eco_money_parse(text, &number);
      wanted = "an amount of dollars such as 25 or 0.75";
      break;
    case CLI_TIME:
      good = cli_span_parse(text, &number) || eco_rfc3339_parse(text, &number) == 0;
      wanted = "a span such as 12h or 30d, or a time such as 2027-01-31T00:00:00Z";
      break;
    case CLI_MAP:
      good = text[0] != '\0' && text[0] != '=';
      wanted = "NAME=VALUE, or NAME alone to take it from the environment";
      break;
    case CLI_ROOM:
      good = equals != NULL && equals != text && is_int(equals + 1) && equals[1] != '-';
      wanted = "TYPE=COUNT, such as rtx-4090=4";
      break;
    default:
      break;
  }
  return good ? eco_success() : eco_error(ECO_INVALID_REQUEST, "%s: \"%s\" is not %s", name, text, wanted);
}

// ---- what is near ----

static eco_status unknown_option(const cli_command *command, const char *text, size_t len) {
  const cli_option *sources[] = {command != NULL ? command->options : NULL, cli_global_options};
  const char *best = NULL;
  size_t best_distance = SIZE_MAX;
  for (size_t i = 0; i < 2; i++) {
    for (const cli_option *o = sources[i]; o != NULL && o->name != NULL; o++) {
      size_t distance = eco_edit_distance(text, len, o->name, strlen(o->name));
      if (distance < best_distance) {
        best = o->name;
        best_distance = distance;
      }
    }
  }
  if (best != NULL && best_distance <= len / 3 + 1) {
    return eco_error(ECO_INVALID_REQUEST, "there is no option --%.*s here; did you mean --%s?", (int)len, text, best);
  }
  return eco_error(ECO_INVALID_REQUEST, "there is no option --%.*s here", (int)len, text);
}

static eco_status unknown_word(const char *group, const char *word) {
  const char *best = NULL;
  size_t best_distance = SIZE_MAX;
  for (const cli_command *c = cli_commands; c->path != NULL; c++) {
    if (!c->hidden && cli_command_is_child(c, group)) {
      const char *name = cli_command_word(c);
      size_t distance = eco_edit_distance(word, strlen(word), name, strlen(name));
      if (distance < best_distance) {
        best = name;
        best_distance = distance;
      }
    }
  }
  const char *gap = group[0] != '\0' ? " " : "";
  if (best != NULL && best_distance <= strlen(word) / 3 + 1) {
    return eco_error(ECO_INVALID_REQUEST, "there is no command \"%s%s%s\"; did you mean \"%s%s%s\"?", group, gap, word,
                     group, gap, best);
  }
  return eco_error(ECO_INVALID_REQUEST, "there is no command \"%s%s%s\"", group, gap, word);
}

// ---- parsing ----

typedef struct parser {
  int argc;
  char *const *argv;
  int at;
  char path[PATH_MAX_LEN];  // of the command or group reached
  bool words_only;          // behind "--"
  cli_args *out;
} parser;

static eco_status add_given(parser *p, const cli_option *option, const char *text) {
  cli_args *out = p->out;
  if (strcmp(option->name, "help") == 0) {
    out->help = true;
    return eco_success();
  }
  if (text != NULL) {
    char name[64];
    (void)snprintf(name, sizeof(name), "--%s", option->name);
    ECO_TRY(cli_value_check(option->kind, name, text));
  }
  if (out->given_count == CLI_GIVEN_MAX) {
    return eco_error(ECO_INVALID_REQUEST, "more than %d options", CLI_GIVEN_MAX);
  }
  out->given[out->given_count++] = (cli_given){option, text};
  return eco_success();
}

// The value after the option's name: attached, or the next argument.
static eco_status take_value(parser *p, const cli_option *option, const char *attached) {
  if (attached != NULL) {
    return add_given(p, option, attached);
  }
  if (p->at >= p->argc) {
    return eco_error(ECO_INVALID_REQUEST, "--%s needs a value: %s", option->name, option->value);
  }
  return add_given(p, option, p->argv[p->at++]);
}

static eco_status take_long(parser *p, const char *text) {
  size_t len = strcspn(text, "=");
  const char *attached = text[len] == '=' ? text + len + 1 : NULL;
  const cli_option *option = cli_option_find(p->out->command, text, len);
  if (option == NULL) {
    return unknown_option(p->out->command, text, len);
  }
  if (cli_option_takes_value(option)) {
    return take_value(p, option, attached);
  }
  if (attached != NULL) {
    return eco_error(ECO_INVALID_REQUEST, "--%s takes no value", option->name);
  }
  return add_given(p, option, NULL);
}

// "-f", "-n 5", "-n5", and flags together as in "-fh".
static eco_status take_letters(parser *p, const char *letters) {
  for (const char *l = letters; *l != '\0'; l++) {
    const cli_option *option = cli_option_find_letter(p->out->command, *l);
    if (option == NULL) {
      return eco_error(ECO_INVALID_REQUEST, "there is no option -%c here", *l);
    }
    if (cli_option_takes_value(option)) {
      return take_value(p, option, l[1] != '\0' ? l + 1 : NULL);
    }
    ECO_TRY(add_given(p, option, NULL));
  }
  return eco_success();
}

// The positional that the i-th word fills: a rest takes every one from its own on. NULL: none.
static const cli_positional *positional_at(const cli_command *command, size_t i) {
  const cli_positional *p = command->positionals;
  for (; p != NULL && p->name != NULL; p++, i--) {
    if (i == 0 || p->rest) {
      return p;
    }
  }
  return NULL;
}

// "--": what follows are words, and if the command has a positional for them alone, it begins there.
static eco_status take_dashes(parser *p) {
  cli_args *out = p->out;
  p->words_only = true;
  if (out->command == NULL) {
    return eco_success();
  }
  size_t i = 0;
  for (const cli_positional *q = out->command->positionals; q != NULL && q->name != NULL; q++, i++) {
    if (q->dashed) {
      while (out->positional_count < i) {
        out->positionals[out->positional_count++] = NULL;
      }
    }
  }
  return eco_success();
}

static eco_status take_word(parser *p, const char *word) {
  cli_args *out = p->out;
  bool in_group = out->command == NULL || out->command->run == NULL;
  if (in_group) {
    char path[PATH_MAX_LEN];
    int n = snprintf(path, sizeof(path), "%s%s%s", p->path, p->path[0] != '\0' ? " " : "", word);
    const cli_command *next = n < (int)sizeof(path) && strchr(word, ' ') == NULL ? cli_command_find(path) : NULL;
    if (next == NULL) {
      return unknown_word(p->path, word);
    }
    memcpy(p->path, path, sizeof(path));
    out->command = next;
    return eco_success();
  }
  const cli_positional *p_next = positional_at(out->command, out->positional_count);
  if (p_next != NULL && p_next->dashed && !p->words_only) {
    return eco_error(ECO_INVALID_REQUEST, "\"%s\" is one argument too many; <%s> is written after --", word,
                     p_next->name);
  }
  if (out->positional_count == CLI_POSITIONALS_MAX) {
    return eco_error(ECO_INVALID_REQUEST, "more than %d arguments", CLI_POSITIONALS_MAX);
  }
  out->positionals[out->positional_count++] = word;
  return eco_success();
}

static eco_status check_positionals(const cli_args *args) {
  size_t i = 0;
  const cli_positional *p = args->command->positionals;
  for (; p != NULL && p->name != NULL; p++, i++) {
    if (i >= args->positional_count) {
      return p->optional ? eco_success() : eco_error(ECO_INVALID_REQUEST, "<%s> is missing: %s", p->name, p->help);
    }
    if (p->rest) {
      return eco_success();
    }
    const char *text = args->positionals[i];
    if (text == NULL ? !p->optional : text[0] == '\0') {
      return eco_error(ECO_INVALID_REQUEST, "<%s> is %s: %s", p->name, text == NULL ? "missing" : "empty", p->help);
    }
    if (text != NULL) {
      ECO_TRY(cli_value_check(p->kind, p->name, text));
    }
  }
  if (i < args->positional_count) {
    return eco_error(ECO_INVALID_REQUEST, "\"%s\" is one argument too many", args->positionals[i]);
  }
  return eco_success();
}

static eco_status check_options(const cli_args *args) {
  for (const cli_option *o = args->command->options; o != NULL && o->name != NULL; o++) {
    if (o->required && !cli_args_has(args, o->name)) {
      return eco_error(ECO_INVALID_REQUEST, "--%s is missing: %s", o->name, o->help);
    }
  }
  for (size_t i = 0; i < args->given_count; i++) {
    for (size_t k = 0; k < i; k++) {
      if (args->given[i].option == args->given[k].option && !cli_option_repeats(args->given[i].option) &&
          cli_option_takes_value(args->given[i].option)) {
        return eco_error(ECO_INVALID_REQUEST, "--%s is given twice", args->given[i].option->name);
      }
    }
  }
  return eco_success();
}

eco_status cli_args_parse(int argc, char *const *argv, cli_args *out) {
  *out = (cli_args){0};
  parser p = {.argc = argc, .argv = argv, .out = out};
  while (p.at < argc) {
    const char *arg = argv[p.at++];
    bool dash = arg[0] == '-' && arg[1] != '\0' && !p.words_only;
    if (dash && strcmp(arg, "--") == 0) {
      ECO_TRY(take_dashes(&p));
    } else if (dash && arg[1] == '-') {
      ECO_TRY(take_long(&p, arg + 2));
    } else if (dash && !isdigit((unsigned char)arg[1])) {  // no option is a digit: -5 is an amount
      ECO_TRY(take_letters(&p, arg + 1));
    } else {
      ECO_TRY(take_word(&p, arg));
    }
  }
  if (out->help || out->command == NULL || out->command->run == NULL) {
    out->help = true;
    return eco_success();
  }
  ECO_TRY(check_positionals(out));
  return check_options(out);
}

// ---- reading ----

static const cli_given *last_given(const cli_args *args, const char *option) {
  for (size_t i = args->given_count; i > 0; i--) {
    if (strcmp(args->given[i - 1].option->name, option) == 0) {
      return &args->given[i - 1];
    }
  }
  return NULL;
}

bool cli_args_has(const cli_args *args, const char *option) {
  return last_given(args, option) != NULL;
}

const char *cli_args_text(const cli_args *args, const char *option) {
  const cli_given *given = last_given(args, option);
  return given != NULL ? given->text : NULL;
}

int64_t cli_args_int(const cli_args *args, const char *option, int64_t fallback) {
  const char *text = cli_args_text(args, option);
  return text != NULL ? strtoll(text, NULL, 10) : fallback;
}

const char *cli_args_positional(const cli_args *args, const char *name) {
  size_t i = 0;
  for (const cli_positional *p = args->command->positionals; p != NULL && p->name != NULL; p++, i++) {
    if (strcmp(p->name, name) == 0) {
      return i < args->positional_count ? args->positionals[i] : NULL;
    }
  }
  return NULL;
}
