// Whether the database answers, asked once a second by a thread of its own: /readyz and /healthz share a thread that
// must never wait, and a server that swallows packets keeps its caller waiting for many seconds.
#include <stdlib.h>

#include "ecolink/clock.h"
#include "ecolink/db.h"
#include "kit.h"

enum { ASK_EVERY_MS = 1000, STALE_MS = 5000 };

struct kit_db_pulse {
  eco_service *svc;
  pthread_t thread;
  atomic_bool good;
  atomic_int_fast64_t asked_ms;  // CLOCK_BOOTTIME when the last answer came
};

static void *beat(void *arg) {
  kit_db_pulse *p = arg;
  do {
    bool good = eco_db_ready(p->svc->db);
    atomic_store(&p->asked_ms, eco_boottime_ms());
    atomic_store(&p->good, good);
  } while (!kit_sleep(p->svc, ASK_EVERY_MS));
  return NULL;
}

eco_status kit_db_pulse_start(eco_service *svc) {
  kit_db_pulse *p = calloc(1, sizeof(*p));
  if (p == NULL) {
    return eco_error(ECO_OVERLOADED, "the database's watch cannot start: out of memory");
  }
  p->svc = svc;
  svc->db_pulse = p;
  kit_thread_start(&p->thread, beat, p, "db-pulse");
  return eco_success();
}

bool kit_db_pulse_good(const kit_db_pulse *p) {
  return p != NULL && atomic_load(&p->good) && eco_boottime_ms() - atomic_load(&p->asked_ms) < STALE_MS;
}

void kit_db_pulse_stop(eco_service *svc) {
  if (svc->db_pulse != NULL) {
    (void)pthread_join(svc->db_pulse->thread, NULL);
    free(svc->db_pulse);
    svc->db_pulse = NULL;
  }
}
