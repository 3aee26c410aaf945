// Completion from the command table.
#include "complete.h"

#include <stdio.h>
#include <string.h>

static bool starts_with(const char *s, const char *prefix) {
  return strncmp(s, prefix, strlen(prefix)) == 0;
}

static bool put(eco_buf *out, const char *word, const char *help) {
  return eco_buf_printf(out, "%s\t%s\n", word, help);
}

static bool put_words(eco_buf *out, const char *words, const char *typed, const char *help) {
  bool ok = true;
  while (ok && words != NULL && *words != '\0') {
    size_t n = strcspn(words, ",");
    if (strncmp(words, typed, strlen(typed)) == 0 && n >= strlen(typed)) {
      ok = eco_buf_printf(out, "%.*s\t%s\n", (int)n, words, help);
    }
    words += n + (words[n] == ',' ? 1 : 0);
  }
  return ok;
}

static bool put_options(eco_buf *out, const cli_option *options, const char *typed) {
  bool ok = true;
  for (const cli_option *o = options; ok && o != NULL && o->name != NULL; o++) {
    char name[64];
    (void)snprintf(name, sizeof(name), "--%s", o->name);
    ok = !starts_with(name, typed) || put(out, name, o->help);
  }
  return ok;
}

static bool put_value(eco_buf *out, const cli_option *option, const char *typed) {
  bool file = option->kind == CLI_SECRET || option->kind == CLI_JSON || strcmp(option->name, "ca-file") == 0;
  return file ? eco_buf_puts(out, ":files\n") : put_words(out, option->words, typed, option->help);
}

static bool put_children(eco_buf *out, const char *group, const char *typed) {
  bool ok = true;
  for (const cli_command *c = cli_commands; ok && c->path != NULL; c++) {
    if (!c->hidden && cli_command_is_child(c, group) && starts_with(cli_command_word(c), typed)) {
      ok = put(out, cli_command_word(c), c->summary);
    }
  }
  return ok;
}

typedef struct walk {
  char path[128];
  const cli_command *command;
  const cli_option *open;  // the option whose value comes next
  size_t positionals;
  bool words_only;
} walk;

static const cli_option *option_of(const walk *w, const char *word) {
  if (word[0] != '-' || word[1] == '\0' || w->words_only) {
    return NULL;
  }
  return word[1] == '-' ? cli_option_find(w->command, word + 2, strlen(word + 2))
                        : cli_option_find_letter(w->command, word[1]);
}

// Takes one finished word; unknown ones are passed over, completion must not argue.
static void step(walk *w, const char *word) {
  if (strcmp(word, "=") == 0) {
    return;  // bash cuts --name=value into three
  }
  if (w->open != NULL) {
    w->open = NULL;
    return;
  }
  if (strcmp(word, "--") == 0) {
    w->words_only = true;
    return;
  }
  const cli_option *option = option_of(w, word);
  if (option != NULL) {
    w->open = cli_option_takes_value(option) ? option : NULL;
    return;
  }
  if (word[0] == '-' && !w->words_only) {
    return;
  }
  if (w->command == NULL || w->command->run == NULL) {
    char path[sizeof(w->path)];
    int n = snprintf(path, sizeof(path), "%s%s%s", w->path, w->path[0] != '\0' ? " " : "", word);
    const cli_command *next = n < (int)sizeof(path) ? cli_command_find(path) : NULL;
    if (next != NULL) {
      memcpy(w->path, path, sizeof(path));
      w->command = next;
    }
    return;
  }
  w->positionals++;
}

bool cli_complete_write(const char *const *words, size_t count, eco_buf *out) {
  walk w = {.path = ""};
  if (count == 0) {
    return true;
  }
  for (size_t i = 0; i + 1 < count; i++) {
    step(&w, words[i]);
  }
  const char *typed = words[count - 1];
  if (strcmp(typed, "=") == 0) {
    typed = "";
  }
  if (w.open != NULL) {
    return put_value(out, w.open, typed);
  }
  if (typed[0] == '-' && !w.words_only) {
    return put_options(out, w.command != NULL ? w.command->options : NULL, typed) &&
           put_options(out, cli_global_options, typed);
  }
  if (w.command == NULL || w.command->run == NULL) {
    return put_children(out, w.path, typed);
  }
  if (strcmp(w.command->path, "help") == 0) {
    return w.positionals == 0 ? put_children(out, "", typed) : true;
  }
  size_t i = 0;
  for (const cli_positional *p = w.command->positionals; p != NULL && p->name != NULL; p++, i++) {
    if (i == w.positionals) {
      return put_words(out, p->words, typed, p->help);
    }
  }
  return true;
}

const char *cli_complete_script(const char *shell) {
  if (strcmp(shell, "bash") == 0) {
    return "# bash completion for ecolink: source <(ecolink completion bash)\n"
           "_ecolink() {\n"
           "  local IFS=$'\\n' cur=\"${COMP_WORDS[COMP_CWORD]}\" lines\n"
           "  [ \"$cur\" = = ] && cur=\n"
           "  lines=\"$(ecolink __complete -- \"${COMP_WORDS[@]:1:COMP_CWORD}\" 2>/dev/null)\"\n"
           "  if [ \"$lines\" = :files ]; then\n"
           "    COMPREPLY=($(compgen -f -- \"$cur\"))\n"
           "  else\n"
           "    COMPREPLY=($(compgen -W \"$(printf '%s\\n' \"$lines\" | cut -f1)\" -- \"$cur\"))\n"
           "  fi\n"
           "}\n"
           "complete -F _ecolink ecolink\n";
  }
  if (strcmp(shell, "zsh") == 0) {
    return "#compdef ecolink\n"
           "# zsh completion for ecolink: ecolink completion zsh > \"${fpath[1]}/_ecolink\"\n"
           "_ecolink() {\n"
           "  local -a lines candidates\n"
           "  local line\n"
           "  lines=(\"${(@f)$(ecolink __complete -- \"${(@)words[2,CURRENT]}\" 2>/dev/null)}\")\n"
           "  if [[ $lines[1] == :files ]]; then\n"
           "    _files\n"
           "    return\n"
           "  fi\n"
           "  for line in $lines; do\n"
           "    candidates+=(\"${${line%%$'\\t'*}//:/\\\\:}:${line#*$'\\t'}\")\n"
           "  done\n"
           "  _describe ecolink candidates\n"
           "}\n"
           "if [[ $funcstack[1] == _ecolink ]]; then _ecolink \"$@\"; else compdef _ecolink ecolink; fi\n";
  }
  return NULL;
}
