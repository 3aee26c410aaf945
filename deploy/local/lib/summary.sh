# shellcheck shell=bash disable=SC2153
# What people see: the summary after `up`, the status table, the logs.

component_address() {
  local admin
  case $1 in
    postgres) echo "127.0.0.1:$PORT_POSTGRES" ;;
    nats) echo "127.0.0.1:$PORT_NATS" ;;
    gateway) echo "127.0.0.1:$PORT_GATEWAY" ;;
    *) admin=PORT_${1^^}_ADMIN && echo "127.0.0.1:${!admin}" ;;
  esac
}

component_ready() {
  case $1 in
    postgres) postgres_ready ;;
    nats) port_busy "$PORT_NATS" ;;
    *) service_ready "$1" ;;
  esac
}

table() { # sets TABLE_BAD to the number of parts that are not well
  local name state colour pid old=()
  TABLE_BAD=0
  printf '  %s%-10s %-10s %-8s %s%s\n' "$BOLD" part state pid address "$RESET"
  for name in postgres nats "${SERVICES[@]}"; do
    pid=- state=down colour=$RED
    if alive "$name"; then
      pid=$REPLY
      if is_service "$name" && [[ $(readlink "/proc/$pid/exe") == *' (deleted)' ]]; then old+=("$name"); fi
      if component_ready "$name" >/dev/null 2>&1; then state=ready colour=$GREEN; else state='not ready' colour=$YELLOW; fi
    fi
    [[ $state == ready ]] || TABLE_BAD=$((TABLE_BAD + 1))
    printf '  %-10s %s%-10s%s %-8s %s\n' "$name" "$colour" "$state" "$RESET" "$pid" "$(component_address "$name")"
  done
  ((!${#old[@]})) || printf '\n  rebuilt since they were started: %s (make stop S=... start S=...)\n' "${old[*]}"
}

status() {
  ports_load
  local file pid name n=0
  table
  for file in "$STATE"/run/replicas/*.pid; do
    [[ -e $file ]] || continue
    ((n++)) || printf '\n  %s%-10s %-10s %s%s\n' "$BOLD" replica state pid "$RESET"
    pid=$(cat "$file" 2>/dev/null || echo -)
    name=${file##*/}
    if [[ -d /proc/$pid ]]; then printf '  %-10s %s%-10s%s %s\n' "${name%.pid}" "$GREEN" alive "$RESET" "$pid"; else
      printf '  %-10s %s%-10s%s %s\n' "${name%.pid}" "$RED" gone "$RESET" "$pid"
    fi
  done
  kubernetes_status
  ((TABLE_BAD == 0))
}

summary() {
  local url=http://127.0.0.1:$PORT_GATEWAY key shown=$STATE
  key=$(cat "$STATE/secrets/demo_key" 2>/dev/null || true)
  [[ $STATE != "$TREE/"* ]] || shown=${STATE#"$TREE/"}
  printf '\n%sEcoLink User Inference runs at %s%s\n\n' "$BOLD" "$url" "$RESET"
  table
  printf '\n  state and logs  %s  (to use it from scripts: . %s/ecolink.env)\n' "$shown" "$shown"
  [[ -n $key ]] || return 0
  printf '  API key         %s%s%s  (account "demo", 1000 dollars)\n' "$CYAN" "$key" "$RESET"
  cat <<TEXT

${BOLD}Register a model, launch it in two regions, talk to it${RESET} (paste one after the other; the third once it runs):

${CYAN}curl -s $url/models -H "Authorization: Bearer $key" -H 'Content-Type: application/json' -d '{"name":"my-llama","source":"container","category":"chat"}'${RESET}

${CYAN}curl -s $url/inference-instances -H "Authorization: Bearer $key" -H 'Content-Type: application/json' -d "{\"model_id\":\"\$(curl -s $url/models -H "Authorization: Bearer $key" | jq -r '.data[] | select(.name=="my-llama").id')\",\"engine\":\"simulator\",\"gpu_type\":\"l40s\"}"${RESET}

${CYAN}curl -sN $url/v1/chat/completions -H "Authorization: Bearer $key" -H 'Content-Type: application/json' -d "{\"model\":\"\$(curl -s $url/inference-instances -H "Authorization: Bearer $key" | jq -r '.data[0].model')\",\"stream\":true,\"messages\":[{\"role\":\"user\",\"content\":\"Hello!\"}]}"${RESET}

  more: make status, make logs, make demo (a real language model), make down
TEXT
}

logs() {
  local name=${1:-} files=() arguments=(-n 100)
  if [[ -n $name ]]; then
    component_known "$name"
    files=("$STATE/log/$name.log")
  else
    files=("$STATE"/log/*.log)
  fi
  [[ -e ${files[0]} ]] || die "no logs in $STATE/log"
  [[ ! -t 1 ]] || arguments+=(-F)
  tail "${arguments[@]}" "${files[@]}"
}
