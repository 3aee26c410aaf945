// Who a process is: looked up in /proc and held by a pidfd, so that a recycled pid is never taken for ours. Any thread.
#ifndef SCHEDULER_DRIVER_PROCESS_PROC_H
#define SCHEDULER_DRIVER_PROCESS_PROC_H

#include <sys/types.h>

#include "driver_process_rules.h"

// Id of the machine's present boot.
ECO_CHECKED eco_status process_boot_id(char out[PROCESS_BOOT_ID_MAX]);
// Start time of a process that lives; false when there is none or it is a zombie.
bool process_start_ticks(int pid, int64_t *out);
// A pidfd of exactly the process of the record, or -1 when that process is gone. The caller closes it.
int process_hold(const process_record *record, const char *boot_id);
bool process_exists(int pid);  // any process of that number, zombies included
bool process_pidfd_ended(int pidfd);
// Ends what is left of a dead leader's group. The number stays taken while members live, so it cannot be another's.
void process_group_sweep(int pid);
// Whether a process of the session `sid` listens on the port: another's listener on our port does not count.
// `uid`: accepted as owner of the socket when descriptors cannot be looked at.
bool process_listens(int sid, int port, uid_t uid);
// Replicas' ports, `first` and those that follow.
typedef struct process_ports {
  int first;
  int count;
} process_ports;
ECO_CHECKED eco_status process_ports_parse(const char *text, process_ports *out);
// A port that can be bound on host now: `wanted` if it can, else one of `ports` that `taken` does not know. 0: none.
int process_port_choose(const char *host, process_ports ports, int wanted, bool (*taken)(void *arg, int port),
                        void *arg);
// The IPv4 address that `host`, an address or a name, stands for: in a container the own name is known, the address is
// not. out: INET_ADDRSTRLEN bytes.
ECO_CHECKED eco_status process_host_resolve(const char *host, char *out);

#endif
