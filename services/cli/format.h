// Values for people: money, spans, ages, counts. Pure; results are in the arena.
#ifndef CLI_FORMAT_H
#define CLI_FORMAT_H

#include <stdbool.h>
#include <stdint.h>

#include "ecolink/arena.h"

const char *cli_format_span(eco_arena *arena, int64_t seconds);  // "45s", "12m 3s", "5h 36m", "3d 4h"
const char *cli_format_age(eco_arena *arena, const char *rfc3339,
                           int64_t now_us);                     // "3m ago"; "in 2h"; the text if no time
const char *cli_format_usd(eco_arena *arena, int64_t micros);   // "$76.80", "-$3.20"
const char *cli_format_bytes(eco_arena *arena, int64_t bytes);  // "1.5 KiB"
// Drops what could drive the terminal: control characters become spaces, escape sequences lose their ESC.
const char *cli_format_clean(eco_arena *arena, const char *text, size_t len);
// "2026-11-22 20:23:43", UTC, of an RFC 3339 time.
const char *cli_format_time(eco_arena *arena, const char *rfc3339);

#endif
