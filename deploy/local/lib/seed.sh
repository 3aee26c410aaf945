# shellcheck shell=bash
# What a newcomer needs to begin: an account with credit and a key, made as an operator would make them.

seed_account() {
  local url=http://127.0.0.1:$PORT_GATEWAY admin answer account key
  admin=$(cat "$STATE/secrets/bootstrap_key")
  if [[ ${ECOLINK_LOCAL_SEED:-1} == 1 && ! -s $STATE/secrets/demo_key ]]; then
    say "making account \"demo\" with \$1000 and a key"
    wait_for gateway "the operator's key at the gateway" 30 curl -fsS -o /dev/null -H "Authorization: Bearer $admin" "$url/admin/accounts"
    answer=$(api POST /admin/accounts '{"name":"demo","owner_email":"demo@example.com"}') || die "no account: $answer"
    account=$(jq -r .account.id <<<"$answer") key=$(jq -r .api_key.key <<<"$answer")
    [[ $account == acc_* && $key == eco_* ]] || die "POST /admin/accounts answered without an account or key: $answer"
    seed_topup "$account"
    (umask 077 && echo "$account" >"$STATE/secrets/demo_account" && echo "$key" >"$STATE/secrets/demo_key")
    wait_for gateway "the new key at the gateway" 30 curl -fsS -o /dev/null -H "Authorization: Bearer $key" "$url/v1/models"
  fi
  (
    umask 077
    {
      echo "export ECOLINK_URL=$url"
      [[ ! -s $STATE/secrets/demo_key ]] || echo "export ECOLINK_API_KEY=$(cat "$STATE/secrets/demo_key")"
      echo "export ECOLINK_ADMIN_KEY=$admin"
      [[ ! -s $STATE/secrets/demo_account ]] || echo "export ECOLINK_ACCOUNT_ID=$(cat "$STATE/secrets/demo_account")"
    } >"$STATE/ecolink.env"
  )
}

# api <method> <path> <body>: as the operator; prints the body, fails on anything but 2xx.
api() {
  curl -sS --fail-with-body --max-time 20 -X "$1" "http://127.0.0.1:$PORT_GATEWAY$2" \
    -H "Authorization: Bearer $(cat "$STATE/secrets/bootstrap_key")" -H 'Content-Type: application/json' \
    -H "Idempotency-Key: local-$(cksum <<<"$STATE$2$3" | tr ' ' -)" -d "$3"
}

# The wallet is opened by the account's event: for a moment billing may not know the account.
seed_topup() {
  local i answer=''
  for ((i = 0; i < 100; i++)); do
    answer=$(api POST "/admin/accounts/$1/topups" '{"amount":"1000.00","description":"local stack"}') && return 0
    sleep 0.2
  done
  die "no top-up: $answer"
}
