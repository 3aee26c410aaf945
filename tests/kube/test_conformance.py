"""Both drivers pass one suite (tests/unit/scheduler/driver_conformance.h): the Kubernetes driver here, against both regions."""
import os
import re
import shutil
import subprocess
import uuid

from kubetest import layout, objects, plane

TOOL = os.path.join(layout.build_dir(), "tests", "kube_conformance")


def test_kubernetes_driver_conforms(tmp_path):
    for r, name in zip(layout.REGIONS, ("here", "elsewhere")):
        shutil.copy(r.scheduler_kubeconfig, tmp_path / f"{name}.yaml")
    installation = str(uuid.uuid4())
    try:
        done = subprocess.run([TOOL, installation, str(tmp_path), os.path.join(layout.build_dir(), "bin", "ecolink-simulator")],
                              capture_output=True, text=True, timeout=900, check=False)
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
        assert len(re.findall(r"\[ +OK +\]", done.stdout + done.stderr)) >= 11
    finally:
        selector = f"?labelSelector=ecolink.io%2Finstallation%3D{installation}"
        for r in layout.REGIONS:
            api = plane.Plane(r, os.environ["ECOLINK_KUBE_PROGRAMS"]).admin()
            for path in ("/apis/apps/v1/namespaces/{}/deployments", "/apis/networking.k8s.io/v1/namespaces/{}/networkpolicies"):
                api.call("DELETE", path.format(layout.TENANT_NAMESPACE) + selector)
            pods = f"/api/v1/namespaces/{layout.TENANT_NAMESPACE}/pods" + selector
            objects.until("its pods are gone", lambda a=api, p=pods: not a.get(p)["items"], 60)
