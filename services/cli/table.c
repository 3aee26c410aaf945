// Laying out tables.
#include "table.h"

#include <string.h>

enum {
  GAP = 2,
  SHRINK_MIN = 8,  // no column gets narrower than this by giving way
};

typedef struct row {
  struct row *next;
  cli_cell *cells;
} row;

struct cli_table {
  eco_arena *arena;
  int columns;
  const char *titles[CLI_COLUMNS_MAX];
  bool right[CLI_COLUMNS_MAX];
  row *rows;
  row **tail;
};

const char cli_paint_off[] = "\x1b[0m";

const char *cli_paint_on(cli_paint paint) {
  switch (paint) {
    case CLI_BOLD:
      return "\x1b[1m";
    case CLI_DIM:
      return "\x1b[2m";
    case CLI_RED:
      return "\x1b[31m";
    case CLI_GREEN:
      return "\x1b[32m";
    case CLI_YELLOW:
      return "\x1b[33m";
    case CLI_BLUE:
      return "\x1b[36m";
    case CLI_PLAIN:
      break;
  }
  return "";
}

// Decodes one character; an invalid byte counts as one character of its own.
static size_t decode(const char *s, uint32_t *code) {
  const unsigned char *p = (const unsigned char *)s;
  size_t len = p[0] >= 0xF0 ? 4 : p[0] >= 0xE0 ? 3 : p[0] >= 0xC0 ? 2 : 1;
  uint32_t c = len == 1 ? p[0] : p[0] & (0xFFu >> (len + 1));
  for (size_t i = 1; i < len; i++) {
    if ((p[i] & 0xC0) != 0x80) {
      *code = 0xFFFD;
      return 1;
    }
    c = (c << 6) | (p[i] & 0x3F);
  }
  *code = c;
  return len;
}

static int code_width(uint32_t c) {
  if ((c >= 0x300 && c <= 0x36F) || (c >= 0x200B && c <= 0x200F) || (c >= 0xFE00 && c <= 0xFE0F)) {
    return 0;
  }
  if ((c >= 0x1100 && c <= 0x115F) || (c >= 0x2E80 && c <= 0xA4CF) || (c >= 0xAC00 && c <= 0xD7A3) ||
      (c >= 0xF900 && c <= 0xFAFF) || (c >= 0xFE30 && c <= 0xFE6F) || (c >= 0xFF00 && c <= 0xFF60) ||
      (c >= 0x1F300 && c <= 0x1F64F) || (c >= 0x1F900 && c <= 0x1F9FF) || (c >= 0x20000 && c <= 0x3FFFD)) {
    return 2;
  }
  return 1;
}

int cli_text_width(const char *text) {
  int width = 0;
  while (*text != '\0') {
    uint32_t code = 0;
    text += decode(text, &code);
    width += code_width(code);
  }
  return width;
}

cli_table *cli_table_new(eco_arena *arena, int columns) {
  cli_table *table = eco_alloc(arena, sizeof(*table));
  table->arena = arena;
  table->columns = columns < CLI_COLUMNS_MAX ? columns : CLI_COLUMNS_MAX;
  table->tail = &table->rows;
  return table;
}

void cli_table_head(cli_table *table, int column, const char *title, bool right) {
  if (column < table->columns) {
    table->titles[column] = title;
    table->right[column] = right;
  }
}

cli_cell *cli_table_row(cli_table *table) {
  row *r = eco_alloc(table->arena, sizeof(*r));
  r->cells = eco_alloc_array(table->arena, CLI_COLUMNS_MAX, sizeof(cli_cell));
  *table->tail = r;
  table->tail = &r->next;
  return r->cells;
}

static const char *cell_text(const cli_cell *cell) {
  return cell->text != NULL ? cell->text : "";
}

static void measure(const cli_table *table, int widths[CLI_COLUMNS_MAX]) {
  for (int i = 0; i < table->columns; i++) {
    widths[i] = table->titles[i] != NULL ? cli_text_width(table->titles[i]) : 0;
    for (const row *r = table->rows; r != NULL; r = r->next) {
      int w = cli_text_width(cell_text(&r->cells[i]));
      widths[i] = w > widths[i] ? w : widths[i];
    }
  }
}

// Takes one column after the other from whichever left-aligned column is widest.
static void shrink(const cli_table *table, int widths[CLI_COLUMNS_MAX], int width) {
  int total = -GAP;
  for (int i = 0; i < table->columns; i++) {
    total += widths[i] + GAP;
  }
  while (total > width) {
    int widest = -1;
    for (int i = 0; i < table->columns; i++) {
      if (!table->right[i] && widths[i] > SHRINK_MIN && (widest < 0 || widths[i] > widths[widest])) {
        widest = i;
      }
    }
    if (widest < 0) {
      return;
    }
    widths[widest]--;
    total--;
  }
}

// Writes text in at most `width` columns; what does not fit is replaced by one "…".
static bool put_cut(eco_buf *out, const char *text, int width) {
  if (cli_text_width(text) <= width) {
    return eco_buf_puts(out, text);
  }
  int used = 0;
  while (*text != '\0') {
    uint32_t code = 0;
    size_t n = decode(text, &code);
    if (used + code_width(code) > width - 1) {
      break;
    }
    used += code_width(code);
    if (!eco_buf_append(out, text, n)) {
      return false;
    }
    text += n;
  }
  return eco_buf_puts(out, "…");
}

static bool put_blanks(eco_buf *out, int n) {
  return n <= 0 || eco_buf_printf(out, "%*s", n, "");
}

static bool put_cell(eco_buf *out, const char *text, cli_paint paint, int width, bool right, bool last, bool colour) {
  int pad = width - cli_text_width(text);
  bool painted = colour && paint != CLI_PLAIN;
  return (!right || put_blanks(out, pad)) && (!painted || eco_buf_puts(out, cli_paint_on(paint))) &&
         put_cut(out, text, width) && (!painted || eco_buf_puts(out, cli_paint_off)) &&
         (right || last || put_blanks(out, pad)) && (last || put_blanks(out, GAP));
}

// Blanks at the end of a line are of no use to anybody.
static bool end_line(eco_buf *out) {
  while (out->len > 0 && out->data[out->len - 1] == ' ') {
    out->data[--out->len] = '\0';
  }
  return eco_buf_putc(out, '\n');
}

bool cli_table_write(const cli_table *table, int width, bool colour, eco_buf *out) {
  int widths[CLI_COLUMNS_MAX];
  measure(table, widths);
  if (width > 0) {
    shrink(table, widths, width);
  }
  bool ok = true;
  bool titled = false;
  for (int i = 0; i < table->columns; i++) {
    titled = titled || table->titles[i] != NULL;
  }
  for (int i = 0; ok && titled && i < table->columns; i++) {
    bool last = i + 1 == table->columns;
    ok = put_cell(out, table->titles[i] != NULL ? table->titles[i] : "", CLI_DIM, widths[i], table->right[i], last,
                  colour);
  }
  ok = ok && (!titled || end_line(out));
  for (const row *r = table->rows; ok && r != NULL; r = r->next) {
    for (int i = 0; ok && i < table->columns; i++) {
      bool last = i + 1 == table->columns;
      ok = put_cell(out, cell_text(&r->cells[i]), r->cells[i].paint, widths[i], table->right[i], last, colour);
    }
    ok = ok && end_line(out);
  }
  return ok;
}
