# shellcheck shell=bash disable=SC2034 # sourced by deploy/local/stack; many names are used by its other parts
# Paths, words on the terminal, the lock, secrets: what every other part stands on.

SERVICES=(registry scheduler billing health gateway)
DATABASE_SERVICES=(registry scheduler billing health)

STATE=${ECOLINK_STATE_DIR:-$TREE/.local}
[[ $STATE == /* ]] || STATE=$PWD/$STATE
BUILD=${ECOLINK_BUILD_DIR:-$TREE/build/release}
[[ $BUILD == /* ]] || BUILD=$PWD/$BUILD
BIN=$BUILD/bin
STOP_S=${ECOLINK_LOCAL_STOP_S:-40}
# "start" once: a process that we start must not inherit the lock
LOCK_FD=9

if [[ -t 1 && ${TERM:-dumb} != dumb && -z ${NO_COLOR:-} ]]; then
  BOLD=$'\e[1m' DIM=$'\e[2m' RED=$'\e[31m' GREEN=$'\e[32m' YELLOW=$'\e[33m' CYAN=$'\e[36m' RESET=$'\e[0m'
else
  BOLD='' DIM='' RED='' GREEN='' YELLOW='' CYAN='' RESET=''
fi

say() { printf '%s\n' "${DIM}stack:${RESET} $*" >&2; }
die() {
  printf '%s\n' "${RED}stack:${RESET} $*" >&2
  exit 1
}

is_service() { [[ " ${SERVICES[*]} " == *" $1 "* ]]; }
has_database() { [[ " ${DATABASE_SERVICES[*]} " == *" $1 "* ]]; }
component_known() { [[ $1 == postgres || $1 == nats ]] || is_service "$1" || die "no such part: $1 (postgres, nats, ${SERVICES[*]})"; }

with_lock() {
  mkdir -p "$STATE"
  exec 9>"$STATE/lock"
  if ! flock -n $LOCK_FD; then
    say "waiting for another 'stack' that works on $STATE ..."
    flock -w 300 $LOCK_FD || die "another 'stack' has been working on $STATE for five minutes"
  fi
  "$@"
}

# Whether an unprivileged user can pass every folder down to the path (only asked when we are root).
reachable_by_all() { setpriv --reuid=nobody --regid=nogroup --clear-groups test -x "$1"; }

# PUBLIC: where PostgreSQL and replicas live, which run as other users when we are root. It is the state folder unless that
# lies where they cannot go (a tree below /root), then a folder of its own under /var/lib.
state_prepare() {
  mkdir -p "$STATE"/{run/replicas,log,secrets,settings,env,sanitizer,nats}
  chmod 711 "$STATE" "$STATE/run" "$STATE/run/replicas"
  chmod 700 "$STATE/secrets" "$STATE/env" "$STATE/nats"
  chmod 1777 "$STATE/sanitizer"
  if [[ ! -s $STATE/public.path ]]; then
    if ((EUID != 0)) || reachable_by_all "$STATE"; then
      echo "$STATE" >"$STATE/public.path"
    else
      echo "/var/lib/ecolink-local/$(cksum <<<"$STATE" | tr ' ' -)" >"$STATE/public.path"
    fi
  fi
  public_load
  mkdir -p "$PUBLIC/replicas"
  [[ $PUBLIC == "$STATE" ]] || chmod 711 "$PUBLIC"
  chmod 711 "$PUBLIC/replicas"
}

public_load() { PUBLIC=$(cat "$STATE/public.path" 2>/dev/null || echo "$STATE"); }

state_remove() {
  public_load
  [[ $PUBLIC == "$STATE" || $PUBLIC != /var/lib/ecolink-local/* ]] || rm -rf -- "$PUBLIC"
  [[ -e $STATE/ports.env || -e $STATE/lock ]] || die "$STATE does not look like a stack's state: not removed"
  rm -rf -- "$STATE"
}

# secret <name> <bytes>: prints the hex secret of that name, made on first use.
secret() {
  local file=$STATE/secrets/$1
  [[ -s $file ]] || (umask 077 && head -c "$2" /dev/urandom | od -An -v -tx1 | tr -d ' \n' >"$file.new" && mv "$file.new" "$file")
  cat "$file"
}

# An API key as libcommon's id.h defines it: eco_ and 52 characters of lower-case Crockford base32.
api_key_new() {
  local alphabet=0123456789abcdefghjkmnpqrstvwxyz key=eco_ byte
  for byte in $(head -c 52 /dev/urandom | od -An -v -tu1); do key+=${alphabet:byte % 32:1}; done
  echo "$key"
}

secrets_prepare() {
  local dir=$STATE/secrets der
  [[ -s $dir/bootstrap_key ]] || (umask 077 && api_key_new >"$dir/bootstrap_key")
  if [[ ! -s $dir/seal_public || ! -s $dir/seal_secret ]]; then
    # X25519 in raw form is what crypto_box uses: the last 32 bytes of either DER encoding
    der=$(mktemp "$dir/seal.XXXXXX")
    openssl genpkey -algorithm X25519 -outform DER -out "$der" 2>/dev/null || die "openssl cannot make an X25519 key"
    (
      umask 077
      openssl pkey -inform DER -in "$der" -pubout -outform DER | tail -c 32 | od -An -v -tx1 | tr -d ' \n' >"$dir/seal_public"
      tail -c 32 "$der" | od -An -v -tx1 | tr -d ' \n' >"$dir/seal_secret"
    )
    rm -f "$der"
  fi
}
