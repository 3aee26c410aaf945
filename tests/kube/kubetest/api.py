"""A small client of the Kubernetes API for bring-up and tests: JSON over one TLS connection a call. Runs inside the namespace."""
import contextlib
import http.client
import json
import ssl
import urllib.parse

# kinds that we apply -> where they live (plural, group path, in a namespace)
_PLACES = {
    "Namespace": ("namespaces", "/api/v1", False), "ServiceAccount": ("serviceaccounts", "/api/v1", True),
    "Secret": ("secrets", "/api/v1", True), "ConfigMap": ("configmaps", "/api/v1", True), "Pod": ("pods", "/api/v1", True),
    "Service": ("services", "/api/v1", True), "PersistentVolumeClaim": ("persistentvolumeclaims", "/api/v1", True),
    "PriorityClass": ("priorityclasses", "/apis/scheduling.k8s.io/v1", False),
    "StorageClass": ("storageclasses", "/apis/storage.k8s.io/v1", False),
    "Deployment": ("deployments", "/apis/apps/v1", True),
    "Role": ("roles", "/apis/rbac.authorization.k8s.io/v1", True),
    "RoleBinding": ("rolebindings", "/apis/rbac.authorization.k8s.io/v1", True),
    "ClusterRole": ("clusterroles", "/apis/rbac.authorization.k8s.io/v1", False),
    "ClusterRoleBinding": ("clusterrolebindings", "/apis/rbac.authorization.k8s.io/v1", False),
    "NetworkPolicy": ("networkpolicies", "/apis/networking.k8s.io/v1", True),
    "EndpointSlice": ("endpointslices", "/apis/discovery.k8s.io/v1", True),
    "APIService": ("apiservices", "/apis/apiregistration.k8s.io/v1", False),
}


class Error(Exception):
    """An answer above 399; `code`, and the server's own reason and message."""

    def __init__(self, code, body):
        self.code = code
        self.reason = self.message = ""
        with contextlib.suppress(ValueError, AttributeError):
            answer = json.loads(body)
            self.reason, self.message = answer.get("reason", ""), answer.get("message", "")
        super().__init__(f"{code} {self.reason}: {self.message or body[:200]}")


class Client:
    def __init__(self, server, context, token=None):
        address = urllib.parse.urlsplit(server)
        self.host, self.port, self.context, self.token = address.hostname, address.port, context, token

    @classmethod
    def from_certificate(cls, server, ca, certificate, key):
        context = ssl.create_default_context(cafile=ca)
        context.load_cert_chain(certificate, key)
        return cls(server, context)

    @classmethod
    def from_token(cls, server, ca, token):
        return cls(server, ssl.create_default_context(cafile=ca), token)

    def open(self, method, path, body=None, content_type="application/json", timeout=30):
        """The response, not yet read, and its connection, which the caller closes."""
        connection = http.client.HTTPSConnection(self.host, self.port, context=self.context, timeout=timeout)
        headers = {"Accept": "application/json"}
        if self.token:
            headers["Authorization"] = f"Bearer {self.token}"
        if body is not None:
            headers["Content-Type"] = content_type
            body = json.dumps(body)
        connection.request(method, path, body, headers)
        response = connection.getresponse()
        if response.status >= 400:
            text = response.read()
            connection.close()
            raise Error(response.status, text.decode(errors="replace"))
        return response, connection

    def call(self, method, path, body=None, content_type="application/json", raw=False):
        response, connection = self.open(method, path, body, content_type)
        with contextlib.closing(connection):
            text = response.read()
        return text if raw else json.loads(text)

    def get(self, path, raw=False):
        return self.call("GET", path, raw=raw)

    def post(self, path, body):
        return self.call("POST", path, body)

    def delete(self, path):
        return self.call("DELETE", path)

    def merge(self, path, body):
        return self.call("PATCH", path, body, "application/merge-patch+json")

    def apply(self, item, manager="cluster"):
        """Server-side apply of a whole object."""
        return self.call("PATCH", f"{path_of(item)}?fieldManager={manager}&force=true", item, "application/apply-patch+yaml")

    def watch(self, path, timeout=30):
        """(type, object) of each event until the server or `timeout` (seconds without one) ends it."""
        response, connection = self.open("GET", path + ("&" if "?" in path else "?") + "watch=true", timeout=timeout)
        with contextlib.closing(connection):
            try:
                for line in response:
                    event = json.loads(line)
                    yield event["type"], event["object"]
            except TimeoutError:
                return


def path_of(item):
    plural, group, namespaced = _PLACES[item["kind"]]
    where = f"/namespaces/{item['metadata'].get('namespace', 'default')}" if namespaced else ""
    return f"{group}{where}/{plural}/{item['metadata']['name']}"
