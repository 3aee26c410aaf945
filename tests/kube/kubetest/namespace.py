"""The network namespace of a cluster: alive as long as its holder, reachable through `enter`."""
import os
import subprocess

from polling import poll

from . import layout
from .process import Process


def holder():
    state = layout.state_dir()
    return Process(os.path.join(state, "run"), os.path.join(state, "log"), "holder")


def path():
    pid = holder().pid()
    return f"/proc/{pid}/ns/net" if pid else None


def enter():
    """The words before a command that is to run inside."""
    where = path()
    if where is None:
        raise SystemExit("the cluster is down: tests/kube/cluster up")
    return ["nsenter", f"--net={where}", "--"]


def create(holding):
    """Starts the holder (`holding`: the command that it runs until it ends) and gives the namespace its addresses."""
    process = holder()
    if process.pid():
        return
    process.start(["unshare", "--net", "--", *holding])
    own = os.readlink("/proc/self/ns/net")
    if not poll(lambda: os.readlink(f"/proc/{process.pid()}/ns/net") != own, 5, 0.01, (OSError,))[0]:
        raise SystemExit(f"no network namespace can be made here (root is needed): {process.tail(2)}")
    lines = ["link set lo up"] + [f"route add local {one} dev lo" for one in layout.LOCAL_RANGES]
    subprocess.run([*enter(), "ip", "-batch", "-"], input="\n".join(lines) + "\n", text=True, check=True)
