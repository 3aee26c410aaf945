# shellcheck shell=bash
# DRIVER=kubernetes: two regions, each a real control plane with simulated GPU nodes (tests/kube/cluster). The rest of the stack is as
# ever: this machine is joined to the clusters' network, so that scheduler, health and gateway reach API servers and pods.

# Which driver the regions of this state have; chosen by its first `up`.
DRIVER=$(cat "$STATE/driver" 2>/dev/null || echo process)

driver_choose() {
  local wanted=${ECOLINK_LOCAL_DRIVER:-}
  [[ -z $wanted || $wanted == process || $wanted == kubernetes ]] || die "no such driver: $wanted (process, kubernetes)"
  if [[ -s $STATE/driver || -s $STATE/ports.env ]]; then
    [[ -z $wanted || $wanted == "$DRIVER" ]] || die "$STATE was made with DRIVER=$DRIVER: 'make clean' first"
    return 0
  fi
  DRIVER=${wanted:-process}
  echo "$DRIVER" >"$STATE/driver"
}

kubernetes_cluster() {
  # the state is kept by the stack: no cluster of ours ends by itself
  ECOLINK_KUBE_STATE=$STATE/kube ECOLINK_BUILD_DIR=$BUILD ECOLINK_KUBE_MAX_S=${ECOLINK_KUBE_MAX_S:-31536000} \
    "$TREE/tests/kube/cluster" "$@" 9>&-
}

# A cluster that was down is a new one, with new certificates: replicas that should be there are made again.
kubernetes_up() {
  [[ $DRIVER == kubernetes ]] || return 0
  ((EUID == 0)) || die "DRIVER=kubernetes needs root: its clusters have a network of their own"
  [[ -x $BIN/ecolink-simulator ]] || die "$BIN/ecolink-simulator is missing: build first (make build)"
  kubernetes_cluster up || die "the clusters do not come up: see $STATE/kube"
  kubernetes_cluster join || die "this machine cannot be joined to the clusters' network"
  local region
  mkdir -p "$STATE/kubeconfigs"
  chmod 700 "$STATE/kubeconfigs"
  for region in kube-a kube-b; do
    install -m 600 "$STATE/kube/$region/scheduler.kubeconfig" "$STATE/kubeconfigs/$region.yaml"
  done
}

kubernetes_down() { [[ $DRIVER != kubernetes || ! -d $STATE/kube ]] || kubernetes_cluster down; }

kubernetes_status() {
  [[ $DRIVER == kubernetes ]] || return 0
  printf '\n'
  kubernetes_cluster status | sed 's/^/  /' || TABLE_BAD=$((TABLE_BAD + 1))
}
