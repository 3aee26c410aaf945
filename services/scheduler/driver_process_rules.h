// The process driver's pure rules: what to do next, how long to wait, what a record says, what a command becomes.
// No I/O, no clock: everything comes in as an argument. Any thread.
#ifndef SCHEDULER_DRIVER_PROCESS_RULES_H
#define SCHEDULER_DRIVER_PROCESS_RULES_H

#include "driver.h"
#include "ecolink/buf.h"

enum {
  PROCESS_REGION_MAX = 64,
  PROCESS_BOOT_ID_MAX = 40,
  PROCESS_RECORD_BYTES_MAX = 4096,
  PROCESS_NAME_MAX = 48,  // "<instance>-<replica>"
  PROCESS_BACKOFF_FIRST_MS = 1000,
  PROCESS_BACKOFF_MAX_MS = 30000,
  PROCESS_STEADY_MS = 5 * 60 * 1000,  // a run that lived so long starts the back-off anew
};

// ---- the adoption record: what must outlive the scheduler ----
typedef enum process_state {
  PROCESS_INTENT,    // about to be forked: nothing of it runs, or it waits at the pipe and ends by itself
  PROCESS_RUNNING,   // pid and start_ticks name the process
  PROCESS_STOPPING,  // as running; has been asked to end
  PROCESS_EXITED,    // pid and start_ticks are of the last run
} process_state;

typedef struct process_record {
  int64_t instance_id;
  int replica_id;
  char region[PROCESS_REGION_MAX];
  int64_t generation;
  process_state state;
  int port;
  int pid;                            // 0: never ran in this generation
  int64_t start_ticks;                // field 22 of /proc/<pid>/stat
  char boot_id[PROCESS_BOOT_ID_MAX];  // a pid means nothing after the machine's restart
  int64_t kill_at_us;                 // PROCESS_STOPPING: wall clock of SIGKILL
  int64_t restart_at_us;              // PROCESS_EXITED: wall clock
  int failures;                       // exits in a row of runs that were not steady
  int restarts;
  int64_t exits_us[REPLICA_EXITS_KEPT];
  char exit_text[REPLICA_DETAIL_MAX];  // "exited with status 1"
} process_record;

// Text, one "name value" a line, closed by a checksum line. False: the buffer is too small.
bool process_record_format(const process_record *record, eco_buf *out);
// False when it is no whole record of this format.
bool process_record_parse(const char *text, size_t len, process_record *out);
// Region names travel in a line of the record.
bool process_region_is(const char *region);

void process_name(int64_t instance_id, int replica_id, char out[PROCESS_NAME_MAX]);
// The reverse, for names found in a directory: "<instance>-<replica><suffix>" and nothing else.
bool process_name_parse(const char *name, const char *suffix, int64_t *instance_id, int *replica_id);
void process_run_id(const process_record *record, char out[REPLICA_RUN_ID_MAX]);  // "" when it never ran

// ---- back-off ----
// `failures` >= 1, this one counted: 1 s, 2 s, 4 s, ... 30 s.
int64_t process_backoff_ms(int failures);
// "<first>-<last>" in decimal digits, first no larger than last.
bool process_range_parse(const char *text, uint64_t *first, uint64_t *last);
// Books an exit at now_us (business time) of a run that lived lived_ms: exits, restarts' back-off. wall_us dates the
// restart.
void process_record_exit(process_record *record, int64_t now_us, int64_t wall_us, int64_t lived_ms,
                         const char *exit_text);
// "exited with status 1", "killed by signal 9 (Killed)"; code and status are siginfo's. code 0: unknown.
void process_exit_text(int code, int status, char out[REPLICA_DETAIL_MAX]);

// ---- decision ----
typedef enum process_action {
  PROCESS_WAIT,
  PROCESS_START,
  PROCESS_TERM,  // SIGTERM to the group
  PROCESS_KILL,  // SIGKILL to the group
  PROCESS_DROP,  // nothing runs and nothing should: the record goes
} process_action;

typedef struct process_facts {
  bool live;
  bool term_sent;
  bool kill_sent;
  bool remove_wanted;
  bool has_spec;              // false until the first apply after the driver was opened
  int64_t generation;         // of the record
  int64_t wanted_generation;  // of the spec
  bool region_differs;        // the spec wants it elsewhere
  bool ran;                   // this generation was started before
  int64_t restart_at_ms;
  int64_t kill_at_ms;
} process_facts;
process_action process_decide(const process_facts *f, int64_t now_ms);

// ---- /proc ----
// State letter and start time (field 22) out of the text of /proc/<pid>/stat; the name in it may hold blanks and
// brackets.
bool process_stat_parse(const char *text, char *state, int *session, int64_t *start_ticks);
// Inode and owner of the socket that listens on `port` in a line of /proc/net/tcp or tcp6; false when the line is
// another's.
bool process_listen_line(const char *line, int port, uint64_t *inode, int64_t *uid);

// ---- logs ----
// Where the last max_lines lines of text begin.
size_t process_tail_start(const char *text, size_t len, int max_lines);

#endif
