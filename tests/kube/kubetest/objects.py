"""Replicas as the product makes them, for tests: a Deployment of one pod that Pod Security's `restricted` lets pass."""
import contextlib
import urllib.error
import urllib.request

from polling import poll

from . import api, layout

PATIENCE_S = 60.0
SECURE = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}, "runAsNonRoot": True, "runAsUser": 65534,
          "seccompProfile": {"type": "RuntimeDefault"}}


def until(what, wanted, patience_s=PATIENCE_S):
    """What `wanted` returns as soon as that is true."""
    came, found = poll(wanted, patience_s, 0.05)
    assert came, f"{what}: not within {patience_s:.0f} s"
    return found


def http_get(address, port, path, timeout=2, token=None):
    """Status and body; None when nobody answers there."""
    request = urllib.request.Request(f"http://{address}:{port}{path}", headers={"Authorization": f"Bearer {token}"} if token else {})
    try:
        with urllib.request.urlopen(request, timeout=timeout) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as e:
        return e.code, e.read().decode()
    except OSError:
        return None


def http_post(address, port, path, body):
    with urllib.request.urlopen(urllib.request.Request(f"http://{address}:{port}{path}", body.encode(), method="POST"), timeout=5) as answer:
        return answer.read().decode()


class Bench:
    """One tenant namespace of one region, as its administrator."""

    def __init__(self, plane):
        self.plane, self.api = plane, plane.admin()
        self.names, self.claims = [], []

    def deployment(self, name, image="ecolink/simulator:test", args=(), gpus=1, gpu="NVIDIA-L40S", grace_s=5, volumes=(), mounts=(), command=(),
                   probes=True, env=()):
        get = {"httpGet": {"path": "/health", "port": 8000}}
        container = {"name": "engine", "image": image, "args": list(args) or ["--host", "0.0.0.0", "--port", "8000", "--model", name],
                     "ports": [{"containerPort": 8000}], "securityContext": SECURE, "env": list(env), "volumeMounts": list(mounts)}
        if command:
            container["command"] = list(command)
        if gpus:
            container["resources"] = {"limits": {"nvidia.com/gpu": str(gpus)}}
        if probes:
            container |= {"startupProbe": get | {"periodSeconds": 1, "failureThreshold": 60}, "readinessProbe": get | {"periodSeconds": 1, "failureThreshold": 2},
                          "livenessProbe": get | {"periodSeconds": 1, "failureThreshold": 10}}
        spec = {"containers": [container], "volumes": list(volumes), "terminationGracePeriodSeconds": grace_s, "serviceAccountName": "ecolink-replica",
                "tolerations": [{"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}]}
        if gpu:
            spec["nodeSelector"] = {"nvidia.com/gpu.product": gpu}
        labels = {"app": name}
        self.names.append(name)
        self.api.apply({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name, "namespace": layout.TENANT_NAMESPACE},
                        "spec": {"replicas": 1, "selector": {"matchLabels": labels}, "strategy": {"type": "Recreate"},
                                 "template": {"metadata": {"labels": labels}, "spec": spec}}})
        return name

    def claim(self, name, storage_class):
        self.claims.append(name)
        self.api.apply({"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": name, "namespace": layout.TENANT_NAMESPACE},
                        "spec": {"storageClassName": storage_class, "resources": {"requests": {"storage": "1Gi"}},
                                 "accessModes": ["ReadWriteMany" if storage_class == "shared" else "ReadWriteOnce"]}})
        return name

    def pods(self, name):
        """Newest last."""
        items = self.api.get(f"/api/v1/namespaces/{layout.TENANT_NAMESPACE}/pods?labelSelector=app%3D{name}")["items"]
        return sorted(items, key=lambda p: p["metadata"]["creationTimestamp"])

    def pod(self, name):
        found = self.pods(name)
        return found[-1] if found else None

    def status(self, name):
        """The first container's, {} while there is none."""
        found = self.pod(name)
        return (found or {}).get("status", {}).get("containerStatuses", [{}])[0]

    def ready(self, name):
        """The pod when its Ready condition is true."""
        found = self.pod(name)
        conditions = (found or {}).get("status", {}).get("conditions", [])
        good = found and "deletionTimestamp" not in found["metadata"] and any(c["type"] == "Ready" and c["status"] == "True" for c in conditions)
        return found if good else None

    def wait_ready(self, name):
        return until(f"{name} is Ready", lambda: self.ready(name))

    def log(self, pod, query="", raw_path="/log"):
        return self.api.get(f"/api/v1/namespaces/{layout.TENANT_NAMESPACE}/pods/{pod['metadata']['name']}{raw_path}{query}", raw=True).decode()

    def delete(self, name):
        self.api.delete(f"/apis/apps/v1/namespaces/{layout.TENANT_NAMESPACE}/deployments/{name}?propagationPolicy=Background")

    def clear(self):
        for name in self.names:
            with contextlib.suppress(api.Error):
                self.delete(name)
        for name in self.names:
            until(f"{name}'s pods are gone", lambda n=name: not self.pods(n))
        for name in self.claims:
            with contextlib.suppress(api.Error):
                self.api.delete(f"/api/v1/namespaces/{layout.TENANT_NAMESPACE}/persistentvolumeclaims/{name}")
