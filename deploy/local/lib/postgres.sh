# shellcheck shell=bash
# A private PostgreSQL cluster: Unix socket for the superuser (peer), 127.0.0.1 with passwords for everybody else.

# PostgreSQL refuses root: then it runs as Debian's `postgres` user.
postgres_user() { if ((EUID == 0)); then echo postgres; else id -un; fi; }
postgres_as() {
  local vars=(PATH="$PATH" LC_ALL=C.UTF-8 TZ=UTC)
  if ((EUID == 0)); then
    setpriv --reuid=postgres --regid=postgres --init-groups env -C / -i "${vars[@]}" "$@"
  else
    env -C / -i "${vars[@]}" "$@"
  fi
}

postgres_bin() {
  local dir
  dir=$(printf '%s\n' /usr/lib/postgresql/*/bin | sort -V | tail -n 1)
  [[ -x $dir/postgres ]] || die "no PostgreSQL server found: run deploy/local/install"
  echo "$dir"
}

# A socket's path is bounded by 107 bytes: a deep tree gets one under /tmp.
postgres_socket_dir() {
  local dir=$PUBLIC/postgres/socket
  ((${#dir} > 80)) && dir=/tmp/ecolink-pg-$(cksum <<<"$STATE" | tr ' ' -)
  echo "$dir"
}

postgres_init() {
  local data=$PUBLIC/postgres/data user
  [[ ! -s $data/PG_VERSION ]] || return 0
  user=$(postgres_user)
  say "making a PostgreSQL cluster ..."
  rm -rf "$PUBLIC/postgres"
  mkdir -p "$PUBLIC/postgres"
  ((EUID != 0)) || chown postgres: "$PUBLIC/postgres"
  postgres_as "$(postgres_bin)/initdb" -D "$data.new" -U "$user" -A peer --no-sync -E UTF8 --locale=C.UTF-8 \
    >"$STATE/log/postgres.log" 2>&1 || { log_tail postgres; die "initdb failed"; }
  postgres_as tee "$data.new/pg_hba.conf" >/dev/null <<HBA
local all $user peer
local all all scram-sha-256
host  all $user 127.0.0.1/32 reject
host  all all 127.0.0.1/32 scram-sha-256
HBA
  postgres_as tee -a "$data.new/postgresql.conf" >/dev/null <<CONF
listen_addresses = '127.0.0.1'
max_connections = 200
shared_buffers = 64MB
password_encryption = 'scram-sha-256'
log_line_prefix = '%m [%p] %q%u '
timezone = 'UTC'
CONF
  postgres_as mv "$data.new" "$data"
}

postgres_ready() { postgres_as "$(postgres_bin)/pg_isready" -q -h "$(postgres_socket_dir)" -p "$PORT_POSTGRES"; }

postgres_start() {
  local socket bin i command
  postgres_init
  socket=$(postgres_socket_dir) bin=$(postgres_bin)
  mkdir -p "$socket"
  ((EUID != 0)) || chown postgres: "$socket"
  command=("$bin/postgres" -D "$PUBLIC/postgres/data" -p "$PORT_POSTGRES" -k "$socket")
  # after a kill -9 the old backends need a moment to notice: a first start may find their shared memory still in use
  for ((i = 0; i < 20; i++)); do
    port_must_be_free_or_ours "$PORT_POSTGRES"
    if ((EUID == 0)); then
      spawn postgres env -C / -i PATH="$PATH" LC_ALL=C.UTF-8 TZ=UTC setpriv --reuid=postgres --regid=postgres --init-groups "${command[@]}"
    else
      spawn postgres env -C / -i PATH="$PATH" LC_ALL=C.UTF-8 TZ=UTC "${command[@]}"
    fi
    while alive postgres; do
      postgres_ready && return 0
      sleep 0.1
    done
    grep -qi 'still in use\|is another postmaster' < <(tail -n 5 "$STATE/log/postgres.log") || break
    sleep 0.5
  done
  log_tail postgres
  die "PostgreSQL does not start: see $STATE/log/postgres.log"
}

# The backends of a killed postmaster keep its port for a moment.
port_must_be_free_or_ours() {
  local i
  for ((i = 0; i < 50; i++)); do
    port_busy "$1" || return 0
    sleep 0.1
  done
  port_must_be_free postgres "$1"
}

postgres_psql() {
  postgres_as "$(postgres_bin)/psql" -X -q -v ON_ERROR_STOP=1 -h "$(postgres_socket_dir)" -p "$PORT_POSTGRES" \
    -U "$(postgres_user)" -d "${ECOLINK_PSQL_DB:-ecolink}" "$@"
}

postgres_tool() {  # postgres_tool <pg_dump|pg_restore> <arguments...>
  local tool=$1
  shift
  postgres_as "$(postgres_bin)/$tool" -h "$(postgres_socket_dir)" -p "$PORT_POSTGRES" -U "$(postgres_user)" "$@"
}
# From a dump on standard input. JetStream's files go with what was: no event of the lost time may come after.
postgres_restore() {
  local service
  for service in "${SERVICES[@]}" nats; do
    ! alive "$service" || die "$service is running: stop the services and nats first (stack stop <name>)"
  done
  alive postgres || component_start postgres
  postgres_roles
  postgres_tool pg_restore --clean --if-exists -d ecolink
  rm -rf "$STATE/nats/data"
}

# The database and the services' roles; idempotent. Passwords go by standard input: a command line can be seen.
postgres_roles() {
  local service kind
  {
    echo '\set database ecolink'
    for service in "${DATABASE_SERVICES[@]}"; do
      for kind in owner app; do echo "\\set ${service}_$kind $(secret "pg_${service}_$kind" 16)"; done
    done
    cat "$TREE/deploy/database/roles.sql"
  } | ECOLINK_PSQL_DB=postgres postgres_psql -f - >>"$STATE/log/postgres.log"
}
