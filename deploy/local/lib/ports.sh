# shellcheck shell=bash
# Which port is whose. Chosen once, remembered in ports.env, so that a restart of one part finds the others.

PORT_NAMES=(GATEWAY NATS POSTGRES REGISTRY_ADMIN SCHEDULER_ADMIN BILLING_ADMIN HEALTH_ADMIN GATEWAY_ADMIN)

port_busy() { (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }

# Who listens there, in words, when the system tells.
port_owner() {
  local who
  who=$(ss -Hltnp "sport = :$1" 2>/dev/null | sed -n 's/.*users:((\("[^"]*"\),pid=\([0-9]*\).*/\1, pid \2/p' | head -n 1)
  echo "${who:-another process}"
}

PORT_RANGE=${ECOLINK_PORT_RANGE:-10000-19999}
port_range_sound() {
  [[ $PORT_RANGE =~ ^([1-9][0-9]{0,4})-([1-9][0-9]{0,4})$ ]] && ((BASH_REMATCH[1] <= BASH_REMATCH[2] && BASH_REMATCH[2] < 65536))
}

# Below the usual ephemeral range and that of replicas (20000 to 31999), so that neither an outgoing connection nor a replica,
# of this stack or another, takes a port while its part is down.
port_free() {
  local port first=${PORT_RANGE%-*} last=${PORT_RANGE#*-} tries=0
  while ((tries++ < 1000)); do
    port=$((first + (RANDOM * 32768 + RANDOM) % (last - first + 1)))
    [[ " ${PORTS_TAKEN:-} " == *" $port "* ]] || port_busy "$port" || {
      PORTS_TAKEN="${PORTS_TAKEN:-} $port"
      REPLY=$port
      return
    }
  done
  die "no free port found in $PORT_RANGE: choose another ECOLINK_PORT_RANGE"
}

ports_load() {
  [[ -s $STATE/ports.env ]] || die "no stack in $STATE: run 'make up' first"
  # shellcheck disable=SC1091
  . "$STATE/ports.env"
  public_load
}

ports_choose() {
  local name i=0 port
  if [[ ! -s $STATE/ports.env ]]; then
    port_range_sound || die "ECOLINK_PORT_RANGE is no range of ports: $PORT_RANGE (such as 10000-19999)"
    : >"$STATE/ports.env.new"
    for name in "${PORT_NAMES[@]}"; do
      if [[ -n ${ECOLINK_PORT_BASE:-} ]]; then
        port=$((ECOLINK_PORT_BASE + i))
        ! port_busy "$port" || die "port $port (for $name) is in use by $(port_owner "$port"): free it or choose another ECOLINK_PORT_BASE"
      elif [[ $name == GATEWAY && -z ${ECOLINK_STATE_DIR:-} ]] && ! port_busy 8080; then
        port=8080
      else
        port_free
        port=$REPLY
        if [[ $name == GATEWAY && -z ${ECOLINK_STATE_DIR:-} ]]; then
          say "port 8080 is in use by $(port_owner 8080): the gateway gets $port"
        fi
      fi
      echo "PORT_$name=$port" >>"$STATE/ports.env.new"
      i=$((i + 1))
    done
    mv "$STATE/ports.env.new" "$STATE/ports.env"
  fi
  ports_load
}

# Called before a part is started: its remembered ports must be free.
port_must_be_free() {  # <part> <port>
  port_busy "$2" || return 0
  die "port $2, remembered for $1, is in use by $(port_owner "$2"): free it, or 'make down', remove $STATE/ports.env and 'make up'"
}
