"""The whole scheduler (real PostgreSQL and NATS, registry and billing as stand-ins) with both regions of the test cluster behind
it: what test_driver.py is written with. The world and its words are those of tests/integration/scheduler."""
import json
import os
import shutil
import sys
import tempfile

from kubetest import layout, objects, plane

_INTEGRATION = os.path.join(layout.TREE, "tests", "integration")
sys.path[:0] = [os.path.join(layout.TREE, "tests", "shared"), _INTEGRATION, os.path.join(_INTEGRATION, "scheduler")]
# pylint: disable=wrong-import-position
from ecotest import protos  # noqa: E402

_generated = tempfile.TemporaryDirectory(prefix="eco-protos-")
protos.generate(_generated.name)

from ecotest import pb  # noqa: E402
from kube_base import KubeBase  # noqa: E402

TENANTS = layout.TENANT_NAMESPACE
KINDS = {"deployments": "/apis/apps/v1", "pods": "/api/v1", "secrets": "/api/v1", "services": "/api/v1",
         "persistentvolumeclaims": "/api/v1", "networkpolicies": "/apis/networking.k8s.io/v1"}
GPUS_PER_TYPE = int(os.environ.get("ECOLINK_KUBE_NODES", "2")) * int(os.environ.get("ECOLINK_KUBE_GPUS", "8"))


class KubeWorld(KubeBase):
    def __init__(self, stack, **kubernetes):
        super().__init__(stack)
        self.planes = {r.name: plane.Plane(r, os.environ["ECOLINK_KUBE_PROGRAMS"]) for r in layout.REGIONS}
        self.api = {name: p.admin() for name, p in self.planes.items()}
        for r in layout.REGIONS:
            shutil.copy(r.scheduler_kubeconfig, os.path.join(self.configs, f"{r.name}.yaml"))
        self.kubernetes = {"namespace": TENANTS, "weights_gb": 1, "storage_class": "shared", "system_namespace": layout.SYSTEM_NAMESPACE,
                           "gpu_values": {"l40s": "NVIDIA-L40S"}, **kubernetes}
        with open(self.seed, "w", encoding="utf-8") as f:
            json.dump({"gpu_types": [{"name": "l40s", "memory_gb": 48, "hourly_rate": "1.60"}],
                       "regions": [{"name": r.name, "driver": "kubernetes", "gpus": [{"gpu_type": "l40s", "total": 0}],
                                    "kubernetes": {"kubeconfig": f"{r.name}.yaml", **self.kubernetes}} for r in layout.REGIONS]}, f)

    def configure(self, region, **kubernetes):
        """As an operator does while everything runs: the region as it was made, but for these members."""
        members = self.kubernetes | kubernetes
        members["gpu_values"] = [pb.common.KeyValue(name=name, value=value) for name, value in members["gpu_values"].items()]
        request = pb.scheduler.PutRegionRequest(name=region, driver="kubernetes",
                                                kubernetes=pb.scheduler.KubernetesRegion(kubeconfig=f"{region}.yaml", **members))
        request.gpus.add(gpu_type="l40s", total=0)
        return self.stack.rpc("scheduler.PutRegion", request, pb.scheduler.Region, caller=self.stack.operator())

    # ---- what is in the clusters ----
    def path(self, kind, name=""):
        return f"{KINDS[kind]}/namespaces/{TENANTS}/{kind}" + (f"/{name}" if name else "")

    def installation(self):
        return self.stack.sql("SELECT id::text FROM scheduler.installation")[0][0]

    def objects(self, kind, region=None):
        """Ours, of one region or of both."""
        found = []
        for name, api in self.api.items():
            if region in (None, name):
                query = f"?labelSelector=ecolink.io%2Finstallation%3D{self.installation()}"
                found += api.get(self.path(kind) + query)["items"]
        return found

    def uids(self, kind, region=None):
        return sorted(o["metadata"]["uid"] for o in self.objects(kind, region))

    def logs(self, instance):
        return list(self.stack.rpc("scheduler.ReadInstanceLogs", pb.scheduler.ReadInstanceLogsRequest(id=instance), pb.scheduler.InstanceLogs,
                                   caller=self.owner).data)

    def gone(self, instance):
        self.stopped(instance)
        objects.until("nothing is left", lambda: not [
            o for k in ("deployments", "secrets", "services", "pods") for o in self.objects(k)
            if o["metadata"]["labels"].get("ecolink.io/instance") == str(instance)])

    def stopped(self, instance):
        self.stop(instance)
        return self.until(instance, 5)

    def live(self):
        return [i for (i,) in self.stack.sql("SELECT id FROM scheduler.instances WHERE status IN (2, 3) AND launch_state = 'done'")]

    def close(self):
        if self.service.process.poll() is None:
            for i in self.live():
                self.gone(i)
            self.service.stop()
        for kind in ("deployments", "persistentvolumeclaims", "networkpolicies"):
            for name, api in self.api.items():
                for o in self.objects(kind, name):
                    api.call("DELETE", self.path(kind, o["metadata"]["name"]))
        if self.end_billing:
            self.end_billing()
        for end in self.ends:
            end()
