// Form rules for what people name; the contract is in names.h.
#include "names.h"

#include <stdint.h>
#include <string.h>

#include "registry_limits.h"

static bool is_alnum(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
}

bool registry_name_valid(const char *name) {
  size_t n = strlen(name);
  if (n == 0 || n > REGISTRY_NAME_MAX || !is_alnum(name[0])) {
    return false;
  }
  for (size_t i = 1; i < n; i++) {
    if (!is_alnum(name[i]) && strchr("._/-", name[i]) == NULL) {
      return false;
    }
  }
  return true;
}

// Length of the UTF-8 sequence at s (n bytes left), 0 when it is none (overlong, surrogate, beyond U+10FFFF: RFC 3629).
static size_t utf8_sequence(const unsigned char *s, size_t n) {
  if (s[0] < 0x80) {
    return 1;
  }
  size_t len = s[0] >= 0xf0 ? 4 : s[0] >= 0xe0 ? 3 : 2;
  if (s[0] < 0xc2 || s[0] > 0xf4 || len > n) {
    return 0;
  }
  uint32_t point = s[0] & (0xffU >> (len + 1));
  for (size_t i = 1; i < len; i++) {
    if ((s[i] & 0xc0) != 0x80) {
      return 0;
    }
    point = (point << 6) | (s[i] & 0x3fU);
  }
  static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
  if (point < least[len] || point > 0x10ffff || (point >= 0xd800 && point <= 0xdfff)) {
    return 0;
  }
  return point >= 0x80 && point <= 0x9f ? 0 : len;  // C1 controls steer terminals too
}

bool registry_text_valid(const char *text, size_t max) {
  const unsigned char *s = (const unsigned char *)text;
  size_t n = strlen(text);
  if (n > max) {
    return false;
  }
  for (size_t i = 0; i < n;) {
    size_t len = utf8_sequence(s + i, n - i);
    if (len == 0 || s[i] < 0x20 || s[i] == 0x7f) {
      return false;
    }
    i += len;
  }
  return true;
}

bool registry_label_valid(const char *label, size_t max) {
  size_t n = strlen(label);
  return n > 0 && label[0] != ' ' && label[n - 1] != ' ' && registry_text_valid(label, max);
}

static bool host_valid(const char *host) {
  size_t label = 0;
  size_t labels = 0;
  for (const char *p = host;; p++) {
    if (*p == '.' || *p == '\0') {
      if (label == 0 || label > 63 || p[-1] == '-' || p[-(ptrdiff_t)label] == '-') {
        return false;
      }
      labels++;
      label = 0;
      if (*p == '\0') {
        return labels >= 2;
      }
    } else if (is_alnum(*p) || *p == '-') {
      label++;
    } else {
      return false;
    }
  }
}

bool registry_email_valid(const char *email) {
  size_t n = strlen(email);
  const char *at = strrchr(email, '@');
  if (n > REGISTRY_EMAIL_MAX || at == NULL || at == email || at - email > 64) {
    return false;
  }
  for (const char *p = email; p < at; p++) {
    if (*p == '.') {
      if (p == email || p + 1 == at || p[1] == '.') {
        return false;
      }
    } else if (!is_alnum(*p) && strchr("!#$%&'*+-/=?^_`{|}~", *p) == NULL) {
      return false;
    }
  }
  return host_valid(at + 1);
}

void registry_email_fold(const char *email, char *out) {
  for (; *email != '\0'; email++) {
    *out++ = (char)(*email >= 'A' && *email <= 'Z' ? *email + ('a' - 'A') : *email);
  }
  *out = '\0';
}

bool registry_region_valid(const char *region) {
  size_t n = strlen(region);
  if (n == 0 || n > REGISTRY_REGION_MAX || region[0] == '-' || region[n - 1] == '-') {
    return false;
  }
  for (size_t i = 0; i < n; i++) {
    if (!is_alnum(region[i]) && region[i] != '-') {
      return false;
    }
    if (region[i] >= 'A' && region[i] <= 'Z') {
      return false;
    }
  }
  return true;
}
