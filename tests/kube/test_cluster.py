"""The test cluster keeps what it promises: real API servers with rights on, pods that are Ready only when their engine says so."""
import contextlib
import json
import os
import signal
import threading

import pytest
from kubetest import api, layout
from kubetest.objects import SECURE, http_get, http_post, until

TENANTS = f"/api/v1/namespaces/{layout.TENANT_NAMESPACE}"


def token_client(region, namespace, account):
    """A client with a fresh token of a service account."""
    answer = region.admin().post(f"/api/v1/namespaces/{namespace}/serviceaccounts/{account}/token",
                                 {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {"expirationSeconds": 3600}})
    return api.Client.from_token(region.region.server, region.region.path("pki", "ca.crt"), answer["status"]["token"])


def refused(call, *words):
    with pytest.raises(api.Error) as e:
        call(*words)
    return e.value


# ---- control planes ----


def test_api_server_is_of_the_version_that_was_built(region):
    assert region.admin().get("/version")["gitVersion"] == os.path.basename(os.environ["ECOLINK_KUBE_PROGRAMS"])


def test_regions_share_nothing(region):
    names = {node["metadata"]["name"] for node in region.admin().get("/api/v1/nodes")["items"]}
    assert names and all(name.startswith(region.region.name) for name in names)
    others = [r for r in layout.REGIONS if r.name != region.region.name]
    for other in others:
        with pytest.raises(OSError):  # another CA: its certificate is not believed
            api.Client.from_certificate(other.server, region.region.path("pki", "ca.crt"), region.region.path("pki", "admin.crt"),
                                        region.region.path("pki", "admin.key")).get("/version")


def test_service_account_without_rights_is_refused(region):
    nobody = token_client(region, "default", "default")
    error = refused(nobody.get, f"{TENANTS}/secrets")
    assert (error.code, error.reason) == (403, "Forbidden")


def test_caller_without_token_or_with_a_wrong_one_is_refused(region):
    ca = region.region.path("pki", "ca.crt")
    assert refused(api.Client.from_token(region.region.server, ca, None).get, "/api/v1/nodes").code == 403
    assert refused(api.Client.from_token(region.region.server, ca, "eyJhbGciOiJub25lIn0.e30.").get, "/api/v1/nodes").code == 401


def test_scheduler_acts_in_the_tenant_namespace_alone(region):
    with open(region.region.path("serviceaccount", "token"), encoding="ascii") as f:
        scheduler = api.Client.from_token(region.region.server, region.region.path("serviceaccount", "ca.crt"), f.read())
    assert scheduler.get(f"{TENANTS}/pods")["kind"] == "PodList"
    assert scheduler.get("/api/v1/nodes")["items"]
    for path in ("/api/v1/namespaces/kube-system/secrets", "/api/v1/secrets", f"{TENANTS}/serviceaccounts", "/api/v1/persistentvolumes"):
        assert refused(scheduler.get, path).code == 403, path
    assert refused(scheduler.post, f"{TENANTS}/serviceaccounts/ecolink-replica/token",
                   {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {}}).code == 403


def test_pod_security_refuses_what_is_not_restricted(region):
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "privileged", "namespace": layout.TENANT_NAMESPACE},
           "spec": {"containers": [{"name": "c", "image": "x", "securityContext": {"privileged": True}}]}}
    error = refused(region.admin().apply, pod)
    assert error.code == 403 and "PodSecurity" in error.message


def test_nodes_have_gpus_types_taints_and_addresses(region):
    gpu = [node for node in region.admin().get("/api/v1/nodes?labelSelector=nvidia.com%2Fgpu.product")["items"]]
    assert {node["metadata"]["labels"]["nvidia.com/gpu.product"] for node in gpu} == {"NVIDIA-L40S", "NVIDIA-H100"}
    for node in gpu:
        assert int(node["status"]["allocatable"]["nvidia.com/gpu"]) > 0
        assert any(taint["key"] == "nvidia.com/gpu" for taint in node["spec"]["taints"])
        assert node["spec"]["podCIDR"].startswith(region.region.pod_cidr.removesuffix("0.0/16"))


# ---- pods ----


def test_deployment_becomes_ready_and_its_address_answers(tenants):
    name = tenants.deployment("answers")
    pod = tenants.wait_ready(name)
    address = pod["status"]["podIP"]
    assert http_get(address, 8000, "/health")[0] == 200
    assert name in http_get(address, 8000, "/v1/models")[1]
    assert pod["status"]["phase"] == "Running" and pod["status"]["containerStatuses"][0]["restartCount"] == 0


def test_stand_in_serves_the_name_that_another_engine_was_told(tenants):
    name = tenants.deployment("as-vllm", image="vllm/vllm-openai:latest", args=["--port", "8000", "--served-model-name", "my-llama"])
    assert "my-llama" in http_get(tenants.wait_ready(name)["status"]["podIP"], 8000, "/v1/models")[1]


def test_pod_is_not_ready_before_its_engine_is(tenants):
    name = tenants.deployment("slow", args=["--host", "0.0.0.0", "--port", "8000", "--start-delay-ms", "600000"])
    until("it runs", lambda: tenants.status(name).get("state", {}).get("running"))
    pod = tenants.pod(name)
    assert http_get(pod["status"]["podIP"], 8000, "/health") is None or http_get(pod["status"]["podIP"], 8000, "/health")[0] == 503
    assert not tenants.ready(name) and tenants.status(name)["started"] is False


def test_readiness_follows_the_health_path_both_ways(tenants):
    name = tenants.deployment("moody")
    address = tenants.wait_ready(name)["status"]["podIP"]
    http_post(address, 8000, "/_simulator/set", json.dumps({"unhealthy": True}))
    until("it is not Ready", lambda: not tenants.ready(name))
    http_post(address, 8000, "/_simulator/set", json.dumps({"unhealthy": False}))
    assert tenants.wait_ready(name)["status"]["podIP"] == address
    assert tenants.status(name)["restartCount"] == 0


def test_crash_is_seen_counted_and_the_container_runs_again(tenants):
    name = tenants.deployment("crashes", args=["--host", "0.0.0.0", "--port", "8000", "--crash-after-ms", "1500", "--exit-code", "7"])
    status = until("two restarts", lambda: tenants.status(name).get("restartCount", 0) >= 2 and tenants.status(name))
    assert status["lastState"]["terminated"]["exitCode"] == 7
    until("it backs off", lambda: tenants.status(name).get("state", {}).get("waiting", {}).get("reason") == "CrashLoopBackOff")


def test_out_of_memory_is_told(tenants):
    name = tenants.deployment("greedy", image="ecolink/out-of-memory")
    last = until("it was ended", lambda: tenants.status(name).get("lastState", {}).get("terminated"))
    assert (last["reason"], last["exitCode"]) == ("OOMKilled", 137)


def test_missing_image_is_told(tenants):
    name = tenants.deployment("no-image", image="ecolink/missing:1")
    waiting = until("it backs off", lambda: (w := tenants.status(name).get("state", {}).get("waiting", {})).get("reason") == "ImagePullBackOff" and w)
    assert "not found" in waiting["message"]
    assert tenants.pod(name)["status"]["phase"] == "Pending"


def test_more_gpus_than_a_node_has_stay_unscheduled(tenants):
    name = tenants.deployment("huge", gpus=1000)
    condition = until("the scheduler says no", lambda: next((c for c in (tenants.pod(name) or {}).get("status", {}).get("conditions", [])
                                                           if c["type"] == "PodScheduled" and c["status"] == "False"), None))
    assert condition["reason"] == "Unschedulable" and "nvidia.com/gpu" in condition["message"]


def test_deletion_ends_the_process_and_frees_the_address(tenants):
    name = tenants.deployment("goes")
    address = tenants.wait_ready(name)["status"]["podIP"]
    tenants.delete(name)
    until("the pod is gone", lambda: not tenants.pods(name))
    assert http_get(address, 8000, "/health") is None


def test_process_that_ignores_the_end_is_killed_after_its_grace(tenants):
    name = tenants.deployment("stubborn", args=["--host", "0.0.0.0", "--port", "8000", "--ignore-term"], grace_s=2)
    address = tenants.wait_ready(name)["status"]["podIP"]
    tenants.delete(name)
    until("the pod is gone", lambda: not tenants.pods(name), 20)
    assert http_get(address, 8000, "/health") is None


def test_deleted_pod_is_replaced_under_another_name_and_address(tenants):
    name = tenants.deployment("replaced")
    before = tenants.wait_ready(name)
    tenants.api.delete(f"{TENANTS}/pods/{before['metadata']['name']}")
    after = until("another is Ready", lambda: (p := tenants.ready(name)) and p["metadata"]["uid"] != before["metadata"]["uid"] and p)
    assert after["status"]["podIP"] != before["status"]["podIP"]


# ---- logs, watch, events ----


def test_logs_are_read_through_the_api(tenants):
    name = tenants.deployment("talks", args=["--host", "0.0.0.0", "--port", "8000", "--log-lines", "20"])
    pod = tenants.wait_ready(name)
    whole = until("all lines", lambda: (text := tenants.log(pod)).count("\n") >= 20 and text).splitlines()
    assert tenants.log(pod, "?tailLines=3").splitlines() == tenants.log(pod).splitlines()[-3:]
    assert tenants.log(pod, "?tailLines=1&timestamps=true").startswith("20")
    assert len(whole) >= 20


def test_logs_are_followed_while_they_grow(tenants):
    name = tenants.deployment("chats", args=["--host", "0.0.0.0", "--port", "8000", "--log-ms", "100"])
    pod = tenants.wait_ready(name)
    response, connection = tenants.api.open("GET", f"{TENANTS}/pods/{pod['metadata']['name']}/log?follow=true&tailLines=0")
    with contextlib.closing(connection):
        assert all(response.readline() for _ in range(3))


def test_logs_of_the_run_before_are_kept(tenants):
    name = tenants.deployment("fell", args=["--host", "0.0.0.0", "--port", "8000", "--crash-after-ms", "1000", "--log-lines", "2"])
    until("a restart", lambda: tenants.status(name).get("restartCount", 0) >= 1 and tenants.status(name).get("state", {}).get("running"))
    assert tenants.log(tenants.pod(name), "?previous=true")


def test_watch_shows_a_pod_from_its_creation_to_its_end(tenants):
    start = tenants.api.get(f"{TENANTS}/pods")["metadata"]["resourceVersion"]
    seen, done = [], threading.Event()

    def follow():
        for kind, item in tenants.api.watch(f"{TENANTS}/pods?labelSelector=app%3Dwatched&resourceVersion={start}&allowWatchBookmarks=true"):
            seen.append((kind, any(c["type"] == "Ready" and c["status"] == "True" for c in item.get("status", {}).get("conditions", []))))
            if kind == "DELETED":
                done.set()
                return

    threading.Thread(target=follow, daemon=True).start()
    name = tenants.deployment("watched")
    tenants.wait_ready(name)
    tenants.delete(name)
    assert done.wait(30)
    assert seen[0][0] == "ADDED" and ("MODIFIED", True) in seen and seen[-1][0] == "DELETED"


def test_events_tell_of_the_pull(tenants):
    name = tenants.deployment("eventful")
    uid = tenants.wait_ready(name)["metadata"]["uid"]
    wanted = {"Scheduled", "Pulling", "Pulled", "Created", "Started"}
    until("all events", lambda: wanted <= {e["reason"] for e in tenants.api.get(f"{TENANTS}/events?fieldSelector=involvedObject.uid%3D{uid}")["items"]})


# ---- volumes, secrets ----


def shell(tenants, name, script, words=(), **more):
    """A pod that runs a script; `words` are its $0, $1 and so on (a mounted path must be a word of its own)."""
    return tenants.deployment(name, image="ecolink/shell", command=["/bin/sh"], args=["-c", script, *words], probes=False, **more)


@pytest.mark.parametrize("storage_class", ["shared", "node-local"])
def test_claim_keeps_files_from_one_pod_to_the_next(tenants, storage_class):
    claim = tenants.claim(f"weights-{storage_class}", storage_class)
    uses = {"volumes": [{"name": "w", "persistentVolumeClaim": {"claimName": claim}}], "mounts": [{"name": "w", "mountPath": "/weights"}]}
    name = shell(tenants, "writer", "echo kept >$0/file; sleep 600", ["/weights"], **uses)
    tenants.wait_ready(name)
    tenants.delete(name)
    until("the pod is gone", lambda: not tenants.pods(name))
    name = shell(tenants, "reader", "cat $0; sleep 600", ["/weights/file"], **uses)
    pod = tenants.wait_ready(name)
    until("the file is read", lambda: tenants.log(pod) == "kept\n")


def test_secret_reaches_the_environment_and_a_missing_one_is_told(tenants):
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "hidden", "namespace": layout.TENANT_NAMESPACE}, "stringData": {"word": "open sesame"}}
    env = [{"name": "WORD", "valueFrom": {"secretKeyRef": {"name": "hidden", "key": "word"}}}]
    name = shell(tenants, "knows", 'echo "$WORD"; sleep 600', env=env)
    until("the lack is told", lambda: tenants.status(name).get("state", {}).get("waiting", {}).get("reason") == "CreateContainerConfigError")
    tenants.api.apply(secret)
    pod = tenants.wait_ready(name)
    until("it is read", lambda: tenants.log(pod) == "open sesame\n")
    tenants.api.delete(f"{TENANTS}/secrets/hidden")


# ---- trouble ----


def test_pod_of_a_dead_node_is_replaced_on_another(tenants):
    name = tenants.deployment("moves")
    before = tenants.wait_ready(name)
    down = tenants.plane.region.path("pods", f"{before['spec']['nodeName']}.down")
    with open(down, "w", encoding="ascii"):
        pass
    try:
        until("its engine is gone", lambda: http_get(before["status"]["podIP"], 8000, "/health") is None)
        after = until("another is Ready", lambda: (p := tenants.ready(name)) and p["spec"]["nodeName"] != before["spec"]["nodeName"] and p)
        assert http_get(after["status"]["podIP"], 8000, "/health")[0] == 200
    finally:
        os.unlink(down)
    until("the node is back", lambda: any(c["type"] == "Ready" and c["status"] == "True" for c in tenants.api.get(
        f"/api/v1/nodes/{before['spec']['nodeName']}")["status"]["conditions"]))


def test_pods_answer_while_their_api_server_is_down(tenants):
    name = tenants.deployment("lonely")
    address = tenants.wait_ready(name)["status"]["podIP"]
    tenants.plane.stop("apiserver")
    try:
        assert http_get(address, 8000, "/health")[0] == 200
        with pytest.raises(OSError):
            tenants.api.get("/readyz", raw=True)
    finally:
        tenants.plane.start("apiserver")
    tenants.plane.wait_ready()
    assert until("it is there", lambda: tenants.ready(name))["status"]["podIP"] == address
    assert tenants.status(name)["restartCount"] == 0


def test_api_server_that_hangs_answers_again_when_it_goes_on(tenants):
    process = tenants.plane.process("apiserver")
    process.send(signal.SIGSTOP)
    try:
        with pytest.raises(OSError):
            tenants.api.open("GET", "/readyz", timeout=1)
    finally:
        process.send(signal.SIGCONT)
    tenants.plane.wait_ready()


def test_restricted_pod_of_ours_is_accepted_and_unrestricted_variants_are_not(tenants):
    for change in ({"runAsNonRoot": False}, {"allowPrivilegeEscalation": True}, {"capabilities": {"drop": []}}):
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "variant", "namespace": layout.TENANT_NAMESPACE},
               "spec": {"containers": [{"name": "c", "image": "x", "securityContext": {**SECURE, **change}}]}}
        assert refused(tenants.api.apply, pod).code == 403, change
