// Memory that lives as long as one request or message: allocate freely, free once.
//
// Not thread-safe: an arena belongs to the thread that handles its message. Allocation failure aborts the process (the
// arena's own bound makes that a bug or a machine without memory, never a matter of input: callers bound their input
// first).
#ifndef ECOLINK_ARENA_H
#define ECOLINK_ARENA_H

#include <protobuf-c/protobuf-c.h>
#include <stdarg.h>
#include <stddef.h>

typedef struct eco_arena eco_arena;

eco_arena *eco_arena_new(void);
void eco_arena_free(eco_arena *arena);           // NULL is fine
void *eco_alloc(eco_arena *arena, size_t size);  // zeroed, aligned for any type; never NULL
void *eco_alloc_array(eco_arena *arena, size_t count, size_t size);
char *eco_strdup(eco_arena *arena, const char *s);  // NULL gives ""
char *eco_strndup(eco_arena *arena, const char *s, size_t n);
void *eco_memdup(eco_arena *arena, const void *p, size_t n);
char *eco_sprintf(eco_arena *arena, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
char *eco_vsprintf(eco_arena *arena, const char *fmt, va_list ap) __attribute__((format(printf, 2, 0)));
// An allocator for protobuf-c's unpack: frees nothing, everything goes with the arena. Borrowed until the arena is
// freed.
ProtobufCAllocator *eco_arena_pb(eco_arena *arena);

#endif
