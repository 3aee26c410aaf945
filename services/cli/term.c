// Terminal handling.
#include "term.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <unistd.h>

volatile sig_atomic_t cli_interrupted;

static void on_interrupt(int signal_number) {
  (void)signal_number;
  cli_interrupted = 1;
}

void cli_term_catch_interrupt(void) {
  struct sigaction action = {.sa_handler = on_interrupt};  // no SA_RESTART: reads and sleeps are to return
  (void)sigaction(SIGINT, &action, NULL);
}

bool cli_term_is_tty(int fd) {
  return isatty(fd) == 1;
}

int cli_term_width(int fd) {
  struct winsize size;
  if (!cli_term_is_tty(fd)) {
    return 0;
  }
  return ioctl(fd, TIOCGWINSZ, &size) == 0 && size.ws_col > 0 ? size.ws_col : 80;
}

bool cli_term_colour(int fd, bool no_color) {
  const char *env = getenv("NO_COLOR");
  const char *term = getenv("TERM");
  return !no_color && (env == NULL || *env == '\0') && cli_term_is_tty(fd) &&
         (term == NULL || strcmp(term, "dumb") != 0);
}

static void write_all(int fd, const char *p, size_t n) {
  while (n > 0) {
    ssize_t done = write(fd, p, n);
    if (done <= 0) {
      cli_interrupted = 1;  // nobody reads any more: `ecolink logs -f | head`
      return;
    }
    p += done;
    n -= (size_t)done;
  }
}

void cli_term_write(int fd, const char *text, size_t len, bool raw) {
  if (raw || !cli_term_is_tty(fd)) {
    write_all(fd, text, len);
    return;
  }
  size_t start = 0;
  for (size_t i = 0; i < len; i++) {
    unsigned char c = (unsigned char)text[i];
    bool c1 = c == 0xC2 && i + 1 < len && (unsigned char)text[i + 1] >= 0x80 && (unsigned char)text[i + 1] < 0xA0;
    if ((c < ' ' && c != '\n' && c != '\t') || c == 0x7F || c1) {
      write_all(fd, text + start, i - start);
      i += c1 ? 1 : 0;
      start = i + 1;
    }
  }
  write_all(fd, text + start, len - start);
}

bool cli_term_ask_secret(const char *prompt, char *out, size_t size) {
  FILE *tty = fopen("/dev/tty", "r+e");
  if (tty == NULL) {
    return false;
  }
  struct termios before;
  bool echo_off = tcgetattr(fileno(tty), &before) == 0;
  if (echo_off) {
    struct termios quiet = before;
    quiet.c_lflag &= ~(tcflag_t)ECHO;
    echo_off = tcsetattr(fileno(tty), TCSAFLUSH, &quiet) == 0;
  }
  (void)fputs(prompt, tty);
  (void)fflush(tty);
  bool ok = fgets(out, (int)size, tty) != NULL;
  if (echo_off) {
    (void)tcsetattr(fileno(tty), TCSAFLUSH, &before);
  }
  (void)fputc('\n', tty);
  (void)fclose(tty);
  if (ok) {
    out[strcspn(out, "\r\n")] = '\0';
  }
  return ok;
}
