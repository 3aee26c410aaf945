# shellcheck shell=bash disable=SC2153
# Starting and stopping processes by pid file. A pid counts as ours only while the process has the start time we noted, so
# that a number which the system gave to somebody else is never signalled.

start_time() { # <pid>: field 22 of /proc/<pid>/stat, counted after the parenthesised name
  local stat
  stat=$(cat "/proc/$1/stat" 2>/dev/null) || return 1
  stat=${stat##*) }
  # shellcheck disable=SC2086
  set -- $stat
  echo "${20}"
}

# A process has ended when its last thread has: the first one is a zombie before, and the others still hold its sockets.
alive() { # <name>: whether our process runs; REPLY is its pid
  local file=$STATE/run/$1.pid now stat
  REPLY=$(cat "$file" 2>/dev/null) || return 1
  [[ $REPLY =~ ^[0-9]+$ ]] || return 1
  now=$(start_time "$REPLY") && [[ $now == "$(cat "$STATE/run/.$1.started" 2>/dev/null)" ]] || return 1
  stat=$(sed 's/.*) //' "/proc/$REPLY/stat" 2>/dev/null) || return 1
  read -ra stat <<<"$stat"
  [[ ${stat[0]} != [ZX] ]] || ((stat[17] > 1))
}

ended() { # <pid>: there is no such process, or only what its parent has not looked at
  local stat
  stat=$(sed 's/.*) //' "/proc/$1/stat" 2>/dev/null) || return 0
  [[ $stat == [ZX]* ]]
}

# spawn <name> <command...>: in the background, own session, output appended to its log, pid file written.
spawn() {
  local name=$1 pid
  shift
  (
    exec 9>&- </dev/null >>"$STATE/log/$name.log" 2>&1
    exec setsid "$@"
  ) &
  pid=$!
  disown "$pid" 2>/dev/null || true
  start_time "$pid" >"$STATE/run/.$name.started" || true
  echo "$pid" >"$STATE/run/$name.pid.new"
  mv "$STATE/run/$name.pid.new" "$STATE/run/$name.pid"
}

log_tail() { tail -n "${2:-15}" "$STATE/log/$1.log" 2>/dev/null | sed 's/^/    /' >&2; }

# wait_for <name> <words> <seconds> <test...>: until the test succeeds. Says so when it takes long; dies when the process does.
wait_for() {
  local name=$1 words=$2 seconds=$3 i
  shift 3
  for ((i = 0; i < seconds * 10; i++)); do
    "$@" >/dev/null 2>&1 && return 0
    alive "$name" || { log_tail "$name"; die "$name ended while starting: see $STATE/log/$name.log"; }
    ((i % 50 == 49)) && say "still waiting for $words ($((i / 10 + 1)) s) ..."
    sleep 0.1
  done
  log_tail "$name"
  die "$name: no $words after $seconds s: see $STATE/log/$name.log"
}

component_start() {
  if alive "$1"; then return 0; fi
  local words
  case $1 in
    postgres) postgres_start ;;
    nats) nats_start ;;
    *) service_start "$1" ;;
  esac
  alive "$1" || { log_tail "$1"; die "$1 ended while starting: see $STATE/log/$1.log"; }
  words="started $1, pid $REPLY"
  say "$words"
}

# Success when there was something to stop.
component_stop() {
  local name=$1 pid signal=TERM i
  alive "$name" || { rm -f "$STATE/run/$name.pid" "$STATE/run/.$name.started"; return 1; }
  pid=$REPLY
  [[ $name != postgres ]] || signal=INT # fast shutdown: clients are disconnected
  kill "-$signal" "$pid" 2>/dev/null || true
  for ((i = 0; i < STOP_S * 20; i++)); do
    alive "$name" || break
    ((i % 100 == 99)) && say "waiting for $name to stop ($((i / 20 + 1)) s) ..."
    sleep 0.05
  done
  if alive "$name"; then
    say "$name did not stop in $STOP_S s: killed"
    kill -KILL "$pid" 2>/dev/null || true
    while alive "$name"; do sleep 0.05; done
  fi
  rm -f "$STATE/run/$name.pid" "$STATE/run/.$name.started"
  say "stopped $name"
}

# Replicas outlive the scheduler by design; 'down' ends them. Each is the leader of its own process group.
replica_ours() { { tr '\0' '\n' <"/proc/$1/environ"; } 2>/dev/null | grep -q '^ECOLINK_SERVED_MODEL='; }
replicas_stop() {
  local file pid pids=() i
  for file in "$STATE"/run/replicas/*.pid; do
    pid=$(cat "$file" 2>/dev/null) || continue
    if [[ $pid =~ ^[0-9]+$ ]] && replica_ours "$pid"; then
      kill -TERM "-$pid" 2>/dev/null || kill -TERM "$pid" 2>/dev/null || true
      pids+=("$pid")
    fi
    rm -f "$file"
  done
  ((${#pids[@]})) || return 0
  for ((i = 0; i < 100; i++)); do
    for pid in "${pids[@]}"; do [[ ! -d /proc/$pid ]] || { sleep 0.1; continue 2; }; done
    break
  done
  for pid in "${pids[@]}"; do
    if replica_ours "$pid"; then kill -KILL "-$pid" 2>/dev/null || true; fi
  done
  say "stopped ${#pids[@]} replica(s)"
}
