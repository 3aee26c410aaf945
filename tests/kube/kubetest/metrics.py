"""What an autoscaler asks: the real metrics-server, which reads a region's kubelets (those of real nodes; simulated ones measure nothing)."""
import contextlib

from . import api, plane
from .objects import until
from .process import Process

PORT = 4443
SYSTEM = "kube-system"


def objects(host):
    """A Service without a selector, for the program is no pod, and what leads the API server to it."""
    return [
        {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "metrics-server", "namespace": SYSTEM},
         "spec": {"ports": [{"name": "https", "port": 443, "targetPort": PORT}]}},
        {"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
         "metadata": {"name": "metrics-server", "namespace": SYSTEM, "labels": {"kubernetes.io/service-name": "metrics-server"}},
         "ports": [{"name": "https", "port": PORT, "protocol": "TCP"}], "endpoints": [{"addresses": [host], "conditions": {"ready": True}}]},
        {"apiVersion": "apiregistration.k8s.io/v1", "kind": "APIService", "metadata": {"name": "v1beta1.metrics.k8s.io"},
         "spec": {"service": {"name": "metrics-server", "namespace": SYSTEM}, "group": "metrics.k8s.io", "version": "v1beta1",
                  "insecureSkipTLSVerify": True, "groupPriorityMinimum": 100, "versionPriority": 100}}]


def measured(admin):
    """The nodes that metrics.k8s.io knows of."""
    try:
        return admin.get("/apis/metrics.k8s.io/v1beta1/nodes")["items"]
    except api.Error:
        return []  # nobody answers there yet


@contextlib.contextmanager
def served(region, programs):
    """Inside, the region's API server answers metrics.k8s.io; kube-proxy must run (services.py)."""
    admin, config = plane.Plane(region, programs).admin(), region.admin_kubeconfig
    server = Process(region.path("run"), region.path("log"), "metrics-server")
    server.start([f"{programs}/metrics-server", f"--kubeconfig={config}", f"--authentication-kubeconfig={config}", f"--authorization-kubeconfig={config}",
                  f"--bind-address={region.host}", f"--secure-port={PORT}", f"--cert-dir={region.path('metrics-pki')}", "--metric-resolution=10s", "--kubelet-request-timeout=5s",
                  f"--kubelet-certificate-authority={region.path('pki', 'ca.crt')}", "--kubelet-preferred-address-types=InternalIP",
                  "--kubelet-use-node-status-port"])
    try:
        for item in objects(region.host):
            admin.apply(item)
        until("the real node is measured", lambda: measured(admin) or not server.pid(), 120)
        assert server.pid(), f"metrics-server ended: {server.tail(3)}"
        yield
    finally:
        for item in objects(region.host):
            with contextlib.suppress(api.Error):
                admin.delete(api.path_of(item))
        server.stop()
