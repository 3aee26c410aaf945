# shellcheck shell=bash
# The five services: settings, migrations, start, readiness.

# Settings of one service as NAME=value lines. Later lines win.
service_settings() {
  local service=$1 p=ECOLINK_${1^^} admin=PORT_${1^^}_ADMIN url=http://127.0.0.1:$PORT_GATEWAY name
  echo "${p}_ADMIN_LISTEN=127.0.0.1:${!admin}"
  echo "${p}_NATS_URL=nats://127.0.0.1:$PORT_NATS"
  echo "${p}_NATS_USER=$service"
  echo "${p}_NATS_PASSWORD=$(secret "nats_$service" 16)"
  if has_database "$service"; then
    echo "${p}_DATABASE_URL=postgresql://${service}_app:$(secret "pg_${service}_app" 16)@127.0.0.1:$PORT_POSTGRES/ecolink"
  fi
  case $service in
    registry) echo "${p}_BOOTSTRAP_KEY=$(cat "$STATE/secrets/bootstrap_key")" ;;
    gateway)
      mkdir -p "$STATE/gateway/spool"
      echo "${p}_LISTEN=127.0.0.1:$PORT_GATEWAY"
      echo "${p}_PUBLIC_URL=$url"
      echo "${p}_SEAL_PUBLIC_KEY=$(cat "$STATE/secrets/seal_public")"
      echo "${p}_IDEMPOTENCY_SECRET=$(secret idempotency 32)"
      echo "${p}_SNAPSHOT_FILE=$STATE/gateway/snapshot"
      echo "${p}_SPOOL_DIR=$STATE/gateway/spool"
      # the system takes 107 bytes of a Unix socket's path
      ((${#STATE} > 90)) || echo "${p}_HANDOVER_SOCKET=$STATE/gateway/handover"
      ;;
    scheduler)
      echo "${p}_PUBLIC_URL=$url"
      echo "${p}_SEAL_PUBLIC_KEY=$(cat "$STATE/secrets/seal_public")"
      echo "${p}_SEAL_SECRET_KEY=$(cat "$STATE/secrets/seal_secret")"
      echo "${p}_SEED_FILE=$(seed_file)"
      echo "${p}_PROCESS_STATE_DIR=$PUBLIC/replicas"
      echo "${p}_PROCESS_RUN_DIR=$STATE/run/replicas"
      echo "${p}_PROCESS_BIND_HOST=127.0.0.1"
      echo "${p}_PROCESS_ALLOW_COMMANDS=true"
      echo "${p}_PROCESS_SIMULATOR=$(engine_public ecolink-simulator "$BIN/ecolink-simulator")"
      echo "${p}_PROCESS_LLAMA_CPP=$(engine_public llama-server "$(llama_server)")"
      ((EUID != 0)) || echo "${p}_PROCESS_RUN_AS=50000-59999"
      if [[ $DRIVER == kubernetes ]]; then
        echo "${p}_KUBECONFIG_DIR=$STATE/kubeconfigs"
        echo "${p}_KUBERNETES_SIMULATOR=true"
      fi
      ;;
  esac
  for name in $(compgen -A export "${p}_" || true) ECOLINK_CLOCK_OFFSET_FILE ECOLINK_CRASH_POINT; do
    [[ -z ${!name+set} ]] || printf '%s=%s\n' "$name" "${!name}"
  done
  [[ ! -e $STATE/settings/$service.env ]] || grep -v '^[[:space:]]*\(#\|$\)' "$STATE/settings/$service.env" || true
}

seed_file() {
  local file=$STATE/settings/seed.json
  [[ -e $file ]] || file=$LOCAL_DIR/seed.json
  [[ -e $STATE/settings/seed.json || $DRIVER != kubernetes ]] || file=$LOCAL_DIR/seed-kubernetes.json
  echo "$file"
}

llama_server() {
  local path=${ECOLINK_LLAMA_SERVER:-}
  [[ -n $path ]] || path=$(command -v llama-server) || path=$TREE/.cache/engine/llama-server
  [[ -x $path ]] || path=/var/lib/ecolink-local/engine/llama-server
  [[ ! -x $path ]] || echo "$path"
}

# A replica's binary must be reachable by the unprivileged user: a copy is made where the tree is not.
engine_public() { # <name> <path or nothing>
  local copy=$PUBLIC/bin/$1
  [[ -n $2 && -x $2 ]] || return 0
  if ((EUID != 0)) || reachable_by_all "$2"; then
    echo "$2"
    return 0
  fi
  mkdir -p "$PUBLIC/bin"
  chmod 755 "$PUBLIC/bin"
  cmp -s "$2" "$copy" || { install -m 755 "$2" "$copy.new" && mv "$copy.new" "$copy"; }
  echo "$copy"
}

# What is handed on of our own environment: nothing that could name a setting.
service_environment() {
  local name
  printf '%s\n' "PATH=$PATH" "HOME=${HOME:-/}" LC_ALL=C.UTF-8 TZ=UTC
  for name in SSL_CERT_FILE SSL_CERT_DIR CURL_CA_BUNDLE http_proxy https_proxy no_proxy; do
    [[ -z ${!name:-} ]] || echo "$name=${!name}"
  done
  # the four share one log_path, the one read last: the caller's alone when he names any
  local given="${ASAN_OPTIONS:-} ${UBSAN_OPTIONS:-} ${LSAN_OPTIONS:-} ${TSAN_OPTIONS:-}" reports=''
  [[ $given == *log_path=* ]] || reports=log_path=$STATE/sanitizer/$1
  for name in ASAN_OPTIONS UBSAN_OPTIONS LSAN_OPTIONS TSAN_OPTIONS; do
    echo "$name=$reports${!name:+:${!name}}"
  done
}

# service_run <service> <arguments...>: its binary in the foreground with its settings (subcommands).
service_run() {
  local service=$1 lines
  shift
  mapfile -t lines < <(service_environment "$service"; service_settings "$service")
  env -i "${lines[@]}" "$BIN/ecolink-$service" "$@"
}

service_migrate() {
  local service=$1 url out
  has_database "$service" || return 0
  url=postgresql://${service}_owner:$(secret "pg_${service}_owner" 16)@127.0.0.1:$PORT_POSTGRES/ecolink
  if ! out=$(mapfile -t lines < <(service_environment "$service"; service_settings "$service") &&
    env -i "${lines[@]}" "ECOLINK_${service^^}_MIGRATE_DATABASE_URL=$url" "$BIN/ecolink-$service" migrate 2>&1); then
    printf '%s\n' "$out" >&2
    die "migrations of $service failed"
  fi
  printf '%s\n' "$out" >>"$STATE/log/$service.log"
}

services_migrate() {
  local service
  for service in "${DATABASE_SERVICES[@]}"; do
    alive "$service" || service_migrate "$service"
  done
}

service_start() {
  local service=$1 admin=PORT_${1^^}_ADMIN
  [[ -x $BIN/ecolink-$service ]] || die "$BIN/ecolink-$service is missing: build first (make build)"
  port_must_be_free "$service" "${!admin}"
  [[ $service != gateway ]] || port_must_be_free gateway "$PORT_GATEWAY"
  service_spawn "$service"
}

service_spawn() {
  local service=$1 lines
  mapfile -t lines < <(service_environment "$service"; service_settings "$service")
  (umask 077 && printf '%s\n' "${lines[@]}" >"$STATE/env/$service.env")
  spawn "$service" env -i "${lines[@]}" "$BIN/ecolink-$service"
}

service_ready() {
  local admin=PORT_${1^^}_ADMIN
  curl -fsS -o /dev/null --max-time 2 "http://127.0.0.1:${!admin}/readyz"
}
service_wait() { wait_for "$1" "readiness of $1" 60 service_ready "$1"; }

# A new gateway takes over from the one that serves (docs/gateway.md): the ports stay taken all the while.
gateway_replace() {
  local before run=$STATE/run i
  alive gateway || die "no gateway runs: stack start gateway"
  before=$REPLY
  cp "$run/gateway.pid" "$run/.gateway.pid.before"
  cp "$run/.gateway.started" "$run/.gateway.started.before"
  service_spawn gateway
  for ((i = 0; i < STOP_S * 10; i++)); do
    ! ended "$before" || break
    if ! alive gateway; then
      mv "$run/.gateway.pid.before" "$run/gateway.pid"
      mv "$run/.gateway.started.before" "$run/.gateway.started"
      log_tail gateway
      die "the new gateway ended: pid $before goes on"
    fi
    ((i % 50 == 49)) && say "waiting for what is under way at pid $before ($((i / 10 + 1)) s) ..."
    sleep 0.1
  done
  rm -f "$run/.gateway.pid.before" "$run/.gateway.started.before"
  ended "$before" || say "pid $before has not ended yet"
  service_wait gateway
  alive gateway
  say "pid $REPLY took over from $before"
}
