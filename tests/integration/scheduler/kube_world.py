"""A scheduler in front of two API servers whose faults the test chooses (kube_fake.py), and what is asked of it again and again."""

import json
import os
import shutil

import world as world_module
from ecotest import pb
from kube_base import KubeBase
from kube_fake import Cluster
from test_kube_client import Api
from world import eventually

S = pb.scheduler
RUNNING, STOPPED, FAILED = S.INSTANCE_STATUS_RUNNING, S.INSTANCE_STATUS_STOPPED, S.INSTANCE_STATUS_FAILED
KINDS = ("deployments", "secrets", "services", "pods")
HEARTBEAT_MS = 1000  # what was seen is evidence for three of them
STALE_S = 3 * HEARTBEAT_MS / 1000


class Region:
    def __init__(self, name, folder, configs):
        self.name, self.cluster, self.api = name, Cluster(), Api(folder)
        self.token_file = os.path.join(configs, f"{name}.token")
        with open(self.token_file, "w", encoding="utf-8") as f:
            f.write("first")
        self.api.script(lambda h, body: self.cluster.answer(h, body))
        shutil.copy(self.api.config(user={"tokenFile": self.token_file}), os.path.join(configs, f"{name}.yaml"))

    def close(self):
        self.cluster.close()
        self.api.close()


class KubeWorld(KubeBase):
    def __init__(self, stack, folder):
        super().__init__(stack)
        self.regions = {name: Region(name, folder, self.configs) for name in ("kube-a", "kube-b")}
        with open(self.seed, "w", encoding="utf-8") as f:
            json.dump({"gpu_types": world_module.SEED["gpu_types"],
                       "regions": [{"name": name, "driver": "kubernetes", "gpus": [{"gpu_type": "sim", "total": 1}],
                                    "kubernetes": {"kubeconfig": f"{name}.yaml", "weights_gb": 10}} for name in self.regions]}, f)

    def settings(self, **more):
        return super().settings(KUBERNETES_HEARTBEAT_MS=HEARTBEAT_MS, **more)

    def said(self):
        return [c.said for c in self.clusters()]

    def clusters(self):
        return [r.cluster for r in self.regions.values()]

    def objects(self, kind):
        return [o for c in self.clusters() for o in c.all(kind)]

    def live(self):
        return [i for (i,) in self.stack.sql("SELECT id FROM scheduler.instances WHERE status IN (2, 3) AND launch_state = 'done'")]

    def close(self):
        for i in self.live():
            self.stop(i)
        self.service.stop()
        for r in self.regions.values():
            r.close()
        if self.end_billing:
            self.end_billing()
        for end in self.ends:
            end()


def rooms_are_seen(kube):
    eventually(lambda: kube.stack.sql("SELECT min(total) FROM scheduler.gpu_rooms")[0][0] == 16, 30, 0.1, "free GPUs are seen")


def gone(kube, instance):
    kube.stopped(instance)
    eventually(lambda: not [o for k in KINDS for o in kube.objects(k)
                            if o["metadata"]["labels"].get("ecolink.io/instance") == str(instance)], 20, 0.1, "nothing is left")


def pods_of(kube):
    return sorted(p["metadata"]["uid"] for p in kube.objects("pods"))


def put_region(kube, name, **kubernetes):
    request = S.PutRegionRequest(name=name, driver="kubernetes", kubernetes=S.KubernetesRegion(kubeconfig=f"{name}.yaml", weights_gb=10, **kubernetes))
    request.gpus.add(gpu_type="sim", total=1)
    return kube.stack.rpc("scheduler.PutRegion", request, S.Region, caller=kube.stack.operator())
