// Walking pages.
#include "list.h"

#include <stdio.h>
#include <string.h>

#include "api.h"
#include "ecolink/clock.h"
#include "term.h"

enum {
  PAGE = 100,  // the largest that every list takes
  ROWS_DEFAULT = 100,
  PAGES_MAX = 10000,
  OUTPUT_MAX = 256 * 1024 * 1024,
};

typedef struct walk {
  cli_app *app;
  cli_reply *replies;  // kept until the table is written: rows point into them
  size_t reply_count;
  yyjson_val **rows;
  size_t row_count;
  size_t row_cap;
  const char *next_cursor;
} walk;

static void add_row(walk *w, yyjson_val *row) {
  if (w->row_count == w->row_cap) {
    size_t cap = w->row_cap > 0 ? 2 * w->row_cap : 256;
    yyjson_val **rows = eco_alloc_array(w->app->arena, cap, sizeof(*rows));
    if (w->row_count > 0) {
      memcpy(rows, w->rows, w->row_count * sizeof(*rows));
    }
    w->rows = rows;
    w->row_cap = cap;
  }
  w->rows[w->row_count++] = row;
}

static void add_page(walk *w, const cli_reply *reply, bool (*keep)(yyjson_val *)) {
  size_t i = 0;
  size_t max = 0;
  yyjson_val *row = NULL;
  yyjson_arr_foreach(yyjson_obj_get(reply->root, "data"), i, max, row) {
    if (keep == NULL || keep(row)) {
      add_row(w, row);
    }
  }
  const char *next = yyjson_get_str(yyjson_obj_get(reply->root, "next_cursor"));
  w->next_cursor = yyjson_get_bool(yyjson_obj_get(reply->root, "has_more")) ? next : NULL;
}

// The list object of all rows, as the API would have written it.
static int print_json(const walk *w) {
  if (w->reply_count == 1) {
    cli_api_print_raw(&w->replies[0]);
    return CLI_EXIT_OK;
  }
  eco_buf out;
  eco_buf_init(&out, OUTPUT_MAX);
  bool ok = eco_buf_puts(&out, "{\"object\":\"list\",\"data\":[");
  for (size_t i = 0; ok && i < w->row_count; i++) {
    size_t n = 0;
    char *row = yyjson_val_write(w->rows[i], 0, &n);
    ok = row != NULL && (i == 0 || eco_buf_putc(&out, ',')) && eco_buf_append(&out, row, n);
    free(row);
  }
  ok = ok && eco_buf_printf(&out, "],\"has_more\":%s,\"next_cursor\":", w->next_cursor != NULL ? "true" : "false");
  ok = ok && (w->next_cursor != NULL ? eco_buf_json_string(&out, w->next_cursor, strlen(w->next_cursor))
                                     : eco_buf_puts(&out, "null"));
  ok = ok && eco_buf_puts(&out, "}\n");
  if (ok) {
    (void)fwrite(out.data, 1, out.len, stdout);
  }
  eco_buf_free(&out);
  return ok ? CLI_EXIT_OK : CLI_EXIT_API;
}

static int print_table(const walk *w, const cli_view *view) {
  eco_buf out;
  eco_buf_init(&out, OUTPUT_MAX);
  cli_app *app = w->app;
  bool ok = cli_view_table(view, w->rows, w->row_count, eco_wall_us(), app->width, app->colour, &out);
  if (ok) {
    (void)fwrite(out.data, 1, out.len, stdout);
  }
  eco_buf_free(&out);
  if (w->next_cursor != NULL) {
    (void)fflush(stdout);
    fprintf(stderr, "There is more: --all, or --cursor %s\n", w->next_cursor);
  }
  return ok ? CLI_EXIT_OK : CLI_EXIT_API;
}

static bool may_repeat(const char *seen, const char *next) {
  return seen != NULL && next != NULL && strcmp(seen, next) == 0;
}

int cli_list_show(cli_app *app, const char *path, const cli_view *view, bool all, bool (*keep)(yyjson_val *)) {
  int64_t wanted = cli_args_int(&app->args, "limit", ROWS_DEFAULT);
  if (wanted < 1) {
    return cli_usage_error(app, eco_error(ECO_INVALID_REQUEST, "--limit begins at 1"));
  }
  walk w = {.app = app, .next_cursor = cli_args_text(&app->args, "cursor")};
  w.replies = eco_alloc_array(app->arena, PAGES_MAX, sizeof(*w.replies));
  int code = CLI_EXIT_OK;
  do {
    int64_t left = wanted - (int64_t)w.row_count;
    const char *cursor = w.next_cursor;
    const char *page = cli_api_add_query(
        app->arena, path, "limit", eco_sprintf(app->arena, "%lld", (long long)(all || left > PAGE ? PAGE : left)));
    page = cursor != NULL ? cli_api_add_query(app->arena, page, "cursor", cursor) : page;
    code = cli_api_call(app, "GET", page, NULL, &w.replies[w.reply_count]);
    if (code != CLI_EXIT_OK) {
      break;
    }
    add_page(&w, &w.replies[w.reply_count++], keep);
    if (may_repeat(cursor, w.next_cursor)) {
      break;  // a cursor that does not move would be walked for ever
    }
  } while (w.next_cursor != NULL && (all || (int64_t)w.row_count < wanted) && w.reply_count < PAGES_MAX);
  if (code == CLI_EXIT_OK) {
    code = app->json ? print_json(&w) : print_table(&w, view);
  }
  for (size_t i = 0; i < w.reply_count; i++) {
    cli_reply_free(&w.replies[i]);
  }
  return code;
}
