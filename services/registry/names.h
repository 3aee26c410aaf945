// Form rules for what people name: models, labels, emails, regions. Pure; any thread.
#ifndef REGISTRY_NAMES_H
#define REGISTRY_NAMES_H

#include <stdbool.h>
#include <stddef.h>

// ^[A-Za-z0-9][A-Za-z0-9._/-]{0,127}$
bool registry_name_valid(const char *name);
// 1..max bytes of valid UTF-8 without control characters, not blank at either end.
bool registry_label_valid(const char *label, size_t max);
// A text for people: as a label, but empty is fine and blanks may stand anywhere.
bool registry_text_valid(const char *text, size_t max);
// One mailbox: dot-atom local part, dotted host name (RFC 5321 without quoted strings and address literals).
bool registry_email_valid(const char *email);
// ASCII lower case, so that one mailbox is one member. `out` holds strlen(email) + 1 bytes.
void registry_email_fold(const char *email, char *out);
// ^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$
bool registry_region_valid(const char *region);

#endif
