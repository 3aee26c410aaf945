// Rendering JSON objects by the columns of a view.
#include "view.h"

#include <inttypes.h>
#include <string.h>

#include "ecolink/money.h"
#include "format.h"
#include "table.h"

static yyjson_val *lookup(yyjson_val *object, const char *path) {
  while (object != NULL) {
    size_t n = strcspn(path, ".");
    object = yyjson_obj_getn(object, path, n);
    if (path[n] == '\0') {
      break;
    }
    path += n + 1;
  }
  return object;
}

static const char *clean(eco_arena *arena, yyjson_val *v) {
  return cli_format_clean(arena, yyjson_get_str(v), yyjson_get_len(v));
}

static const char *scalar(eco_arena *arena, yyjson_val *v) {
  if (yyjson_is_str(v)) {
    return clean(arena, v);
  }
  if (yyjson_is_bool(v)) {
    return yyjson_get_bool(v) ? "yes" : "no";
  }
  if (yyjson_is_int(v)) {
    return eco_sprintf(arena, "%" PRId64, yyjson_get_sint(v));
  }
  return yyjson_is_real(v) ? eco_sprintf(arena, "%g", yyjson_get_real(v)) : "";
}

static cli_paint paint_of(const char *word) {
  static const struct {
    const char *word;
    cli_paint paint;
  } words[] = {
      {"running", CLI_GREEN},  {"ready", CLI_GREEN},     {"available", CLI_GREEN}, {"provisioning", CLI_YELLOW},
      {"pending", CLI_YELLOW}, {"starting", CLI_YELLOW}, {"stopping", CLI_YELLOW}, {"backoff", CLI_RED},
      {"failed", CLI_RED},     {"unreachable", CLI_RED}, {"lost", CLI_RED},        {"critical", CLI_RED},
      {"warning", CLI_YELLOW}, {"cordoned", CLI_YELLOW}, {"stopped", CLI_DIM},     {"info", CLI_BLUE}};
  for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
    if (strcmp(words[i].word, word) == 0) {
      return words[i].paint;
    }
  }
  return CLI_PLAIN;
}

// Joins what `each` writes for the elements of an array.
static const char *joined(eco_arena *arena, yyjson_val *array, const char *(*each)(eco_arena *, yyjson_val *)) {
  const char *text = "";
  size_t i = 0;
  size_t max = 0;
  yyjson_val *v = NULL;
  yyjson_arr_foreach(array, i, max, v) {
    text = eco_sprintf(arena, "%s%s%s", text, i > 0 ? ", " : "", each(arena, v));
  }
  return text;
}

static const char *replica(eco_arena *arena, yyjson_val *v) {
  int64_t restarts = yyjson_get_sint(yyjson_obj_get(v, "restarts"));
  const char *text = eco_sprintf(arena, "%s %s", scalar(arena, yyjson_obj_get(v, "region")),
                                 scalar(arena, yyjson_obj_get(v, "status")));
  return restarts > 0 ? eco_sprintf(arena, "%s (%" PRId64 " restarts)", text, restarts) : text;
}

static const char *room(eco_arena *arena, yyjson_val *v) {
  return eco_sprintf(arena, "%s %" PRId64 "/%" PRId64, scalar(arena, yyjson_obj_get(v, "gpu_type")),
                     yyjson_get_sint(yyjson_obj_get(v, "free")), yyjson_get_sint(yyjson_obj_get(v, "total")));
}

static cli_cell money_cell(eco_arena *arena, yyjson_val *v, cli_form form) {
  int64_t micros = yyjson_get_sint(v);
  if (form == CLI_AS_USD && !eco_money_parse(yyjson_is_str(v) ? yyjson_get_str(v) : "", &micros)) {
    return (cli_cell){scalar(arena, v), CLI_PLAIN};
  }
  const char *text = cli_format_usd(arena, micros);
  if (form == CLI_AS_RATE) {
    text = eco_sprintf(arena, "%s/h", text);
  }
  return (cli_cell){text, micros < 0 ? CLI_RED : CLI_PLAIN};
}

static cli_cell make_cell(eco_arena *arena, yyjson_val *object, const cli_column *column, int64_t now_us) {
  if (column->form == CLI_AS_READY) {
    int64_t ready = yyjson_get_sint(yyjson_obj_get(object, "ready_replicas"));
    int64_t total = yyjson_get_sint(yyjson_obj_get(object, "total_replicas"));
    return (cli_cell){eco_sprintf(arena, "%" PRId64 "/%" PRId64, ready, total), CLI_PLAIN};
  }
  yyjson_val *v = lookup(object, column->field);
  if (v == NULL || yyjson_is_null(v)) {
    return (cli_cell){"", CLI_PLAIN};
  }
  const char *text = scalar(arena, v);
  switch (column->form) {
    case CLI_AS_USD:
    case CLI_AS_USD_MICROS:
    case CLI_AS_RATE:
      return money_cell(arena, v, column->form);
    case CLI_AS_TIME:
      return (cli_cell){cli_format_time(arena, text), CLI_PLAIN};
    case CLI_AS_AGE:
      return (cli_cell){cli_format_age(arena, text, now_us), CLI_PLAIN};
    case CLI_AS_STATUS:
    case CLI_AS_SEVERITY:
      return (cli_cell){text, paint_of(text)};
    case CLI_AS_SPAN:
      return (cli_cell){cli_format_span(arena, yyjson_get_sint(v)), CLI_PLAIN};
    case CLI_AS_BYTES:
      return (cli_cell){cli_format_bytes(arena, yyjson_get_sint(v)), CLI_PLAIN};
    case CLI_AS_MILLIS:
      return (cli_cell){eco_sprintf(arena, "%.1f ms", (double)yyjson_get_sint(v) / 1000), CLI_PLAIN};
    case CLI_AS_REPLICAS:
      return (cli_cell){joined(arena, v, replica), CLI_PLAIN};
    case CLI_AS_ROOM:
      return (cli_cell){joined(arena, v, room), CLI_PLAIN};
    case CLI_AS_LIST:
      return (cli_cell){joined(arena, v, scalar), CLI_PLAIN};
    case CLI_AS_ONCE:
      return (cli_cell){text, CLI_BOLD};
    default:
      return (cli_cell){text, CLI_PLAIN};
  }
}

static bool right_aligned(cli_form form) {
  return form == CLI_AS_NUMBER || form == CLI_AS_USD || form == CLI_AS_USD_MICROS || form == CLI_AS_RATE ||
         form == CLI_AS_BYTES || form == CLI_AS_MILLIS;
}

bool cli_view_table(const cli_view *view, yyjson_val *const *rows, size_t count, int64_t now_us, int width, bool colour,
                    eco_buf *out) {
  if (count == 0) {
    return eco_buf_printf(out, "%s\n", view->empty != NULL ? view->empty : "Nothing here.");
  }
  eco_arena *arena = eco_arena_new();
  const cli_column *shown[CLI_COLUMNS_MAX];
  int columns = 0;
  for (const cli_column *c = view->columns; c->title != NULL && columns < CLI_COLUMNS_MAX; c++) {
    if (!c->detail) {
      shown[columns++] = c;
    }
  }
  cli_table *table = cli_table_new(arena, columns);
  for (int i = 0; i < columns; i++) {
    cli_table_head(table, i, shown[i]->title, right_aligned(shown[i]->form));
  }
  for (size_t r = 0; r < count; r++) {
    cli_cell *cells = cli_table_row(table);
    for (int i = 0; i < columns; i++) {
      cells[i] = make_cell(arena, rows[r], shown[i], now_us);
    }
  }
  bool ok = cli_table_write(table, width, colour, out);
  eco_arena_free(arena);
  return ok;
}

bool cli_view_shows_secret(const cli_view *view, yyjson_val *object) {
  for (const cli_column *c = view->columns; c->title != NULL; c++) {
    if (c->form == CLI_AS_ONCE && yyjson_is_str(lookup(object, c->field))) {
      return true;
    }
  }
  return false;
}

bool cli_view_sheet(const cli_view *view, yyjson_val *object, int64_t now_us, bool colour, eco_buf *out) {
  eco_arena *arena = eco_arena_new();
  cli_table *table = cli_table_new(arena, 2);
  for (const cli_column *c = view->columns; c->title != NULL; c++) {
    cli_cell cell = make_cell(arena, object, c, now_us);
    if (cell.text[0] != '\0') {
      cli_cell *cells = cli_table_row(table);
      cells[0] = (cli_cell){c->title, CLI_DIM};
      cells[1] = cell;
    }
  }
  bool ok = cli_table_write(table, 0, colour, out);
  eco_arena_free(arena);
  return ok;
}
