"""Two real control planes in a network namespace: what tests/kube/cluster and the tests beside it are made of."""
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "shared"))  # polling
