"""One region's control plane: its parts, how each is started, and the files that others reach it with."""
import base64
import json
import os
import shutil
import signal
import subprocess

from polling import poll

from . import api, layout, namespace
from .process import Process

PARTS = ("etcd", "apiserver", "controller-manager", "scheduler", "podrunner")
NODE_GRACE_S = int(os.environ.get("ECOLINK_KUBE_NODE_GRACE_S", "8"))
READY_S = float(os.environ.get("ECOLINK_KUBE_READY_S", "120"))

KUBECONFIG = """apiVersion: v1
kind: Config
clusters:
- name: {cluster}
  cluster:
    server: {server}
    certificate-authority-data: {ca}
contexts:
- name: {user}@{cluster}
  context:
    cluster: {cluster}
    user: {user}
    namespace: {namespace}
current-context: {user}@{cluster}
users:
- name: {user}
  user:
{credentials}
"""


def _b64(path):
    with open(path, "rb") as f:
        return base64.b64encode(f.read()).decode()


class Plane:
    def __init__(self, region, programs):
        self.region = region
        self.programs = programs  # folder of kube-apiserver and its kin

    # ---- parts ----

    def process(self, part):
        return Process(self.region.path("run"), self.region.path("log"), part)

    def start(self, part):
        self.process(part).start([*namespace.enter(), *self._command(part)], env=self._environment())

    def stop(self, part, patience_s=10.0):
        return self.process(part).stop(patience_s)

    def stop_all(self):
        """Nodes first, etcd last; what waits for a part that is gone already gets less patience."""
        self.process("real-node").stop(0.0, signal.SIGKILL)  # should a test have left it (realnode.py)
        return sum(self.stop(part, 3.0) for part in reversed(PARTS))

    def alive(self, part):
        return self.process(part).pid() is not None

    def _environment(self):
        # nothing of the caller's but what a program needs; KUBECONFIG and proxies would lead astray
        keep = ("PATH", "HOME", "LANG", "TMPDIR", "ASAN_OPTIONS", "UBSAN_OPTIONS", "LSAN_OPTIONS")
        return {name: os.environ[name] for name in keep if name in os.environ}

    def _command(self, part):
        pki = self.region.path("pki")
        return getattr(self, f"_{part.replace('-', '_')}")(pki)

    def _etcd(self, _pki):
        r = self.region
        # no fsync: the data of a test cluster ends with it
        return [os.path.join(self.programs, "etcd"), "--name", r.name, "--data-dir", r.path("etcd"), "--unsafe-no-fsync",
                "--listen-client-urls", r.etcd, "--advertise-client-urls", r.etcd, "--listen-peer-urls", f"http://{r.host}:2380",
                "--initial-advertise-peer-urls", f"http://{r.host}:2380", "--initial-cluster", f"{r.name}=http://{r.host}:2380",
                "--log-level", "warn"]

    def _apiserver(self, pki):
        r = self.region
        return [os.path.join(self.programs, "kube-apiserver"), f"--etcd-servers={r.etcd}", f"--bind-address={r.host}",
                f"--advertise-address={r.host}", "--secure-port=6443", f"--service-cluster-ip-range={r.service_cidr}",
                "--allow-privileged=true", "--authorization-mode=Node,RBAC", "--enable-admission-plugins=NodeRestriction",
                f"--client-ca-file={pki}/ca.crt", f"--tls-cert-file={pki}/apiserver.crt", f"--tls-private-key-file={pki}/apiserver.key",
                f"--kubelet-certificate-authority={pki}/ca.crt",
                f"--kubelet-client-certificate={pki}/apiserver-kubelet-client.crt",
                f"--kubelet-client-key={pki}/apiserver-kubelet-client.key", "--kubelet-preferred-address-types=InternalIP",
                f"--requestheader-client-ca-file={pki}/front-proxy-ca.crt", "--requestheader-allowed-names=front-proxy-client",
                "--requestheader-username-headers=X-Remote-User", "--requestheader-group-headers=X-Remote-Group",
                "--requestheader-extra-headers-prefix=X-Remote-Extra-", f"--proxy-client-cert-file={pki}/front-proxy-client.crt",
                f"--proxy-client-key-file={pki}/front-proxy-client.key",
                "--service-account-issuer=https://kubernetes.default.svc.cluster.local",
                f"--service-account-key-file={pki}/service-account.key",
                f"--service-account-signing-key-file={pki}/service-account.key",
                # time is short in tests: pods leave a dead node after seconds, not five minutes
                "--default-not-ready-toleration-seconds=5", "--default-unreachable-toleration-seconds=5",
                "--profiling=false", "--v=1"]

    def _controller_manager(self, pki):
        r = self.region
        return [os.path.join(self.programs, "kube-controller-manager"), f"--kubeconfig={pki}/controller-manager.kubeconfig",
                f"--authentication-kubeconfig={pki}/controller-manager.kubeconfig",
                f"--authorization-kubeconfig={pki}/controller-manager.kubeconfig",
                f"--bind-address={r.host}", "--leader-elect=false", "--use-service-account-credentials=true",
                f"--root-ca-file={pki}/ca.crt", f"--service-account-private-key-file={pki}/service-account.key",
                f"--cluster-signing-cert-file={pki}/ca.crt", f"--cluster-signing-key-file={pki}/ca.key",
                "--allocate-node-cidrs=true", f"--cluster-cidr={r.pod_cidr}", "--node-cidr-mask-size=21",
                f"--service-cluster-ip-range={r.service_cidr}",
                f"--flex-volume-plugin-dir={r.path('flexvolume')}",  # the default is a folder of the system's
                "--node-monitor-period=1s", f"--node-monitor-grace-period={NODE_GRACE_S}s", "--profiling=false", "--v=1"]

    def _scheduler(self, pki):
        r = self.region
        return [os.path.join(self.programs, "kube-scheduler"), f"--kubeconfig={pki}/scheduler.kubeconfig",
                f"--authentication-kubeconfig={pki}/scheduler.kubeconfig",
                f"--authorization-kubeconfig={pki}/scheduler.kubeconfig",
                f"--bind-address={r.host}", "--leader-elect=false", "--profiling=false", "--v=1"]

    def _podrunner(self, pki):
        r = self.region
        return [os.path.join(self.programs, "podrunner"), "run", "--server", r.server, "--ca", f"{pki}/ca.crt", "--ca-key", f"{pki}/ca.key",
                "--nodes", r.path("nodes.json"), "--images", r.path("images.json"), "--state", r.path("pods"),
                "--bin", os.path.join(layout.build_dir(), "bin")]

    # ---- files ----

    def prepare(self):
        """A new, empty region: certificates, kubeconfigs, the list of nodes."""
        r = self.region
        shutil.rmtree(r.dir, ignore_errors=True)
        os.makedirs(r.dir, mode=0o700)
        subprocess.run([os.path.join(self.programs, "podrunner"), "pki", "--dir", r.path("pki"), "--cluster", r.name,
                        "--ips", f"{r.host},10.{95 + r.index}.0.1"], check=True)
        for name, user in (("admin", "kubernetes-admin"), ("controller-manager", "system:kube-controller-manager"),
                           ("scheduler", "system:kube-scheduler")):
            target = r.admin_kubeconfig if name == "admin" else r.path("pki", f"{name}.kubeconfig")
            self.write_kubeconfig(target, user, "default", f"    client-certificate-data: {_b64(r.path('pki', name + '.crt'))}\n"
                                                           f"    client-key-data: {_b64(r.path('pki', name + '.key'))}")
        with open(r.path("nodes.json"), "w", encoding="utf-8") as f:
            json.dump(self.nodes(), f, indent=1)
        source = os.environ.get("ECOLINK_KUBE_IMAGES") or os.path.join(layout.HERE, "images.json")
        shutil.copy(source, r.path("images.json"))

    def nodes(self):
        """GPU nodes as a GPU operator labels and taints them, and one plain node for everything else."""
        count = int(os.environ.get("ECOLINK_KUBE_NODES", "2"))
        gpus = int(os.environ.get("ECOLINK_KUBE_GPUS", "8"))
        pods = int(os.environ.get("ECOLINK_KUBE_PODS", "110"))
        found = []
        for kind in ("l40s", "h100"):
            for n in range(1, count + 1):
                found.append({"name": f"{self.region.name}-{kind}-{n}", "gpus": gpus,
                              "labels": {"nvidia.com/gpu.product": f"NVIDIA-{kind.upper()}", "nvidia.com/gpu.count": str(gpus)},
                              "taints": [{"key": "nvidia.com/gpu", "value": "present", "effect": "NoSchedule"}]})
        found.append({"name": f"{self.region.name}-cpu-1", "gpus": 0, "labels": {}, "taints": []})
        for n, node in enumerate(found, start=11):
            node.update(ip=f"10.240.{self.region.index}.{n}", cpu="64", memory="512Gi", pods=pods)
        return found

    def write_kubeconfig(self, path, user, where, credentials):
        r = self.region
        with open(path, "w", encoding="ascii", opener=lambda p, f: os.open(p, f, 0o600)) as f:
            f.write(KUBECONFIG.format(cluster=r.name, server=r.server, ca=_b64(r.path("pki", "ca.crt")), user=user, namespace=where,
                                      credentials=credentials))

    # ---- content ----

    def admin(self):
        return api.Client.from_certificate(self.region.server, self.region.path("pki", "ca.crt"), self.region.path("pki", "admin.crt"),
                                           self.region.path("pki", "admin.key"))

    def wait_ready(self):
        def ready():
            for part in ("etcd", "apiserver"):
                if not self.alive(part):
                    raise SystemExit(f"{self.region.name}: {part} ended: {self.process(part).tail(3)}")
            return self.admin().get("/readyz", raw=True) == b"ok"
        if not poll(ready, READY_S, 0.1, (OSError, api.Error))[0]:
            raise SystemExit(f"{self.region.name}: the API server is not ready after {READY_S:.0f} s: {self.process('apiserver').tail(3)}")

    def seed(self):
        """Namespaces, the scheduler's service account and its rights; then its token, and kubeconfigs made of it."""
        admin = self.admin()
        for name in ("storage.json", "scheduler.json"):
            with open(os.path.join(layout.HERE, "manifests", name), encoding="utf-8") as f:
                for item in json.load(f):
                    admin.apply(item)
        r = self.region
        token = admin.post(f"/api/v1/namespaces/{layout.SYSTEM_NAMESPACE}/serviceaccounts/ecolink-scheduler/token",
                           {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {"expirationSeconds": 86400}})["status"]["token"]
        # as a pod finds them: token, ca.crt, namespace
        where = r.path("serviceaccount")
        os.makedirs(where, mode=0o700, exist_ok=True)
        for name, text in (("token", token), ("namespace", layout.TENANT_NAMESPACE)):
            with open(os.path.join(where, name), "w", encoding="ascii") as f:
                f.write(text)
        shutil.copy(r.path("pki", "ca.crt"), where)
        self.write_kubeconfig(r.scheduler_kubeconfig, "ecolink-scheduler", layout.TENANT_NAMESPACE, f"    token: {token}")

    def wait_nodes(self):
        wanted = {node["name"] for node in self.nodes()}
        ready = set()

        def all_ready():
            nonlocal ready
            ready = {node["metadata"]["name"] for node in self.admin().get("/api/v1/nodes")["items"]
                     if any(c["type"] == "Ready" and c["status"] == "True" for c in node["status"].get("conditions", []))
                     and not any("node.kubernetes.io" in taint["key"] for taint in node["spec"].get("taints", []))}
            if not self.alive("podrunner"):
                raise SystemExit(f"{self.region.name}: podrunner ended: {self.process('podrunner').tail(3)}")
            return wanted <= ready
        if not poll(all_ready, READY_S, 0.1)[0]:
            raise SystemExit(f"{self.region.name}: nodes are not Ready: {', '.join(sorted(wanted - ready))}")
