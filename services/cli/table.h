// Text tables: aligned columns, sized by what they hold, cut to the width of the terminal. Pure.
#ifndef CLI_TABLE_H
#define CLI_TABLE_H

#include <stdint.h>

#include "ecolink/arena.h"
#include "ecolink/buf.h"

enum { CLI_COLUMNS_MAX = 16 };

typedef enum cli_paint {
  CLI_PLAIN,
  CLI_BOLD,
  CLI_DIM,
  CLI_RED,
  CLI_GREEN,
  CLI_YELLOW,
  CLI_BLUE,
} cli_paint;

typedef struct cli_cell {
  const char *text;  // UTF-8 without control characters; NULL reads as ""
  cli_paint paint;
} cli_cell;

typedef struct cli_table cli_table;

// right[i]: column i is aligned to the right. Everything lives in the arena.
cli_table *cli_table_new(eco_arena *arena, int columns);
void cli_table_head(cli_table *table, int column, const char *title, bool right);
cli_cell *cli_table_row(cli_table *table);  // the cells of a new row, to be filled
// width 0: no limit. Otherwise the widest left-aligned columns give way, down to a minimum, with "…".
bool cli_table_write(const cli_table *table, int width, bool colour, eco_buf *out);

// Columns that a terminal uses for it: combining marks 0, East Asian wide characters and emoji 2.
int cli_text_width(const char *text);
const char *cli_paint_on(cli_paint paint);  // escape sequence; "" for plain
extern const char cli_paint_off[];

#endif
