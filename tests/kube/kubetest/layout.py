"""Where everything is: regions, addresses and files. Addresses are fixed: each cluster has a network namespace of its own."""
import dataclasses
import os

TREE = os.path.dirname(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))
HERE = os.path.join(TREE, "tests", "kube")

SYSTEM_NAMESPACE = "ecolink-system"   # of the scheduler's service account
TENANT_NAMESPACE = "ecolink-tenants"  # of the replicas: Pod Security "restricted"


def state_dir():
    return os.path.abspath(os.environ.get("ECOLINK_KUBE_STATE") or os.path.join(TREE, ".local", "kube"))


def build_dir():
    """bin/ecolink-simulator of it answers as the model server."""
    return os.path.abspath(os.environ.get("ECOLINK_BUILD_DIR") or os.path.join(TREE, "build", "dev"))


@dataclasses.dataclass(frozen=True)
class Region:
    name: str
    index: int  # 1, 2: the third number of node addresses, the second of pod addresses less 243

    @property
    def host(self):
        return f"10.240.{self.index}.1"

    @property
    def server(self):
        return f"https://{self.host}:6443"

    @property
    def etcd(self):
        return f"http://{self.host}:2379"

    @property
    def pod_cidr(self):
        return f"10.{243 + self.index}.0.0/16"

    @property
    def service_cidr(self):
        return f"10.{95 + self.index}.0.0/16"

    @property
    def dir(self):
        return os.path.join(state_dir(), self.name)

    def path(self, *parts):
        return os.path.join(self.dir, *parts)

    @property
    def admin_kubeconfig(self):
        return self.path("admin.kubeconfig")

    @property
    def scheduler_kubeconfig(self):
        return self.path("scheduler.kubeconfig")


REGIONS = (Region("kube-a", 1), Region("kube-b", 2))

# what `ip route add local <range> dev lo` makes ours: nodes and API servers, pods
LOCAL_RANGES = ("10.240.0.0/16",) + tuple(region.pod_cidr for region in REGIONS)


def region(name):
    for one in REGIONS:
        if one.name == name:
            return one
    raise SystemExit(f"no such region: {name} ({', '.join(r.name for r in REGIONS)})")
