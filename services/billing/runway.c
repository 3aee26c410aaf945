// Burn rate and accrued uptime of open holds.
#include "runway.h"

#include "ecolink/money.h"
#include "ecolink/v1/scheduler.pb-c.h"

static bool burns(const store_hold *hold) {
  return hold->ready_replicas > 0 &&
         (hold->instance_status == ECOLINK__V1__INSTANCE_STATUS__INSTANCE_STATUS_RUNNING ||
          hold->instance_status == ECOLINK__V1__INSTANCE_STATUS__INSTANCE_STATUS_PROVISIONING);
}

static void add_capped(int64_t *sum, int64_t more) {
  if (!eco_money_add(*sum, more, sum)) {
    *sum = INT64_MAX;
  }
}

static void add_hold(runway_sum *sum, const store_hold *hold, int64_t now_us) {
  int64_t seconds = hold->metered_seconds;
  add_capped(&sum->held_micros, hold->rule.amount_micros);
  if (burns(hold)) {
    cycle_terms ready = hold->rule.terms;
    ready.total_replicas = hold->ready_replicas;
    int64_t burn;
    add_capped(&sum->burn_micros_per_hour, cycle_burn(&ready, &burn) ? burn : INT64_MAX);
    if (now_us > hold->metered_until_us) {
      seconds += (now_us - hold->metered_until_us) / CYCLE_US_PER_S * hold->ready_replicas;
    }
  }
  add_capped(&sum->accrued_micros, cycle_accrued(&hold->rule, seconds));
}

runway_sum runway_of(const store_hold *holds, size_t count, int64_t now_us) {
  runway_sum sum = {0};
  for (size_t i = 0; i < count; i++) {
    add_hold(&sum, &holds[i], now_us);
  }
  return sum;
}
