// The table of names and its three threads: one looks up names that nobody has answered for yet, one all others, so
// that those which fail again and again never stand before a new one; and one tells of changes, which waits for
// neither.
#include "name_table.h"

#include <errno.h>
#include <pthread.h>
#include <search.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "ecolink/clock.h"
#include "ecolink/pace.h"

enum {
  WAIT_MS = 100,
  LOOK_MS = 100,    // how soon a change is told
  RETRY_MS = 1000,  // after a failure; doubled up to
  RETRY_MOST_MS = 60000,
  REFRESH_MS = 300000,
};

struct gw_name {
  gw_names *names;
  gw_name *next, *prev;   // of all
  gw_name *next_waiting;  // of those that were never asked for
  unsigned holds;
  bool answered, known;
  bool anew;  // asked for since the lookup that is under way began
  gw_sockaddr address;
  int64_t due_ms;
  int64_t retry_ms;
  char host[];
};

struct gw_names {
  gw_lookup_fn lookup;
  void (*changed)(void *arg);
  void *arg;
  pthread_mutex_t lock;  // guards all below
  pthread_cond_t moved;  // a name waits, an answer came, a call ended, the end
  void *tree;            // of gw_name, by host
  gw_name *all;
  gw_name *first_waiting, *last_waiting;
  unsigned users;  // the owner and each thread
  bool started, stopping, calling, stale, in_vain;
};

static void *alloc_or_die(size_t n) {
  void *p = calloc(1, n);
  if (!p) {
    abort();
  }
  return p;
}

bool gw_sockaddr_same(const gw_sockaddr *a, const gw_sockaddr *b) {
  if (a->sa.sa_family != b->sa.sa_family) {
    return false;
  }
  return a->sa.sa_family == AF_INET6 ? memcmp(&a->in6.sin6_addr, &b->in6.sin6_addr, sizeof a->in6.sin6_addr) == 0 &&
                                           a->in6.sin6_scope_id == b->in6.sin6_scope_id
                                     : a->in.sin_addr.s_addr == b->in.sin_addr.s_addr;
}

// ---- names ----

static int by_host(const void *a, const void *b) {
  return strcmp(((const gw_name *)a)->host, ((const gw_name *)b)->host);
}

// Each queue and each lookup holds the name that it has, so that it outlives them.
static void let_go(gw_name *name) {
  gw_names *names = name->names;
  if (--name->holds > 0) {
    return;
  }
  tdelete(name, &names->tree, by_host);
  *(name->prev ? &name->prev->next : &names->all) = name->next;
  if (name->next) {
    name->next->prev = name->prev;
  }
  free(name);
}

static void enter(gw_names *names, gw_name *name) {
  name->next = names->all;
  if (names->all) {
    names->all->prev = name;
  }
  names->all = name;
  *(names->last_waiting ? &names->last_waiting->next_waiting : &names->first_waiting) = name;
  names->last_waiting = name;
  name->holds++;
  pthread_cond_broadcast(&names->moved);
}

gw_name *gw_name_take(gw_names *names, const char *host) {
  const size_t n = strlen(host) + 1;
  gw_name *fresh = alloc_or_die(sizeof *fresh + n);
  fresh->names = names;
  fresh->retry_ms = RETRY_MS;
  memcpy(fresh->host, host, n);
  pthread_mutex_lock(&names->lock);
  gw_name **place = tsearch(fresh, &names->tree, by_host);
  if (!place) {
    abort();
  }
  gw_name *name = *place;
  if (name == fresh) {
    enter(names, name);
  } else {
    free(fresh);
    name->anew = true;
    name->due_ms = 0;
  }
  name->holds++;
  pthread_mutex_unlock(&names->lock);
  return name;
}

gw_name *gw_name_hold(gw_name *name) {
  pthread_mutex_lock(&name->names->lock);
  name->holds++;
  pthread_mutex_unlock(&name->names->lock);
  return name;
}

void gw_name_release(gw_name *name) {
  gw_names *names = name->names;
  pthread_mutex_lock(&names->lock);
  let_go(name);
  pthread_mutex_unlock(&names->lock);
}

static void wait_for_answer(gw_names *names, const gw_name *name) {
  const struct timespec until = eco_deadline_in(WAIT_MS);
  while (!name->answered && !names->in_vain && names->started && !names->stopping) {
    if (pthread_cond_timedwait(&names->moved, &names->lock, &until) == ETIMEDOUT) {
      names->in_vain = !name->answered;
      return;
    }
  }
}

bool gw_name_address(gw_name *name, bool wait, gw_sockaddr *out) {
  gw_names *names = name->names;
  pthread_mutex_lock(&names->lock);
  if (wait) {
    wait_for_answer(names, name);
  }
  *out = name->address;
  bool known = name->known;
  pthread_mutex_unlock(&names->lock);
  return known;
}

// ---- lookups ----

static void take_answer(gw_names *names, gw_name *name, bool good, const gw_sockaddr *address) {
  const int64_t now_ms = eco_boottime_ms();
  names->in_vain = false;
  name->answered = true;
  name->due_ms = name->anew ? 0 : now_ms + (good ? REFRESH_MS : name->retry_ms);
  name->retry_ms = good ? RETRY_MS : name->retry_ms * 2 < RETRY_MOST_MS ? name->retry_ms * 2 : RETRY_MOST_MS;
  if (good && (!name->known || !gw_sockaddr_same(&name->address, address))) {
    name->address = *address;
    name->known = true;
    names->stale = true;
  }
  pthread_cond_broadcast(&names->moved);
}

// Under the lock, which is not held meanwhile; the name is the caller's.
static void look_up(gw_names *names, gw_name *name) {
  gw_sockaddr address;
  name->anew = false;
  pthread_mutex_unlock(&names->lock);
  bool good = names->lookup(name->host, &address);
  pthread_mutex_lock(&names->lock);
  take_answer(names, name, good, &address);
}

// The owner or a thread is done; the last one frees.
static void leave(gw_names *names) {
  bool last = --names->users == 0;
  pthread_mutex_unlock(&names->lock);
  if (last) {
    pthread_cond_destroy(&names->moved);
    pthread_mutex_destroy(&names->lock);
    free(names);
  }
}

static gw_name *next_waiting(gw_names *names) {
  gw_name *name = names->first_waiting;
  if (name) {
    names->first_waiting = name->next_waiting;
    names->last_waiting = names->first_waiting ? names->last_waiting : NULL;
  }
  return name;
}

static void *first_main(void *arg) {
  gw_names *names = arg;
  pthread_mutex_lock(&names->lock);
  while (!names->stopping) {
    gw_name *name = next_waiting(names);
    if (name) {
      look_up(names, name);
      let_go(name);
    } else {
      pthread_cond_wait(&names->moved, &names->lock);
    }
  }
  leave(names);
  return NULL;
}

static gw_name *next_due(gw_names *names) {
  const int64_t now_ms = eco_boottime_ms();
  gw_name *name = names->all;
  while (name && (!name->answered || name->due_ms > now_ms)) {
    name = name->next;
  }
  return name;
}

// Until the next look, or the end.
static void wait_a_little(gw_names *names) {
  const struct timespec until = eco_deadline_in(LOOK_MS);
  while (!names->stopping && pthread_cond_timedwait(&names->moved, &names->lock, &until) != ETIMEDOUT) {
  }
}

static void *again_main(void *arg) {
  gw_names *names = arg;
  pthread_mutex_lock(&names->lock);
  while (!names->stopping) {
    wait_a_little(names);
    for (gw_name *name; !names->stopping && (name = next_due(names));) {
      name->holds++;
      look_up(names, name);
      let_go(name);
    }
  }
  leave(names);
  return NULL;
}

static void *teller_main(void *arg) {
  gw_names *names = arg;
  pthread_mutex_lock(&names->lock);
  while (!names->stopping) {
    wait_a_little(names);
    if (names->stale && !names->stopping) {
      names->stale = false;
      names->calling = true;
      pthread_mutex_unlock(&names->lock);
      names->changed(names->arg);
      pthread_mutex_lock(&names->lock);
      names->calling = false;
      pthread_cond_broadcast(&names->moved);
    }
  }
  leave(names);
  return NULL;
}

// ---- life ----

gw_names *gw_names_new(gw_lookup_fn lookup) {
  gw_names *names = alloc_or_die(sizeof *names);
  names->lookup = lookup;
  names->users = 1;
  pthread_mutex_init(&names->lock, NULL);
  eco_cond_init(&names->moved);
  return names;
}

void gw_names_start(gw_names *names, void (*changed)(void *arg), void *arg) {
  static void *(*const MAINS[])(void *) = {first_main, again_main, teller_main};
  names->changed = changed;
  names->arg = arg;
  names->started = true;
  for (size_t i = 0; i < sizeof MAINS / sizeof *MAINS; i++) {
    pthread_t thread;
    names->users++;
    if (pthread_create(&thread, NULL, MAINS[i], names) != 0) {
      abort();  // at the start alone
    }
    (void)pthread_setname_np(thread, "gw-names");
    (void)pthread_detach(thread);  // a lookup may take long: nobody waits for its end
  }
}

void gw_names_stop(gw_names *names) {
  pthread_mutex_lock(&names->lock);
  names->stopping = true;
  pthread_cond_broadcast(&names->moved);
  while (names->calling) {
    pthread_cond_wait(&names->moved, &names->lock);
  }
  pthread_mutex_unlock(&names->lock);
}

void gw_names_free(gw_names *names) {
  pthread_mutex_lock(&names->lock);
  for (gw_name *name; (name = next_waiting(names));) {
    let_go(name);
  }
  leave(names);
}
