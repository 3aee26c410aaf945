"""The Helm chart for real: installed into the first region, used, upgraded under traffic, its rights tried out, given the second cluster
as one more region, uninstalled.

Pods are processes (podrunner); with ECOLINK_KUBE_REAL=1 containers of a real node, from the images of a Docker engine. Services are the
real kube-proxy's. One test after the other, on one release.
"""
import base64
import contextlib
import functools
import json
import os
import shutil
import stat
import time
import urllib.error
import urllib.request

import doc_commands
import pytest
import yaml
from kubetest import api, chart, layout, metrics, plane, realnode, registry, services
from kubetest.objects import until
from kubetest.traffic import Traffic, chat, first_answer

NAMESPACE, TENANTS, RELEASE = "ecolink", "eco-tenants", "eco"
VALUES = [os.path.join(layout.HERE, "helm", name) for name in ("values/install.yaml", "real.yaml")]
REAL = os.environ.get("ECOLINK_KUBE_REAL") == "1"
DEPLOYMENTS = f"/apis/apps/v1/namespaces/{NAMESPACE}/deployments"
TAG = "next"  # another name for the same programs
with open(os.path.join(chart.CHART, "Chart.yaml"), encoding="utf-8") as _chart:
    OLD_TAG = yaml.safe_load(_chart)["appVersion"]


needs_kubelet = pytest.mark.skipif(not REAL, reason="kubectl exec, port-forward and network policies need a kubelet: ECOLINK_KUBE_REAL=1")


class Release:
    """The release and who talks to it."""

    def __init__(self, region, programs):
        self.region, self.helm = region, chart.Helm(region, programs)
        self.api = plane.Plane(region, programs).admin()
        self.account_key = self.model = None  # an owner's key that may call as often as it likes, what it calls

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
        with node.enforcing_policies():  # whatever follows is done under the chart's own
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
        remove_namespaces(it.api)
        for process in running:
            process.stop()


def remove_namespaces(cluster):
    """The installation's and its tenants', with all that is in them."""
    for name in (NAMESPACE, TENANTS):
        with contextlib.suppress(api.Error):
            cluster.delete(f"/api/v1/namespaces/{name}")
    until("both namespaces are gone", lambda: not {NAMESPACE, TENANTS} & {n["metadata"]["name"] for n in cluster.get("/api/v1/namespaces")["items"]}, 300)


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
    release.account_key = release.ok("POST", "/api-keys", {"name": "busy", "role": "owner", "rate_limit_per_minute": 1000000})["key"]
    until("the other key is known", lambda: release.call("GET", "/v1/models")[0] == 200)
    model = release.ok("POST", "/models", {"name": "hello", "source": "container", "category": "chat"})
    until("the region counts its GPUs", lambda: any(r["status"] == "ok" or r.get("gpus") for r in release.ok("GET", "/regions")["data"]))
    instance = launch(release, model, allow_single_region=True)
    until("it runs", lambda: release.ok("GET", f"/inference-instances/{instance['id']}")["status"] == "running", 90)
    answer = first_answer(release, instance["model"])
    assert answer["choices"][0]["message"]["content"].startswith("This is the simulator")
    release.model = instance["model"]
    pods = release.api.get(f"/api/v1/namespaces/{TENANTS}/pods")["items"]
    assert [p["spec"]["serviceAccountName"] for p in pods] == ["ecolink-replica"]


def launch(release, model, **more):
    """As soon as there is room: a region that was just configured counts its GPUs first."""
    body = {"model_id": model["id"], "engine": "simulator", "gpu_type": "l40s", **more}
    return until("there is room", lambda: (answer := release.call("POST", "/inference-instances", body))[0] == 201 and answer[1])


def test_replicas_behind_services_are_called_by_name(release):
    """Endpoint mode `service`, with the cluster's DNS: scheduler and health ask at the name before the replica counts as Ready, the gateway calls it."""
    key = release.operator_key()
    with open(VALUES[REAL], encoding="utf-8") as f:
        here = yaml.safe_load(f)["regions"][0]
    as_it_was = {name: here[name] for name in ("driver", "gpus", "kubernetes")}
    release.ok("PUT", "/admin/regions/here", as_it_was | {"kubernetes": here["kubernetes"] | {"endpoint_mode": "service"}}, key=key)
    services_of = lambda: release.api.get(f"/api/v1/namespaces/{TENANTS}/services")["items"]
    until("the replica that runs has got one", services_of)
    model = release.ok("POST", "/models", {"name": "named", "source": "container", "category": "chat"})
    instance = launch(release, model, allow_single_region=True)
    until("it runs", lambda: release.ok("GET", f"/inference-instances/{instance['id']}")["status"] == "running", 90)
    for served in (release.model, instance["model"]):
        first_answer(release, served)
    assert len(services_of()) == 2 and all(s["spec"]["clusterIP"] != "None" for s in services_of())
    release.ok("POST", f"/inference-instances/{instance['id']}/stop")
    release.ok("PUT", "/admin/regions/here", as_it_was, key=key)
    until("what it had is gone", lambda: [len(release.api.get(f"{group}/namespaces/{TENANTS}/{kind}")["items"]) for group, kind in (
        ("/api/v1", "pods"), ("/apis/apps/v1", "deployments"), ("/api/v1", "services"))] == [1, 1, 0])
    until("nothing uses its model", lambda: release.call("DELETE", f"/models/{model['id']}")[0] < 300)
    first_answer(release, release.model)


# ---- rights ----


def scheduler_client(release):
    answer = release.api.post(f"/api/v1/namespaces/{NAMESPACE}/serviceaccounts/eco-ecolink-scheduler/token",
                              {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {"expirationSeconds": 600}})
    return api.Client.from_token(release.region.server, release.region.path("pki", "ca.crt"), answer["status"]["token"])


def may(cluster, account, verb, resource, namespace="", group="", subresource=""):
    """That API server's own word: what `kubectl auth can-i --as` asks."""
    attributes = {"verb": verb, "resource": resource, "namespace": namespace, "group": group, "subresource": subresource}
    review = {"apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview",
              "spec": {"user": f"system:serviceaccount:{NAMESPACE}:eco-ecolink-{account}", "resourceAttributes": attributes}}
    return cluster.post("/apis/authorization.k8s.io/v1/subjectaccessreviews", review)["status"].get("allowed", False)


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


def scheduler_may_what_the_list_says_and_nothing_else(cluster, namespace):
    for group, resource, sub in RESOURCES:
        allowed = ALLOWED.get((namespace, resource, sub), set()) | (ALLOWED[("", "pods", "")] if (resource, sub) == ("pods", "") else set()) \
            | (ALLOWED[("", "nodes", "")] if (resource, sub) == ("nodes", "") else set())
        got = {verb for verb in VERBS if may(cluster, "scheduler", verb, resource, namespace, group, sub)}
        assert got == allowed, (namespace, group, resource, sub)


each_namespace = pytest.mark.parametrize("namespace", [TENANTS, NAMESPACE, "kube-system", ""], ids=["tenants", "own", "kube-system", "cluster"])


@each_namespace
def test_the_scheduler_may_what_the_list_says_and_nothing_else(release, namespace):
    scheduler_may_what_the_list_says_and_nothing_else(release.api, namespace)


@pytest.mark.parametrize("account", ["registry", "billing", "health", "gateway", "nats", "postgres"])
def test_the_others_may_nothing(release, account):
    assert not [(r, v) for group, r, sub in RESOURCES for v in VERBS for n in (TENANTS, NAMESPACE, "") if may(release.api, account, v, r, n, group, sub)]


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


# ---- network policies ----


@pytest.fixture
def stranger(release):
    """A pod of somebody else in this cluster."""
    pods = "/api/v1/namespaces/default/pods"
    release.api.post(pods, {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "stranger"}, "spec": {
        "nodeSelector": {"nvidia.com/gpu.product": realnode.GPU}, "tolerations": [{"operator": "Exists"}], "terminationGracePeriodSeconds": 0,
        "containers": [{"name": "a", "image": "ecolink/simulator"}]}})
    yield until("the stranger runs", lambda: realnode.main_pid(release.api.get(f"{pods}/stranger")))
    release.api.delete(f"{pods}/stranger")


@needs_kubelet
def test_each_part_reaches_what_it_needs_and_nothing_else(release, stranger):
    def pod(name):
        found = release.api.get(f"/api/v1/namespaces/{NAMESPACE}/pods?labelSelector=app.kubernetes.io%2Fname%3D{name}")["items"]
        return next(p for p in found if not p["metadata"].get("deletionTimestamp"))
    replica, = release.api.get(f"/api/v1/namespaces/{TENANTS}/pods")["items"]
    parts = {name: pod(name) for name in (*chart.SERVICES, "nats", "postgres")}
    callers = {name: realnode.main_pid(parts[name], f"ecolink-{name}") for name in chart.SERVICES} | {
        "replica": realnode.main_pid(replica), "stranger": stranger}
    assert all(callers.values()), callers
    doors = {(name, port): (parts[name]["status"]["podIP"], port) for name, port in (
        ("gateway", 8080), ("nats", 4222), ("postgres", 5432), *((name, 9090) for name in chart.SERVICES))}
    doors |= {("replica", 8000): (replica["status"]["podIP"], 8000), ("API server", 6443): (release.region.host, 6443)}
    everybody = {("gateway", 8080)}
    state, world = {("nats", 4222), ("postgres", 5432)}, everybody | {("replica", 8000), ("API server", 6443)}
    wanted = {"registry": state, "billing": state, "health": state | world, "scheduler": state | world,
              "gateway": world | {("nats", 4222)}, "replica": set(), "stranger": everybody | {("API server", 6443)}}
    for caller, pid in callers.items():
        needed = {door for door in wanted[caller] if door[0] != caller}
        # a pod's policies come a moment after it: gateways were just replaced
        until(f"{caller} reaches what it needs and nothing else", lambda: needed == {
            door for door, (host, port) in doors.items() if door[0] != caller and realnode.reaches(pid, host, port)})  # pylint: disable=cell-var-from-loop


# ---- upgrade ----


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


# ---- autoscaling ----


@needs_kubelet
def test_gateways_become_more_under_load_and_drop_no_request(release):
    """The real HorizontalPodAutoscaler, fed by metrics-server; switched on while calls come in."""
    before = release.helm("history", RELEASE, "--namespace", NAMESPACE, "-o", "json")
    gateways = lambda: release.api.get(f"{DEPLOYMENTS}/eco-ecolink-gateway")
    with metrics.served(release.region, os.environ["ECOLINK_KUBE_PROGRAMS"]):
        traffic = Traffic(release)
        try:
            # little is much: what a few threads here can send must count
            release.helm_with_values("upgrade", "--set", "gateway.autoscaling.enabled=true,gateway.autoscaling.maxReplicas=3",
                                     "--set", "gateway.autoscaling.targetCPUUtilization=20,gateway.resources.requests.cpu=10m")
            until("a third one is Ready", lambda: gateways()["status"].get("readyReplicas") == 3, 300)
        finally:
            traffic.end()
        assert not traffic.failed, (len(traffic.failed), traffic.failed[:5], traffic.done)
    release.helm("rollback", RELEASE, str(json.loads(before)[-1]["revision"]), "--namespace", NAMESPACE, "--wait", "--timeout", "10m", timeout=700)
    assert gateways()["spec"]["replicas"] == 2
    first_answer(release, release.model)


# ---- operations: what docs/operations.md says, word for word ----

@pytest.fixture(scope="module")
def page(release, tmp_path_factory):
    """page(heading): does what stands there for Helm, in a folder (`page.folder`) that has nothing but the tree's deploy."""
    folder = tmp_path_factory.mktemp("operator")
    os.symlink(os.path.join(layout.TREE, "deploy"), folder / "deploy")
    env = release.helm.env | {"PATH": f"{os.environ['ECOLINK_KUBE_PROGRAMS']}:{layout.build_dir()}/bin:{os.environ['PATH']}"}

    def follow(heading, way="Helm", **more):
        return doc_commands.run("operations.md", heading, way, {"k": f"kubectl -n {NAMESPACE}"}, folder, env | more)
    follow.folder = folder
    return follow


def ledger(release):
    return release.ok("GET", "/billing/transactions")["data"]


@pytest.fixture(scope="module")
def eu_west(page):
    """The second cluster, as its administrator, whose kubeconfig lies where the page wants it."""
    region = layout.REGIONS[1]
    shutil.copy(region.admin_kubeconfig, page.folder / "eu-west-admin.yaml")
    there = plane.Plane(region, os.environ["ECOLINK_KUBE_PROGRAMS"]).admin()
    try:
        yield there
    finally:
        remove_namespaces(there)
        for kind in ("clusterrolebindings", "clusterroles"):
            with contextlib.suppress(api.Error):
                there.delete(f"/apis/rbac.authorization.k8s.io/v1/{kind}/{NAMESPACE}-{RELEASE}-ecolink-capacity")


def tenants_pods(cluster):
    """Their uids by name: those that stay."""
    return {p["metadata"]["name"]: p["metadata"]["uid"] for p in cluster.get(f"/api/v1/namespaces/{TENANTS}/pods")["items"]
            if not p["metadata"].get("deletionTimestamp")}


def available(release, name):
    """The region as users see it, once it can take an instance."""
    return until(f"{name} is available and has GPUs", lambda: next(
        (r for r in release.ok("GET", "/regions")["data"] if r["name"] == name and r["status"] == "available" and r["gpus"][0]["free"]), None))


def client_of_kubeconfig(region, path):
    with open(path, encoding="utf-8") as f:
        return api.Client.from_token(region.server, region.path("pki", "ca.crt"), yaml.safe_load(f)["users"][0]["user"]["token"])


def test_another_cluster_becomes_a_region(release, page, eu_west):
    configuration = json.loads(doc_commands.block("operations.md", "Add a region", "json")) | {"namespace": TENANTS}
    (page.folder / "eu-west.json").write_text(json.dumps(configuration))
    page("Add a region", ECOLINK_URL=f"http://{release.gateway}", ECOLINK_API_KEY=release.operator_key())
    assert stat.S_IMODE(os.stat(page.folder / "eu-west.yaml").st_mode) == 0o600
    region = available(release, "eu-west")
    nodes = eu_west.get("/api/v1/nodes?labelSelector=nvidia.com/gpu.product%3DNVIDIA-L40S")["items"]
    assert [(g["gpu_type"], g["free"]) for g in region["gpus"]] == [("l40s", sum(int(n["status"]["allocatable"]["nvidia.com/gpu"]) for n in nodes))]


@each_namespace
def test_there_too_the_scheduler_may_what_the_list_says_and_nothing_else(eu_west, namespace):
    scheduler_may_what_the_list_says_and_nothing_else(eu_west, namespace)


def test_the_token_in_another_cluster_is_replaced(release, page, eu_west):  # pylint: disable=unused-argument
    nodes, region, path = "/api/v1/nodes", layout.REGIONS[1], page.folder / "eu-west.yaml"
    old = client_of_kubeconfig(region, path)
    assert old.get(nodes)["items"]
    page("Rotate keys", "the token in another cluster")
    assert client_of_kubeconfig(region, path).get(nodes)["items"]
    assert until("the old one is refused", lambda: refused(old, nodes)).code == 401
    assert available(release, "eu-west")


def refused(client, path):
    """What the API server answers instead."""
    try:
        client.get(path)
    except api.Error as e:
        return e
    return None


def test_a_launch_runs_in_both_clusters_and_answers_while_either_has_lost_its_pod(release, eu_west):
    model = release.ok("POST", "/models", {"name": "in-both", "source": "container", "category": "chat"})
    before = tenants_pods(release.api).keys()
    instance = launch(release, model)
    read = lambda: release.ok("GET", f"/inference-instances/{instance['id']}")
    until("both replicas are Ready", lambda: read()["ready_replicas"] == 2, 90)
    assert sorted(r["region"] for r in read()["replicas"]) == ["eu-west", "here"]
    first_answer(release, instance["model"])
    for cluster, old in ((release.api, before), (eu_west, set())):
        pod, = tenants_pods(cluster).keys() - old
        cluster.delete(f"/api/v1/namespaces/{TENANTS}/pods/{pod}")
        for _ in range(20):
            assert chat(release, instance["model"])[0] == 200
        until("another pod is in its place", lambda: len(tenants_pods(cluster).keys() - old - {pod}) == 1)  # pylint: disable=cell-var-from-loop
        until("both are Ready again", lambda: read()["ready_replicas"] == 2, 90)


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
def test_a_backup_brings_back_what_was_lost_altogether(release, page, eu_west):
    """Release, secrets and volumes are gone; the tenants' replicas in both clusters ran on all the while, and are taken in again."""
    here = set(os.listdir(page.folder))
    page("Back up")
    assert set(os.listdir(page.folder)) - here == {"ecolink.dump", "secrets.yaml", "values.yaml"}
    assert stat.S_IMODE(os.stat(page.folder / "secrets.yaml").st_mode) == 0o600
    secret, entries = release.secret(), ledger(release)
    release.ok("POST", "/models", {"name": "made-after-backup", "source": "container", "category": "chat"})
    replicas = [tenants_pods(cluster) for cluster in (release.api, eu_west)]
    assert [len(pods) for pods in replicas] == [2, 1]
    release.helm("uninstall", RELEASE, "--namespace", NAMESPACE, "--wait")
    for kind, name in (("secrets", "eco-ecolink-secrets"), ("secrets", "clusters"), ("persistentvolumeclaims", "data-eco-ecolink-postgres-0"), ("persistentvolumeclaims", "data-eco-ecolink-nats-0")):
        release.api.delete(f"/api/v1/namespaces/{NAMESPACE}/{kind}/{name}")
    until("the volumes are gone", lambda: not release.api.get(f"/api/v1/namespaces/{NAMESPACE}/persistentvolumeclaims")["items"], 120)
    page("Restore", "a cluster")
    page("Restore")
    release.forget_address()
    assert release.secret() == secret
    until("the key counts", lambda: release.call("GET", "/v1/models")[0] == 200, 120)
    assert {m["name"] for m in release.ok("GET", "/models")["data"]} == {"hello", "in-both", "made-after-rotation"}
    until("all run as before", lambda: [i["ready_replicas"] for i in release.ok("GET", "/inference-instances")["data"] if i["status"] == "running"] == [2, 1], 90)
    first_answer(release, release.model)
    assert [tenants_pods(cluster) for cluster in (release.api, eu_west)] == replicas
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
