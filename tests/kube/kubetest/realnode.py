"""A real node beside the simulated ones: containerd, runc and a kubelet, whose pods are containers. Root is needed, and Debian's
containerd, runc and containernetworking-plugins.

Its processes live in namespaces of their own (`python3 realnode.py REGION` is their first): when that ends, the kernel ends every
container and takes every mount away. Pods have addresses of a bridge in the cluster's network; from there to everything else in it
packets are routed. Images come from one registry only, whatever their name says: kubetest.registry at the region's address.
"""
import contextlib
import glob
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile

sys.dont_write_bytecode = True
if __name__ == "__main__":
    HERE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    sys.path[:0] = [HERE, os.path.join(os.path.dirname(HERE), "shared")]
# pylint: disable=wrong-import-position
from kubetest import api, layout, plane, registry, services  # noqa: E402
from kubetest.process import Process  # noqa: E402
from polling import poll  # noqa: E402

GPU = "NVIDIA-REAL-NODE"  # its product: nothing else is placed there
GPUS = 8
READY_S = 90.0
NEEDED = {"containerd": "/usr/bin/containerd", "runc": "/usr/sbin/runc", "containernetworking-plugins": "/usr/lib/cni/bridge"}
# what containerd and the kubelet write outside of the folders that they are given: of this node alone, and gone with it
OWN_FOLDERS = ("/run/containerd", "/run/netns", "/var/lib/cni", "/var/lib/kubelet", "/var/log/containers", "/var/log/pods")
# what a kubelet sets for the whole machine: set back when the node is stopped
SYSCTLS = ("vm/overcommit_memory", "vm/panic_on_oom", "kernel/panic", "kernel/panic_on_oops", "kernel/keys/root_maxkeys", "kernel/keys/root_maxbytes")
PAUSE = "ecolink-test/pause:1"
_PAUSE_C = "#include <signal.h>\n#include <unistd.h>\nint main(void) { signal(SIGTERM, _exit); for (;;) pause(); }\n"

CONTAINERD = """version = 2
root = "{dir}/containerd"
state = "{dir}/run/containerd"
disabled_plugins = ["io.containerd.internal.v1.opt", "io.containerd.internal.v1.tracing"]
[grpc]
  address = "{dir}/containerd.sock"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "registry.test/{pause}"
  # machines that may not lower the score of a process (no CAP_SYS_RESOURCE)
  restrict_oom_score_adj = true
  stream_server_address = "127.0.0.1"
  [plugins."io.containerd.grpc.v1.cri".registry]
    config_path = "{dir}/registries"
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "/usr/lib/cni"
    conf_dir = "{dir}/cni"
"""


def _sysctl(name, value=None):
    with open(f"/proc/sys/{name}", "r" if value is None else "w", encoding="ascii") as f:
        return f.read() if value is None else f.write(value)


def missing_packages():
    return [package for package, path in NEEDED.items() if not os.path.exists(path)]


class RealNode:
    def __init__(self, region, programs):
        self.region, self.programs = region, programs
        self.name, self.ip = f"{region.name}-real-1", f"10.240.{region.index}.100"
        self.balanced = f"10.240.{region.index}.192/28"  # addresses of load balancers
        self.dir = region.path("node")
        self.process = Process(region.path("run"), region.path("log"), "real-node")
        self.sysctls = {}
        self.cgroup = f"ecolink-{region.name}-{os.stat('/proc/self/ns/net').st_ino}"  # one name for each cluster's network

    # ---- files ----

    def _write(self, name, content):
        path = os.path.join(self.dir, name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "w", encoding="utf-8", opener=lambda p, f: os.open(p, f, 0o600)) as f:
            f.write(content if isinstance(content, str) else json.dumps(content, indent=1))
        return path

    def _certificate(self, name, subject, more):
        """Signed by the cluster's authority: <dir>/<name>.crt and .key."""
        pki, base = self.region.path("pki"), os.path.join(self.dir, name)
        request = subprocess.run(["openssl", "req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", f"{base}.key",
                                  "-subj", subject], check=True, capture_output=True).stdout
        extensions = self._write(f"{name}.ext", more)
        subprocess.run(["openssl", "x509", "-req", "-CA", f"{pki}/ca.crt", "-CAkey", f"{pki}/ca.key", "-days", "7", "-extfile", extensions, "-out",
                        f"{base}.crt"], check=True, input=request, capture_output=True)

    def _prepare(self):
        shutil.rmtree(self.dir, ignore_errors=True)
        os.makedirs(self.dir, mode=0o711)
        r = self.region
        self._certificate("client", f"/O=system:nodes/CN=system:node:{self.name}", "extendedKeyUsage=clientAuth\n")
        self._certificate("server", f"/O=system:nodes/CN=system:node:{self.name}", f"extendedKeyUsage=serverAuth\nsubjectAltName=IP:{self.ip}\n")
        self._write("containerd.toml", CONTAINERD.format(dir=self.dir, pause=PAUSE))
        mirror = registry.url(r.host)
        self._write("registries/_default/hosts.toml", f'server = "{mirror}"\n[host."{mirror}"]\n  capabilities = ["pull", "resolve"]\n')
        self._write("cni/10-bridge.conflist", {
            "cniVersion": "0.4.0", "name": "pods",
            "plugins": [{"type": "bridge", "bridge": f"eco-pods-{r.index}", "isGateway": True, "ipMasq": False, "hairpinMode": True,
                         "ipam": {"type": "host-local", "dataDir": os.path.join(self.dir, "addresses"), "routes": [{"dst": "0.0.0.0/0"}],
                                  "ranges": [[{"subnet": f"10.250.{r.index}.0/24"}]]}}]})
        self._write("kubelet.json", self._kubelet())
        plane.Plane(r, self.programs).write_kubeconfig(
            f"{self.dir}/kubeconfig", self.name, "default", f"    client-certificate: {self.dir}/client.crt\n    client-key: {self.dir}/client.key")

    def _kubelet(self):
        return {"apiVersion": "kubelet.config.k8s.io/v1beta1", "kind": "KubeletConfiguration", "address": self.ip, "healthzPort": 0,
                "authentication": {"anonymous": {"enabled": False}, "webhook": {"enabled": True},
                                   "x509": {"clientCAFile": self.region.path("pki", "ca.crt")}},
                "authorization": {"mode": "Webhook"}, "tlsCertFile": f"{self.dir}/server.crt", "tlsPrivateKeyFile": f"{self.dir}/server.key",
                "containerRuntimeEndpoint": f"unix://{self.dir}/containerd.sock", "podLogsDir": os.path.join(self.dir, "podlogs"),
                "volumePluginDir": os.path.join(self.dir, "volumeplugins"), "cgroupDriver": "cgroupfs", "cgroupRoot": f"/{self.cgroup}",
                # machines with cgroup v1, without CAP_SYS_RESOURCE, with a disk that is nearly full
                "failCgroupV1": False, "oomScoreAdj": 0, "enforceNodeAllocatable": ["none"], "failSwapOn": False,
                "evictionHard": {"memory.available": "100Mi", "nodefs.available": "1%", "imagefs.available": "1%", "nodefs.inodesFree": "1%"},
                "imageGCHighThresholdPercent": 100, "resolvConf": "/etc/resolv.conf",
                "clusterDomain": services.DOMAIN, "clusterDNS": services.nameservers()[:1],
                # seconds, as of the other nodes
                "nodeStatusUpdateFrequency": "2s", "nodeLeaseDurationSeconds": 4,
                "registerWithTaints": [{"key": "nvidia.com/gpu", "value": "present", "effect": "NoSchedule"}]}

    # ---- life ----

    def start(self):
        """Inside the cluster's network. Returns when the node is Ready and tells of its GPUs (which nobody has: no device is behind them)."""
        self._prepare()
        subprocess.run(["ip", "addr", "replace", f"{self.ip}/32", "dev", "lo"], check=True)
        _sysctl("net/ipv4/ip_forward", "1")
        self.sysctls = self.sysctls or {name: _sysctl(name) for name in SYSCTLS}
        for controller in self._controllers():
            os.makedirs(os.path.join(controller, self.cgroup), exist_ok=True)
        self.process.start(["unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc", sys.executable, os.path.abspath(__file__),
                            self.region.name], env={**os.environ, "ECOLINK_KUBE_PROGRAMS": self.programs})
        admin = plane.Plane(self.region, self.programs).admin()

        def ready():
            if self.process.pid() is None:
                raise SystemExit(f"{self.name} ended: {self.process.tail(5)}")
            conditions = admin.get(f"/api/v1/nodes/{self.name}")["status"]["conditions"]
            return any(c["type"] == "Ready" and c["status"] == "True" for c in conditions)
        if not poll(ready, READY_S, 0.2, (api.Error,))[0]:
            raise SystemExit(f"{self.name} is not Ready after {READY_S:.0f} s: {self.process.tail(5)}")
        admin.call("PATCH", f"/api/v1/nodes/{self.name}/status", {"status": {"capacity": {"nvidia.com/gpu": str(GPUS)}}},
                   "application/merge-patch+json")

    @contextlib.contextmanager
    def enforcing_policies(self, balancers=False):
        """Inside, network policies hold for this node's pods from soon on: kube-router, of which nothing but the packet filter runs (and, with
        `balancers`, what gives Services of that type their addresses). One node in the cluster's network at a time: it takes all rules there
        for its own."""
        router = Process(self.region.path("run"), self.region.path("log"), "kube-router")
        router.start([os.path.join(self.programs, "kube-router"), "--run-firewall=true", "--run-router=false", "--run-service-proxy=false",
                      f"--run-loadbalancer={str(balancers).lower()}", f"--loadbalancer-ip-range={self.balanced}",
                      f"--kubeconfig={self.region.admin_kubeconfig}", f"--hostname-override={self.name}",
                      f"--service-cluster-ip-range={self.region.service_cidr}", "--health-port=0", "--iptables-sync-period=5s"],
                     env=os.environ | {"POD_NAMESPACE": "kube-system", "POD_NAME": self.name})  # who leads among its kind
        try:
            yield
        finally:
            router.stop()
            # its rules name addresses that other pods will have
            for words in (("iptables", "--flush"), ("iptables", "--delete-chain"), ("ipset", "destroy")):
                subprocess.run(words, check=True)

    @contextlib.contextmanager
    def publishing_services(self):
        """Inside, besides, Services get addresses of load balancers, and kube-proxy serves those and this node's ports."""
        proxy = services.start_proxy(self.region, self.programs, self.name)
        try:
            with self.enforcing_policies(balancers=True):
                yield
        finally:
            proxy.stop()
            subprocess.run(["nft", "delete", "table", "ip", "kube-proxy"], check=True)

    def stop(self):
        """In the opposite order of the starts: what the machine was set to comes back."""
        admin = plane.Plane(self.region, self.programs).admin()
        self.process.stop(5, signal.SIGKILL)  # unshare takes no other
        for name, value in self.sysctls.items():
            _sysctl(name, value)
        with contextlib.suppress(api.Error):
            admin.call("DELETE", f"/api/v1/nodes/{self.name}")
        for tree in glob.glob(f"/sys/fs/cgroup/*/{self.cgroup}") + glob.glob(f"/sys/fs/cgroup/{self.cgroup}"):
            for folder, _, _ in os.walk(tree, topdown=False):
                poll(lambda f=folder: os.rmdir(f) is None, 2, 0.05, (OSError,))
        shutil.rmtree(self.dir, ignore_errors=True)

    @staticmethod
    def _controllers():
        """Where cgroups are made: one tree (v2), or one for each controller (v1)."""
        base = "/sys/fs/cgroup"
        if os.path.exists(os.path.join(base, "cgroup.controllers")):
            return [base]
        return [os.path.join(base, name) for name in sorted(os.listdir(base)) if name != "unified" and not os.path.islink(os.path.join(base, name))]

    # ---- the first process in its namespaces ----

    def run(self):
        """containerd, then the kubelet; ends when one of them does, and takes in whoever lost its parent meanwhile."""
        for folder in OWN_FOLDERS:
            os.makedirs(folder, exist_ok=True)
            subprocess.run(["mount", "-t", "tmpfs", "tmpfs", folder], check=True)
        parts = {self._spawn("containerd", "--config", f"{self.dir}/containerd.toml", "--log-level", "warn")}
        poll(lambda: os.path.exists(f"{self.dir}/containerd.sock"), 20, 0.05)
        parts.add(self._spawn(os.path.join(self.programs, "kubelet"), f"--config={self.dir}/kubelet.json", f"--kubeconfig={self.dir}/kubeconfig",
                              f"--node-ip={self.ip}", f"--hostname-override={self.name}", f"--root-dir={self.dir}/kubelet",
                              f"--cert-dir={self.dir}/kubelet-pki", f"--node-labels=nvidia.com/gpu.product={GPU}", "--v=1"))
        while os.wait()[0] not in parts:
            pass
        return 1

    @staticmethod
    def _spawn(*words):
        return os.posix_spawnp(words[0], words, os.environ)


def main_pid(pod, program="ecolink-simulator"):
    """The process of that program in a pod's container; None when there is none."""
    for path in glob.glob("/proc/[0-9]*/cgroup"):
        try:
            with open(path, encoding="ascii", errors="replace") as f:
                ours = pod["metadata"]["uid"] in f.read()
            with open(path.replace("cgroup", "comm"), encoding="ascii", errors="replace") as f:
                comm = f.read().strip()
        except OSError:
            continue  # it ended meanwhile
        if ours and comm == program[:15]:
            return int(path.split("/")[2])
    return None


def reaches(pid, host, port):
    """Whether a connection can be made from a process's network."""
    connect = f"import socket; socket.create_connection(({host!r}, {port}), 2)"
    return subprocess.run(["nsenter", "-t", str(pid), "-n", "--", sys.executable, "-c", connect], capture_output=True, check=False).returncode == 0


def add_pause(images):
    """What holds a pod's namespaces: a program that waits, without libraries."""
    with tempfile.TemporaryDirectory(prefix="eco-pause-") as folder:
        subprocess.run(["cc", "-static", "-O2", "-x", "c", "-", "-o", os.path.join(folder, "pause")], input=_PAUSE_C, text=True, check=True)
        images.add(PAUSE, folder, Entrypoint=["/pause"])


if __name__ == "__main__":
    sys.exit(RealNode(layout.region(sys.argv[1]), os.environ["ECOLINK_KUBE_PROGRAMS"]).run())
