"""The Helm chart for real: installed into the first region, used, upgraded under traffic, its rights tried out, uninstalled.

Pods are processes (podrunner); with ECOLINK_KUBE_REAL=1 containers of a real node, from the images of a Docker engine. Services are the
real kube-proxy's. One test after the other, on one release.
"""
import base64
import contextlib
import functools
import http.client
import json
import os
import stat
import threading
import time
import urllib.error
import urllib.request

import doc_commands
import pytest
import yaml
from kubetest import api, chart, layout, plane, realnode, registry, services
from kubetest.objects import until

NAMESPACE, TENANTS, RELEASE = "ecolink", "eco-tenants", "eco"
VALUES = [os.path.join(layout.HERE, "helm", name) for name in ("values/install.yaml", "real.yaml")]
REAL = os.environ.get("ECOLINK_KUBE_REAL") == "1"
DEPLOYMENTS = f"/apis/apps/v1/namespaces/{NAMESPACE}/deployments"
TAG = "next"  # another name for the same programs
with open(os.path.join(chart.CHART, "Chart.yaml"), encoding="utf-8") as _chart:
    OLD_TAG = yaml.safe_load(_chart)["appVersion"]


class Release:
    """The release and who talks to it."""

    def __init__(self, region, programs):
        self.region, self.helm = region, chart.Helm(region, programs)
        self.api = plane.Plane(region, programs).admin()
        self.account_key = self.busy_key = self.model = None  # the owner's key, one that may call as often as it likes, what it calls

    def helm_with_values(self, verb, *words):
        values = [word for path in VALUES[:1 + REAL] for word in ("-f", path)]
        try:
            return self.helm(verb, RELEASE, chart.CHART, "--namespace", NAMESPACE, *values, "--wait", "--timeout", "10m", *words, timeout=700)
        except AssertionError as e:
            pods = self.api.get(f"/api/v1/namespaces/{NAMESPACE}/pods")["items"]
            states = {p["metadata"]["name"]: [c.get("state") for c in p["status"].get("containerStatuses", [])] for p in pods}
            raise AssertionError(f"{e}\n{json.dumps(states, indent=1)[:4000]}") from e

    @functools.cached_property
    def gateway(self):
        """The Service's address: kube-proxy finds a gateway behind it for each connection."""
        return self.api.get(f"/api/v1/namespaces/{NAMESPACE}/services/eco-ecolink-gateway")["spec"]["clusterIP"]

    def forget_address(self):
        """Of a Service that was made anew."""
        self.__dict__.pop("gateway", None)

    def secret(self):
        return self.api.get(f"/api/v1/namespaces/{NAMESPACE}/secrets/eco-ecolink-secrets")["data"]

    def operator_key(self):
        return base64.b64decode(self.secret()["bootstrap_key"]).decode()

    def call(self, method, path, body=None, key=None, timeout=60):
        """Status and JSON, over a connection of its own."""
        request = urllib.request.Request(f"http://{self.gateway}{path}", method=method, data=json.dumps(body).encode() if body is not None else None,
                                         headers={"Authorization": f"Bearer {key or self.account_key}", "Content-Type": "application/json"})
        try:
            with urllib.request.urlopen(request, timeout=timeout) as answer:
                return answer.status, json.load(answer)
        except urllib.error.HTTPError as e:
            return e.code, json.loads(e.read())

    def ok(self, *words, **how):
        status, body = self.call(*words, **how)
        assert 200 <= status < 300, (status, body)
        return body

    def ready(self, name):
        d = self.api.get(f"{DEPLOYMENTS}/{name}")
        return d["status"].get("readyReplicas", 0) == d["spec"]["replicas"] == d["status"].get("updatedReplicas", 0)


@pytest.fixture(scope="module")
def pods(one_region, tmp_path_factory):
    """What the chart's images are: processes in their place, or themselves, on a real node."""
    region = one_region.region
    os.chmod(region.dir, 0o711)  # PostgreSQL, another user, must come to its volume
    if not REAL:
        chart.use_images(region, chart.image_rules(str(tmp_path_factory.mktemp("images"))))
        yield
        return
    images, node = registry.Registry(), realnode.RealNode(region, os.environ["ECOLINK_KUBE_PROGRAMS"])
    realnode.add_pause(images)
    for name in (*chart.SERVICES, "nats", "postgres", "setup"):
        images.add_from_docker(f"ecolink/{name}:dev", [f"ecolink/{name}:{tag}" for tag in (OLD_TAG, TAG)])
    images.add_from_docker("ecolink/simulator:dev", ["ecolink/simulator:latest"])
    images.serve(region.host)
    try:
        node.start()
        yield
    finally:
        node.stop()
        images.close()


@pytest.fixture(scope="module")
def release(one_region, pods):  # pylint: disable=unused-argument
    region, programs = one_region.region, os.environ["ECOLINK_KUBE_PROGRAMS"]
    running = services.start(region, programs)
    it = Release(region, programs)
    it.api.apply({"apiVersion": "v1", "kind": "Namespace",
                  "metadata": {"name": NAMESPACE, "labels": {"pod-security.kubernetes.io/enforce": "restricted"}}})
    try:
        yield it
    finally:
        it.helm("uninstall", RELEASE, "--namespace", NAMESPACE, "--ignore-not-found", check=False)
        for name in (NAMESPACE, TENANTS):
            with contextlib.suppress(api.Error):
                it.api.delete(f"/api/v1/namespaces/{name}")
        until("both namespaces are gone", lambda: not {NAMESPACE, TENANTS} & {
            n["metadata"]["name"] for n in it.api.get("/api/v1/namespaces")["items"]}, 300)
        for process in running:
            process.stop()


# ---- install ----


def test_it_installs_and_tells_the_next_step(release):
    said = release.helm_with_values("install")
    assert f"helm -n {NAMESPACE} test {RELEASE}" in said and "ecolink admin accounts create" in said
    for name in chart.SERVICES:
        assert release.ready(f"eco-ecolink-{name}"), name
    assert {len(value) > 0 for value in release.secret().values()} == {True} and len(release.secret()) == 19


def test_the_hooks_leave_no_right_behind(release):
    roles = {r["metadata"]["name"] for r in release.api.get(f"/apis/rbac.authorization.k8s.io/v1/namespaces/{NAMESPACE}/roles")["items"]}
    accounts = {a["metadata"]["name"] for a in release.api.get(f"/api/v1/namespaces/{NAMESPACE}/serviceaccounts")["items"]}
    assert "eco-ecolink-setup" not in roles | accounts


def test_helm_test_passes(release):
    assert "Phase:          Succeeded" in release.helm("test", RELEASE, "--namespace", NAMESPACE)


def test_a_model_runs_in_this_cluster_and_answers_through_the_service(release):
    key = release.operator_key()
    account = release.ok("POST", "/admin/accounts", {"name": "acme", "owner_email": "a@example.com"}, key=key)
    until("credit", lambda: release.call("POST", f"/admin/accounts/{account['account']['id']}/topups", {"amount": "500.00"}, key=key)[0] < 300)
    release.account_key = account["api_key"]["key"]
    until("the key is known", lambda: release.call("GET", "/v1/models")[0] == 200)
    release.busy_key = release.ok("POST", "/api-keys", {"name": "busy", "rate_limit_per_minute": 1000000})["key"]
    until("the other key is known", lambda: release.call("GET", "/v1/models", key=release.busy_key)[0] == 200)
    model = release.ok("POST", "/models", {"name": "hello", "source": "container", "category": "chat"})
    until("the region counts its GPUs", lambda: any(r["status"] == "ok" or r.get("gpus") for r in release.ok("GET", "/regions")["data"]))
    launch = {"model_id": model["id"], "engine": "simulator", "gpu_type": "l40s", "allow_single_region": True}
    instance = until("there is room", lambda: (answer := release.call("POST", "/inference-instances", launch))[0] == 201 and answer[1])
    until("it runs", lambda: release.ok("GET", f"/inference-instances/{instance['id']}")["status"] == "running", 90)
    answer = first_answer(release, instance["model"])
    assert answer["choices"][0]["message"]["content"].startswith("This is the simulator")
    release.model = instance["model"]
    pods = release.api.get(f"/api/v1/namespaces/{TENANTS}/pods")["items"]
    assert [p["spec"]["serviceAccountName"] for p in pods] == ["ecolink-replica"]


def chat(release, model, **more):
    return release.call("POST", "/v1/chat/completions", {"model": model, "max_tokens": 8, "messages": [{"role": "user", "content": "Hi"}], **more}, key=release.busy_key)


def first_answer(release, model):
    last = []

    def answered():
        last[:] = chat(release, model)
        return last[0] == 200
    try:
        until("it answers", answered)
    except AssertionError as e:
        raise AssertionError(f"{e}; the last answer: {last}") from e
    return last[1]


# ---- rights ----


def scheduler_client(release):
    answer = release.api.post(f"/api/v1/namespaces/{NAMESPACE}/serviceaccounts/eco-ecolink-scheduler/token",
                              {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {"expirationSeconds": 600}})
    return api.Client.from_token(release.region.server, release.region.path("pki", "ca.crt"), answer["status"]["token"])


def may(release, account, verb, resource, namespace="", group="", subresource=""):
    """The API server's own word: what `kubectl auth can-i --as` asks."""
    attributes = {"verb": verb, "resource": resource, "namespace": namespace, "group": group, "subresource": subresource}
    review = {"apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview",
              "spec": {"user": f"system:serviceaccount:{NAMESPACE}:eco-ecolink-{account}", "resourceAttributes": attributes}}
    return release.api.post("/apis/authorization.k8s.io/v1/subjectaccessreviews", review)["status"].get("allowed", False)


VERBS = ("get", "list", "watch", "create", "update", "patch", "delete", "deletecollection")
RESOURCES = [("", "pods", ""), ("", "pods", "exec"), ("", "pods", "log"), ("", "pods", "portforward"), ("", "secrets", ""), ("", "services", ""), ("", "configmaps", ""),
             ("", "serviceaccounts", ""), ("", "serviceaccounts", "token"), ("", "persistentvolumeclaims", ""), ("", "persistentvolumes", ""),
             ("", "nodes", ""), ("", "nodes", "proxy"), ("", "namespaces", ""), ("", "events", ""), ("apps", "deployments", ""), ("apps", "statefulsets", ""),
             ("apps", "daemonsets", ""), ("batch", "jobs", ""), ("networking.k8s.io", "networkpolicies", ""), ("networking.k8s.io", "ingresses", ""),
             ("rbac.authorization.k8s.io", "roles", ""), ("rbac.authorization.k8s.io", "rolebindings", ""),
             ("rbac.authorization.k8s.io", "clusterroles", ""), ("policy", "poddisruptionbudgets", "")]
WRITES = {"get", "list", "watch", "create", "patch", "delete"}
ALLOWED = {(TENANTS, "deployments", ""): WRITES, (TENANTS, "secrets", ""): WRITES, (TENANTS, "services", ""): WRITES,
           (TENANTS, "persistentvolumeclaims", ""): WRITES, (TENANTS, "networkpolicies", ""): WRITES, (TENANTS, "pods", ""): {"get", "list", "watch"},
           (TENANTS, "pods", "log"): {"get"}, ("", "nodes", ""): {"list", "watch"}, ("", "pods", ""): {"list", "watch"}}


@pytest.mark.parametrize("namespace", [TENANTS, NAMESPACE, "kube-system", ""], ids=["tenants", "own", "kube-system", "cluster"])
def test_the_scheduler_may_what_the_list_says_and_nothing_else(release, namespace):
    for group, resource, sub in RESOURCES:
        allowed = ALLOWED.get((namespace, resource, sub), set()) | (ALLOWED[("", "pods", "")] if (resource, sub) == ("pods", "") else set()) \
            | (ALLOWED[("", "nodes", "")] if (resource, sub) == ("nodes", "") else set())
        got = {verb for verb in VERBS if may(release, "scheduler", verb, resource, namespace, group, sub)}
        assert got == allowed, (namespace, group, resource, sub)


@pytest.mark.parametrize("account", ["registry", "billing", "health", "gateway", "nats", "postgres"])
def test_the_others_may_nothing(release, account):
    assert not [(r, v) for group, r, sub in RESOURCES for v in VERBS for n in (TENANTS, NAMESPACE, "") if may(release, account, v, r, n, group, sub)]


def test_what_is_beyond_its_rights_is_refused_to_the_scheduler(release):
    scheduler = scheduler_client(release)
    assert scheduler.get(f"/api/v1/namespaces/{TENANTS}/pods")["kind"] == "PodList"
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "x", "namespace": TENANTS}, "spec": {"containers": [{"name": "x", "image": "x"}]}}
    for call, *words in ((scheduler.get, f"/api/v1/namespaces/{NAMESPACE}/secrets/eco-ecolink-secrets"), (scheduler.get, "/api/v1/secrets"),
                         (scheduler.post, f"/api/v1/namespaces/{TENANTS}/pods", pod), (scheduler.delete, f"/api/v1/namespaces/{TENANTS}"),
                         (scheduler.delete, f"{DEPLOYMENTS}/eco-ecolink-gateway")):
        with pytest.raises(api.Error) as e:
            call(*words)
        assert e.value.code == 403, words


def test_one_gateway_at_a_time_may_be_evicted(release):
    pods = [p["metadata"]["name"] for p in release.api.get(f"/api/v1/namespaces/{NAMESPACE}/pods?labelSelector=app.kubernetes.io%2Fname%3Dgateway")["items"]]
    assert len(pods) == 2

    def evict(name):
        release.api.post(f"/api/v1/namespaces/{NAMESPACE}/pods/{name}/eviction",
                         {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": name, "namespace": NAMESPACE}})
    evict(pods[0])
    with pytest.raises(api.Error) as e:
        evict(pods[1])
    assert e.value.code == 429 and "disruption budget" in e.value.message
    until("two are Ready again", lambda: release.ready("eco-ecolink-gateway"))


# ---- upgrade ----


class Traffic:
    """Callers that hardly pause: new connections, kept ones, and streams that are long under way. What failed is kept, in words."""

    def __init__(self, release):
        self.release, self.failed, self.done, self.stop = release, [], {}, threading.Event()
        self.threads = [threading.Thread(target=self._run, args=(one,)) for one in (self.fresh, self.fresh, self.kept, self.stream)]
        for t in self.threads:
            t.start()

    def _run(self, caller):
        while not self.stop.wait(0.02):
            try:
                caller()
                self.done[caller.__name__] = self.done.get(caller.__name__, 0) + 1
            except Exception as e:  # pylint: disable=broad-except
                self.failed.append(f"{caller.__name__}: {e!r}")

    def fresh(self):
        status, body = chat(self.release, self.release.model)
        assert status == 200, (status, body)

    def kept(self):
        """Twenty requests on one connection, as a client with a pool does; it looks before it sends whether the server has closed it."""
        connection = http.client.HTTPConnection(self.release.gateway, timeout=60)
        with contextlib.closing(connection):
            for _ in range(20):
                connection.request("POST", "/v1/chat/completions", json.dumps({"model": self.release.model, "max_tokens": 2, "messages": [
                    {"role": "user", "content": "Hi"}]}), {"Authorization": f"Bearer {self.release.busy_key}", "Content-Type": "application/json"})
                answer = connection.getresponse()
                body = answer.read()
                assert answer.status == 200, body
                if answer.will_close:
                    return

    def stream(self):
        """Some seconds of tokens; complete only with its last line."""
        request = urllib.request.Request(f"http://{self.release.gateway}/v1/chat/completions", headers={
            "Authorization": f"Bearer {self.release.busy_key}", "Content-Type": "application/json"}, data=json.dumps({
                "model": self.release.model, "stream": True, "max_tokens": 200, "messages": [{"role": "user", "content": "Hi"}]}).encode())
        with urllib.request.urlopen(request, timeout=60) as answer:
            text = answer.read().decode()
        assert text.rstrip().endswith("data: [DONE]") and '"error"' not in text, text[-300:]

    def end(self):
        self.stop.set()
        for t in self.threads:
            t.join(90)


def drops_no_request(release, tag, replace):
    """While `replace` puts gateways of another tag in the place of those that are there."""
    secret = release.secret()
    traffic = Traffic(release)
    try:
        until("traffic flows", lambda: len(traffic.done) == 3)
        replace()
        gateways = f"/api/v1/namespaces/{NAMESPACE}/pods?labelSelector=app.kubernetes.io%2Fname%3Dgateway"
        until("the old gateways are gone", lambda: all(
            p["spec"]["containers"][0]["image"].endswith(f":{tag}") for p in release.api.get(gateways)["items"]), 120)
    finally:
        traffic.end()
    assert not traffic.failed, (len(traffic.failed), traffic.failed[:5], traffic.done)
    assert all(release.ready(f"eco-ecolink-{name}") for name in chart.SERVICES)
    assert release.secret() == secret
    assert chat(release, release.model)[0] == 200


def test_an_upgrade_drops_no_request(release):
    drops_no_request(release, TAG, lambda: release.helm_with_values("upgrade", "--set", f"image.tag={TAG}"))


def test_helm_test_passes_after_the_upgrade(release):
    assert "Phase:          Succeeded" in release.helm("test", RELEASE, "--namespace", NAMESPACE)


def test_a_rollback_drops_no_request(release):
    drops_no_request(release, OLD_TAG, lambda: release.helm("rollback", RELEASE, "1", "--namespace", NAMESPACE, "--wait", "--timeout", "10m", timeout=700))


# ---- operations: what docs/operations.md says, word for word ----

needs_kubelet = pytest.mark.skipif(not REAL, reason="kubectl exec and port-forward need a kubelet: ECOLINK_KUBE_REAL=1")


@pytest.fixture(scope="module")
def page(release, tmp_path_factory):
    """page(heading): does what stands there for Helm, in a folder (`page.folder`) that has nothing but the tree's deploy."""
    folder = tmp_path_factory.mktemp("operator")
    os.symlink(os.path.join(layout.TREE, "deploy"), folder / "deploy")
    env = release.helm.env | {"PATH": f"{os.environ['ECOLINK_KUBE_PROGRAMS']}:{os.environ['PATH']}"}

    def follow(heading, way="Helm"):
        return doc_commands.run("operations.md", heading, way, {"k": f"kubectl -n {NAMESPACE}"}, folder, env)
    follow.folder = folder
    return follow


def ledger(release):
    return release.ok("GET", "/billing/transactions")["data"]


@needs_kubelet
def test_metrics_are_read(page):
    assert "\necolink_gateway_" in page("Read the metrics")


@needs_kubelet
def test_rotated_passwords_are_new_and_everything_goes_on(release, page):
    before, entries = release.secret(), ledger(release)
    page("Rotate keys")
    after = release.secret()
    assert {key for key in after if after[key] != before.get(key)} == {"pg_billing_app", "nats_gateway"} and after.keys() == before.keys()
    gateways = f"/api/v1/namespaces/{NAMESPACE}/pods?labelSelector=app.kubernetes.io%2Fname%3Dgateway"
    until("the old gateways are gone", lambda: len(release.api.get(gateways)["items"]) == 2, 120)
    first_answer(release, release.model)
    for _ in range(20):  # each over a connection of its own: both gateways are asked
        assert ledger(release) == entries
    release.ok("POST", "/models", {"name": "made-after-rotation", "source": "container", "category": "chat"})


@needs_kubelet
def test_a_backup_brings_back_what_was_lost_altogether(release, page):
    """Release, secrets and volumes are gone; the tenants' replica ran on all the while, and is taken in again."""
    page("Back up")
    assert sorted(os.listdir(page.folder)) == ["deploy", "ecolink.dump", "secrets.yaml", "values.yaml"]
    assert stat.S_IMODE(os.stat(page.folder / "secrets.yaml").st_mode) == 0o600
    secret, entries = release.secret(), ledger(release)
    release.ok("POST", "/models", {"name": "made-after-backup", "source": "container", "category": "chat"})
    replica = [p["metadata"]["uid"] for p in release.api.get(f"/api/v1/namespaces/{TENANTS}/pods")["items"]]
    release.helm("uninstall", RELEASE, "--namespace", NAMESPACE, "--wait")
    for kind, name in (("secrets", "eco-ecolink-secrets"), ("persistentvolumeclaims", "data-eco-ecolink-postgres-0"), ("persistentvolumeclaims", "data-eco-ecolink-nats-0")):
        release.api.delete(f"/api/v1/namespaces/{NAMESPACE}/{kind}/{name}")
    until("the volumes are gone", lambda: not release.api.get(f"/api/v1/namespaces/{NAMESPACE}/persistentvolumeclaims")["items"], 120)
    page("Restore", "a cluster")
    page("Restore")
    release.forget_address()
    assert release.secret() == secret
    until("the key counts", lambda: release.call("GET", "/v1/models")[0] == 200, 120)
    assert {m["name"] for m in release.ok("GET", "/models")["data"]} == {"hello", "made-after-rotation"}
    first_answer(release, release.model)
    assert [p["metadata"]["uid"] for p in release.api.get(f"/api/v1/namespaces/{TENANTS}/pods")["items"]] == replica
    assert ledger(release) == entries


# ---- uninstall ----


def test_uninstall_leaves_secrets_data_and_tenants_and_nothing_else(release):
    secret = release.secret()
    release.helm("uninstall", RELEASE, "--namespace", NAMESPACE, "--wait")
    left = {kind: sorted(i["metadata"]["name"] for i in release.api.get(f"{group}/namespaces/{NAMESPACE}/{kind}")["items"])
            for group, kind in (("/apis/apps/v1", "deployments"), ("/apis/apps/v1", "statefulsets"), ("/apis/batch/v1", "jobs"), ("/api/v1", "services"),
                                ("/api/v1", "configmaps"), ("/api/v1", "serviceaccounts"), ("/apis/networking.k8s.io/v1", "networkpolicies"),
                                ("/apis/policy/v1", "poddisruptionbudgets"), ("/apis/rbac.authorization.k8s.io/v1", "roles"))}
    assert left == {kind: [] for kind in left} | {"configmaps": ["kube-root-ca.crt"], "serviceaccounts": ["default"]}
    assert not [r for kind in ("clusterroles", "clusterrolebindings") for r in release.api.get(f"/apis/rbac.authorization.k8s.io/v1/{kind}")["items"]
                if r["metadata"]["name"].startswith(f"{NAMESPACE}-{RELEASE}-")]
    assert release.secret() == secret
    assert len(release.api.get(f"/api/v1/namespaces/{NAMESPACE}/persistentvolumeclaims")["items"]) == 2
    assert [d["metadata"]["name"] for d in release.api.get(f"/apis/apps/v1/namespaces/{TENANTS}/deployments")["items"]], "the tenants' replicas run on"
    time.sleep(2)  # absence: nobody takes the replica away afterwards
    assert release.api.get(f"/apis/apps/v1/namespaces/{TENANTS}/deployments")["items"]
