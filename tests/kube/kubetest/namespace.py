"""The network namespace of a cluster: alive as long as its holder, reachable through `enter`."""
import ipaddress
import os
import subprocess

from polling import poll

from . import layout
from .process import Process

# between this machine and the namespace, for who asks for it (join)
LINK, LINK_RANGE = "eco-kube", "10.241.0.0/30"


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
    _batch(lines, inside=True)


def _ip(*words, inside=False):
    return subprocess.run([*(enter() if inside else []), "ip", *words], capture_output=True, text=True, check=False)


def _batch(lines, inside=False):
    subprocess.run([*(enter() if inside else []), "ip", "-batch", "-"], input="\n".join(lines) + "\n", text=True, check=True)


def join():
    """Makes API servers and pods reachable from this machine, by a pair of interfaces that ends with the namespace."""
    if _ip("link", "show", LINK, inside=True).returncode == 0:
        return
    # that of a cluster that has just ended goes by itself, soon
    if not poll(lambda: _ip("link", "show", LINK).returncode != 0, 5, 0.05)[0]:
        raise SystemExit(f"this machine is joined to another cluster already (interface {LINK}): take that one down first")
    for one in (LINK_RANGE, *layout.LOCAL_RANGES):
        taken = _ip("route", "show", "root", one).stdout.strip()
        if taken:
            raise SystemExit(f"{one} is in use on this machine: {taken}")
    outer, inner = (str(a) for a in ipaddress.ip_network(LINK_RANGE).hosts())
    _batch([f"link add {LINK} type veth peer name {LINK} netns {holder().pid()}", f"addr add {outer}/30 dev {LINK}", f"link set {LINK} up"])
    _batch([f"addr add {inner}/30 dev {LINK}", f"link set {LINK} up"], inside=True)
    _batch([f"route add {one} via {inner} dev {LINK}" for one in layout.LOCAL_RANGES])
