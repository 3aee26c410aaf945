"""Services of one region, made to work for the processes in the cluster's network: the real kube-proxy, and names.

kube-proxy programs the network namespace's own packet filter, so a Service's address leads to Ready pods and to no other, as in any
cluster. Names are answered by a few lines here (`python3 services.py REGION`): what a cluster's DNS says of Services with an address.
It listens where this machine's resolver points to, inside the namespace alone.
"""
import ipaddress
import os
import socket
import struct
import subprocess
import sys
import threading

sys.dont_write_bytecode = True
if __name__ == "__main__":
    HERE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    sys.path[:0] = [HERE, os.path.join(os.path.dirname(HERE), "shared")]
# pylint: disable=wrong-import-position
from kubetest import api, layout, plane  # noqa: E402
from kubetest.process import Process  # noqa: E402

DOMAIN = ".svc.cluster.local"
TTL_S = 5
REREAD_S = 0.3
A, AAAA, IN = 1, 28, 1
NXDOMAIN = 3


def nameservers():
    with open("/etc/resolv.conf", encoding="utf-8") as f:
        return [line.split()[1] for line in f if line.startswith("nameserver")]


def start(region, programs):
    """Inside the namespace. Returns the processes; stop them in any order."""
    for address in nameservers():
        if not address.startswith("127."):
            subprocess.run(["ip", "route", "replace", "local", address, "dev", "lo"], check=True)
    # callers are in the pod network: others would be masqueraded, for which lo has no address
    own = str(ipaddress.ip_network(region.pod_cidr)[-2])
    subprocess.run(["ip", "route", "replace", region.service_cidr, "dev", "lo", "src", own], check=True)
    proxy = Process(region.path("run"), region.path("log"), "kube-proxy")
    proxy.start([os.path.join(programs, "kube-proxy"), f"--kubeconfig={region.admin_kubeconfig}", f"--hostname-override={region.name}-cpu-1",
                 "--proxy-mode=nftables", f"--cluster-cidr={region.pod_cidr}", "--conntrack-max-per-core=0",
                 "--conntrack-tcp-timeout-established=0", "--conntrack-tcp-timeout-close-wait=0", "--nodeport-addresses=primary",
                 f"--healthz-bind-address={region.host}:10256", f"--metrics-bind-address={region.host}:10249"])
    names = Process(region.path("run"), region.path("log"), "names")
    names.start([sys.executable, os.path.abspath(__file__), region.name])
    return proxy, names


# ---- names ----


def question(packet):
    """Name, type and where the question ends; None for what is no plain question."""
    if len(packet) < 12 or packet[2] & 0x80 or struct.unpack("!H", packet[4:6])[0] != 1:
        return None
    labels, at = [], 12
    while at < len(packet) and packet[at]:
        labels.append(packet[at + 1:at + 1 + packet[at]].decode("ascii", "replace"))
        at += 1 + packet[at]
    if at + 5 > len(packet):
        return None
    return ".".join(labels).lower(), struct.unpack("!H", packet[at + 1:at + 3])[0], at + 5


def answer(packet, lookup):
    asked = question(packet)
    if asked is None:
        return None
    name, kind, end = asked
    address = lookup(name)
    found = [address] if address and kind == A else []
    head = packet[:2] + struct.pack("!BBHHHH", 0x85, 0x80 | (0 if address else NXDOMAIN), 1, len(found), 0, 0)
    return head + packet[12:end] + b"".join(struct.pack("!HHHIH", 0xC00C, A, IN, TTL_S, 4) + socket.inet_aton(a) for a in found)


class Names:
    """Service name -> address, read again and again by a thread of its own: an answer never waits for the API server."""

    def __init__(self, client):
        self.client, self.known, self.again = client, {}, threading.Event()
        threading.Thread(target=self._follow, daemon=True).start()

    def _follow(self):
        while True:
            try:
                self.known = {f"{i['metadata']['name']}.{i['metadata']['namespace']}{DOMAIN}": i["spec"]["clusterIP"]
                              for i in self.client.get("/api/v1/services")["items"] if i["spec"].get("clusterIP", "None") != "None"}
            except (api.Error, OSError):
                pass  # the API server is away: what was known stays
            self.again.wait(REREAD_S)

    def __call__(self, name):
        return self.known.get(name)


def serve(region):
    names = Names(plane.Plane(region, "").admin())
    listener = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
    listener.bind((nameservers()[0], 53))
    while True:
        packet, peer = listener.recvfrom(4096)
        reply = answer(packet, names)
        if reply:
            listener.sendto(reply, peer)


if __name__ == "__main__":
    serve(layout.region(sys.argv[1]))
