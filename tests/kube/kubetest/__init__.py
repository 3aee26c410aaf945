"""Two real control planes in a network namespace: what tests/kube/cluster and the tests beside it are made of."""
