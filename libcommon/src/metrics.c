// Metrics: families (one per name) of cells (one per label set). Registered under a lock, updated without one.
#include "ecolink/metrics.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { BOUNDS_MAX = 20 };

typedef enum metric_kind { COUNTER, GAUGE, HISTOGRAM } metric_kind;
static const char *const KIND_WORD[] = {"counter", "gauge", "histogram"};

struct eco_metric {
  struct eco_metric *next;  // in its family, by order of registration
  metric_kind kind;
  char *labels;        // inside of the braces; "" for none
  atomic_llong value;  // counters, gauges; a histogram's number of observations
  int bound_count;     // histograms: buckets[bound_count] is what exceeds the last bound
  double bounds[BOUNDS_MAX];
  atomic_llong buckets[BOUNDS_MAX + 1];
  _Atomic double sum;
};

typedef struct family {
  struct family *next;
  char *name;
  char *help;
  metric_kind kind;
  eco_metric *metrics;
  eco_metric **tail;
} family;

// Grows only; guarded by `lock`.
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static family *families;
static family **families_tail = &families;
static void (*before_write)(void *arg);
static void *before_write_arg;

static void *must(void *p) {
  if (p == NULL) {
    fprintf(stderr, "metrics: out of memory\n");
    abort();
  }
  return p;
}

static family *family_get(const char *name, const char *help, metric_kind kind) {
  for (family *f = families; f != NULL; f = f->next) {
    if (strcmp(f->name, name) == 0) {
      if (f->kind != kind) {
        fprintf(stderr, "metrics: %s is registered as a %s and as a %s\n", name, KIND_WORD[f->kind], KIND_WORD[kind]);
        abort();
      }
      return f;
    }
  }
  family *f = must(calloc(1, sizeof(*f)));
  f->name = must(strdup(name));
  f->help = must(strdup(help != NULL ? help : ""));
  f->kind = kind;
  f->tail = &f->metrics;
  *families_tail = f;
  families_tail = &f->next;
  return f;
}

static eco_metric *metric_get(const char *name, const char *help, const char *labels, metric_kind kind,
                              const double *bounds) {
  if (labels == NULL) {
    labels = "";
  }
  (void)pthread_mutex_lock(&lock);
  family *f = family_get(name, help, kind);
  eco_metric *m = f->metrics;
  while (m != NULL && strcmp(m->labels, labels) != 0) {
    m = m->next;
  }
  if (m == NULL) {
    m = must(calloc(1, sizeof(*m)));
    m->kind = kind;
    m->labels = must(strdup(labels));
    for (; bounds != NULL && m->bound_count < BOUNDS_MAX && bounds[m->bound_count] != 0; m->bound_count++) {
      m->bounds[m->bound_count] = bounds[m->bound_count];
    }
    *f->tail = m;
    f->tail = &m->next;
  }
  (void)pthread_mutex_unlock(&lock);
  return m;
}

eco_metric *eco_counter(const char *name, const char *help, const char *labels) {
  return metric_get(name, help, labels, COUNTER, NULL);
}

eco_metric *eco_gauge(const char *name, const char *help, const char *labels) {
  return metric_get(name, help, labels, GAUGE, NULL);
}

eco_metric *eco_histogram(const char *name, const char *help, const char *labels, const double *bounds) {
  return metric_get(name, help, labels, HISTOGRAM, bounds);
}

void eco_metric_add(eco_metric *m, int64_t n) {
  atomic_fetch_add_explicit(&m->value, n, memory_order_relaxed);
}

void eco_metric_set(eco_metric *m, int64_t v) {
  atomic_store_explicit(&m->value, v, memory_order_relaxed);
}

void eco_metric_observe(eco_metric *m, double v) {
  int i = 0;
  while (i < m->bound_count && v > m->bounds[i]) {
    i++;
  }
  atomic_fetch_add_explicit(&m->buckets[i], 1, memory_order_relaxed);
  atomic_fetch_add_explicit(&m->value, 1, memory_order_relaxed);
  double sum = atomic_load_explicit(&m->sum, memory_order_relaxed);
  while (!atomic_compare_exchange_weak_explicit(&m->sum, &sum, sum + v, memory_order_relaxed, memory_order_relaxed)) {
  }
}

void eco_metric_set_histogram(eco_metric *m, const int64_t *counts, double sum) {
  int64_t n = 0;
  for (int i = 0; i <= m->bound_count; i++) {
    atomic_store_explicit(&m->buckets[i], counts[i], memory_order_relaxed);
    n += counts[i];
  }
  atomic_store_explicit(&m->value, n, memory_order_relaxed);
  atomic_store_explicit(&m->sum, sum, memory_order_relaxed);
}

int64_t eco_metric_value(const eco_metric *m) {
  return atomic_load_explicit(&m->value, memory_order_relaxed);
}

// ---- text format 0.0.4 ----

static bool write_help(eco_buf *out, const char *help) {
  for (; *help != '\0'; help++) {
    bool ok = *help == '\n'   ? eco_buf_puts(out, "\\n")
              : *help == '\\' ? eco_buf_puts(out, "\\\\")
                              : eco_buf_putc(out, *help);
    if (!ok) {
      return false;
    }
  }
  return true;
}

// "name" or "name{labels}"
static bool write_name(eco_buf *out, const char *name, const char *suffix, const char *labels) {
  return *labels != '\0' ? eco_buf_printf(out, "%s%s{%s} ", name, suffix, labels)
                         : eco_buf_printf(out, "%s%s ", name, suffix);
}

static bool write_histogram(eco_buf *out, const char *name, const eco_metric *m) {
  const char *comma = *m->labels != '\0' ? "," : "";
  long long below = 0;
  for (int i = 0; i <= m->bound_count; i++) {
    below += atomic_load_explicit(&m->buckets[i], memory_order_relaxed);
    bool ok =
        i < m->bound_count
            ? eco_buf_printf(out, "%s_bucket{%s%sle=\"%.9g\"} %lld\n", name, m->labels, comma, m->bounds[i], below)
            : eco_buf_printf(out, "%s_bucket{%s%sle=\"+Inf\"} %lld\n", name, m->labels, comma, below);
    if (!ok) {
      return false;
    }
  }
  // The count is the sum of the buckets just read: the two never disagree within one answer.
  return write_name(out, name, "_sum", m->labels) &&
         eco_buf_printf(out, "%.9g\n", atomic_load_explicit(&m->sum, memory_order_relaxed)) &&
         write_name(out, name, "_count", m->labels) && eco_buf_printf(out, "%lld\n", below);
}

static bool write_family(eco_buf *out, const family *f) {
  if (!eco_buf_printf(out, "# HELP %s ", f->name) || !write_help(out, f->help) ||
      !eco_buf_printf(out, "\n# TYPE %s %s\n", f->name, KIND_WORD[f->kind])) {
    return false;
  }
  for (const eco_metric *m = f->metrics; m != NULL; m = m->next) {
    bool ok = f->kind == HISTOGRAM ? write_histogram(out, f->name, m)
                                   : write_name(out, f->name, "", m->labels) &&
                                         eco_buf_printf(out, "%" PRId64 "\n", eco_metric_value(m));
    if (!ok) {
      return false;
    }
  }
  return true;
}

void eco_metrics_before_write(void (*fn)(void *arg), void *arg) {
  (void)pthread_mutex_lock(&lock);
  before_write = fn;
  before_write_arg = arg;
  (void)pthread_mutex_unlock(&lock);
}

bool eco_metrics_write(eco_buf *out) {
  bool ok = true;
  (void)pthread_mutex_lock(&lock);
  void (*fn)(void *arg) = before_write;
  void *arg = before_write_arg;
  (void)pthread_mutex_unlock(&lock);
  if (fn != NULL) {
    fn(arg);  // registers and sets metrics: without the lock
  }
  (void)pthread_mutex_lock(&lock);
  for (const family *f = families; ok && f != NULL; f = f->next) {
    ok = write_family(out, f);
  }
  (void)pthread_mutex_unlock(&lock);
  return ok;
}
