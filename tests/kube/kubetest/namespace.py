"""The network namespace of a cluster: alive as long as its holder, reachable through `enter`."""
import os
import subprocess
import time

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
    deadline = time.monotonic() + 5
    while True:
        pid = process.pid()
        if pid is None or time.monotonic() > deadline:
            raise SystemExit(f"no network namespace can be made here (root is needed): {process.tail(2)}")
        if os.readlink(f"/proc/{pid}/ns/net") != own:
            break
        time.sleep(0.01)
    lines = ["link set lo up"] + [f"route add local {one} dev lo" for one in layout.LOCAL_RANGES]
    subprocess.run([*enter(), "ip", "-batch", "-"], input="\n".join(lines) + "\n", text=True, check=True)
