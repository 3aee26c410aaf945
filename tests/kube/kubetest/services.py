"""Services of one region, made to work for the processes and pods in the cluster's network: the real kube-proxy and CoreDNS.

kube-proxy programs the network namespace's own packet filter, so a Service's address leads to Ready pods and to no other, as in any
cluster. CoreDNS listens where this machine's resolver points to, inside the namespace alone.
"""
import ipaddress
import os
import subprocess

from polling import poll

from .objects import http_get
from .process import Process

DOMAIN = "cluster.local"
COREFILE = """.:53 {{
  bind {address}
  errors
  kubernetes {domain} {{
    kubeconfig {kubeconfig}
  }}
}}
"""


def nameservers():
    with open("/etc/resolv.conf", encoding="utf-8") as f:
        return [line.split()[1] for line in f if line.startswith("nameserver")]


def start(region, programs):
    """Inside the namespace. Returns the processes; stop them in any order."""
    for address in nameservers():
        if not address.startswith("127."):
            subprocess.run(["ip", "route", "replace", "local", address, "dev", "lo"], check=True)
    with open(region.path("Corefile"), "w", encoding="ascii") as f:
        f.write(COREFILE.format(address=nameservers()[0], domain=DOMAIN, kubeconfig=region.admin_kubeconfig))
    names = Process(region.path("run"), region.path("log"), "coredns")
    names.start([os.path.join(programs, "coredns"), "-conf", region.path("Corefile")])
    return start_proxy(region, programs, f"{region.name}-cpu-1"), names


def start_proxy(region, programs, node):
    """kube-proxy as that node's: its ports are served at that node's address, and Services with local traffic lead to its pods alone."""
    # callers are in the pod network: others would be masqueraded, for which lo has no address
    own = str(ipaddress.ip_network(region.pod_cidr)[-2])
    subprocess.run(["ip", "route", "replace", region.service_cidr, "dev", "lo", "src", own], check=True)
    proxy = Process(region.path("run"), region.path("log"), "kube-proxy")
    proxy.start([os.path.join(programs, "kube-proxy"), f"--kubeconfig={region.admin_kubeconfig}", f"--hostname-override={node}",
                 "--proxy-mode=nftables", f"--cluster-cidr={region.pod_cidr}", "--conntrack-max-per-core=0",
                 "--conntrack-tcp-timeout-established=0", "--conntrack-tcp-timeout-close-wait=0", "--nodeport-addresses=primary",
                 f"--healthz-bind-address={region.host}:10256", f"--metrics-bind-address={region.host}:10249"])
    if not poll(lambda: http_get(region.host, 10256, "/healthz") or not proxy.pid(), 30, 0.1)[0] or not proxy.pid():
        raise RuntimeError(f"kube-proxy does not serve: {proxy.tail(3)}")
    return proxy
