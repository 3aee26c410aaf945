// The service's settings as a table.
#include "settings.h"

billing_settings billing_set;

// A cycle of a year and waits of a month: beyond them a value is a slip of the pen.
#define YEAR_S 31536000
#define MONTH_S 2592000

const eco_setting billing_setting_table[] = {
    {.name = "CYCLE_S",
     .kind = ECO_SET_I64,
     .target = &billing_set.cycle_s,
     .fallback = "86400",
     .help = "length of a billing cycle and of the hold for it, seconds",
     .min = 60,
     .max = YEAR_S},
    {.name = "TICK_MS",
     .kind = ECO_SET_I64,
     .target = &billing_set.tick_ms,
     .fallback = "1000",
     .help = "pause between two passes of the worker that settles and renews, milliseconds",
     .min = 10,
     .max = 600000},
    {.name = "RECONCILE_S",
     .kind = ECO_SET_I64,
     .target = &billing_set.reconcile_s,
     .fallback = "30",
     .help = "how often every open hold is compared with the scheduler's meter, seconds",
     .min = 1,
     .max = MONTH_S},
    {.name = "EVIDENCE_WAIT_S",
     .kind = ECO_SET_I64,
     .target = &billing_set.evidence_wait_s,
     .fallback = "30",
     .help = "how long a due cycle waits for a meter that has not reached the cycle's end, seconds",
     .min = 0,
     .max = MONTH_S},
    {.name = "HOLD_GRACE_S",
     .kind = ECO_SET_I64,
     .target = &billing_set.hold_grace_s,
     .fallback = "21600",
     .help = "a cycle that is overdue for longer than this alarms (log and metric), seconds",
     .min = 1,
     .max = MONTH_S},
    {.name = "NOTICE_TICK_MS",
     .kind = ECO_SET_I64,
     .target = &billing_set.notice_tick_ms,
     .fallback = "5000",
     .help = "pause between two looks at every account's remaining runtime, milliseconds",
     .min = 100,
     .max = 600000},
    ECO_SETTING_END,
};
