"""The scheduler drives real containers: two clusters, in each a real kubelet with containerd and runc beside the simulated nodes, and
images pulled from a registry. What podrunner only makes believe is seen here from the kernel's side: confinement, mounts, probes, ends.
No GPU is behind the GPUs, and the engine is the simulator.
"""
import glob
import http.client
import json
import os
import signal
import subprocess
import sys
import threading

import pytest
from driver_world import KubeWorld
from ecotest import pb
from ecotest.postgres import Postgres
from ecotest.stack import Stack
from hub import COMMIT, Hub
from kubetest import layout, plane, realnode, registry, services
from kubetest.objects import http_get, until
from kubetest.realnode import main_pid, reaches

S = pb.scheduler
RUNNING = S.INSTANCE_STATUS_RUNNING
CONTENT = {"config.json": b"{}", "model.safetensors": bytes(range(256)) * 16384}  # 4 MiB
# Stands for an engine that wants weights: none without them, as vLLM would; then it is the simulator, told by its environment.
WEIGHED_C = """#include <glob.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
int main(void) {
  char at[4096];
  glob_t found;
  snprintf(at, sizeof(at), "%s/models--org--name/snapshots/*/model.safetensors", getenv("HUGGINGFACE_HUB_CACHE"));
  if (glob(at, 0, NULL, &found) != 0 || access(found.gl_pathv[0], R_OK) != 0) {
    fprintf(stderr, "no weights at %s\\n", at);
    return 3;
  }
  setenv("SIMULATOR_API_KEY", getenv("VLLM_API_KEY"), 1);
  execl("/usr/bin/ecolink-simulator", "ecolink-simulator", (char *)0);
  return 4;
}
"""


def root_of(folder, *programs):
    """As deploy/images/Dockerfile makes a program's image."""
    subprocess.run([os.path.join(layout.TREE, "deploy", "images", "rootfs"), folder,
                    *(os.path.join(layout.build_dir(), "bin", p) for p in programs)], check=True)
    return folder


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    made, base = registry.Registry(), tmp_path_factory.mktemp("images")
    realnode.add_pause(made)
    made.add("ecolink/simulator:latest", root_of(str(base / "simulator"), "ecolink-simulator"), Entrypoint=["/usr/bin/ecolink-simulator"], User="65532")
    made.add("ecolink/weights:test", root_of(str(base / "weights"), "ecolink-weights"), Entrypoint=["/usr/bin/ecolink-weights"], User="65532")
    weighed = root_of(str(base / "weighed"), "ecolink-simulator")
    subprocess.run(["cc", "-static", "-x", "c", "-", "-o", f"{weighed}/usr/bin/weighed"], input=WEIGHED_C, text=True, check=True)
    made.add("vllm/vllm-openai:latest", weighed, Entrypoint=["/usr/bin/weighed"], User="65532")
    for region in layout.REGIONS:
        made.serve(region.host)
    yield made
    made.close()


@pytest.fixture(scope="module")
def nodes(images):  # pylint: disable=unused-argument
    assert not realnode.missing_packages(), f"for real pods install {' '.join(realnode.missing_packages())} (deploy/local/install kube)"
    made = {r.name: realnode.RealNode(r, os.environ["ECOLINK_KUBE_PROGRAMS"]) for r in layout.REGIONS}
    try:
        for node in made.values():
            node.start()
        yield made
    finally:
        for node in reversed(made.values()):
            node.stop()


@pytest.fixture(scope="module")
def hub():
    h = Hub(CONTENT, host=layout.REGIONS[0].host)
    yield h
    h.close()


@pytest.fixture(scope="module")
def world(nodes, hub):  # pylint: disable=unused-argument
    with Postgres() as pg, Stack(pg) as stack:
        w = KubeWorld(stack, gpu_values={"l40s": realnode.GPU}, weights_image="ecolink/weights:test", hub_url=hub.url)
        w.start()
        until("the GPUs of both real nodes are seen", lambda: stack.sql("SELECT min(total) FROM scheduler.gpu_rooms")[0][0] == realnode.GPUS)
        yield w
        w.close()


@pytest.fixture(autouse=True)
def no_instance_outlives_its_test(world):
    yield
    for i in world.live():
        world.gone(i)


# ---- containers, seen from outside of them ----


def status_of(pid):
    with open(f"/proc/{pid}/status", encoding="ascii", errors="replace") as f:
        return dict(line.rstrip("\n").split(":", 1) for line in f)


def mounts_of(pid):
    """Mount point -> (type, options)."""
    with open(f"/proc/{pid}/mounts", encoding="ascii", errors="replace") as f:
        return {words[1]: (words[2], words[3].split(",")) for words in map(str.split, f)}


def pod_in(world, region):
    found = [p for p in world.objects("pods", region) if "deletionTimestamp" not in p["metadata"]]
    return found[0] if found else None


def restarts(world, region):
    found = pod_in(world, region)
    return found["status"]["containerStatuses"][0]["restartCount"] if found else 0


def answers(replica):
    return http_get(replica.host, replica.port, "/v1/models", token=replica.token) or (0, "")


class Answer(threading.Thread):
    """A streamed answer, straight from a replica; `text` is what came of it."""

    def __init__(self, replica, tokens, token_ms):
        super().__init__(daemon=True)
        self.replica, self.tokens, self.token_ms, self.text, self.begun = replica, tokens, token_ms, "", threading.Event()
        self.start()
        assert self.begun.wait(20), "the answer has not begun"

    def run(self):
        r = self.replica
        to = http.client.HTTPConnection(r.host, r.port, timeout=60)
        headers = {"Authorization": f"Bearer {r.token}", "Content-Type": "application/json"}
        to.request("POST", "/_simulator/set", json.dumps({"token_ms": self.token_ms}), headers)
        to.getresponse().read()
        to.request("POST", "/v1/chat/completions", json.dumps({"model": "my-llama", "stream": True, "max_tokens": self.tokens,
                                                               "messages": [{"role": "user", "content": "Hi"}]}), headers)
        with to.getresponse() as answer:
            while piece := answer.read1(65536):
                self.text += piece.decode()
                if "content" in self.text:
                    self.begun.set()


# ---- tests ----


def test_replicas_are_confined_containers_and_answer_at_their_pods_addresses(world, nodes):
    i = world.running(secret_env=[pb.common.SealedKeyValue(name="TOKEN", value=world.seal("s3cret-value"))])
    pods = world.objects("pods")
    assert {p["spec"]["nodeName"] for p in pods} == {n.name for n in nodes.values()}
    assert all(p["status"]["containerStatuses"][0]["containerID"].startswith("containerd://") for p in pods)
    route = world.route(i.id)
    assert {r.host for r in route.replicas} == {p["status"]["podIP"] for p in pods}
    for replica in route.replicas:
        status, body = answers(replica)
        assert status == 200 and json.loads(body)["data"][0]["id"] == "my-llama"
        assert http_get(replica.host, replica.port, "/v1/models")[0] == 401
    for pod in pods:
        pid = main_pid(pod)
        seen, mounts = status_of(pid), mounts_of(pid)
        assert all(uid == "1000" for uid in seen["Uid"].split()) and all(gid == "1000" for gid in seen["Gid"].split())
        assert {int(seen[name], 16) for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")} == {0}
        assert (seen["NoNewPrivs"].strip(), seen["Seccomp"].strip()) == ("1", "2")
        assert mounts["/dev/shm"][0] == "tmpfs" and "size=1048576k" in mounts["/dev/shm"][1]
        assert not [where for where in mounts if "secrets" in where], "no token of the cluster's is in reach"
        assert not glob.glob(f"/proc/{pid}/root/var/run/secrets/*")
        with open(f"/proc/{pid}/environ", "rb") as f:
            assert b"TOKEN=s3cret-value" in f.read().split(b"\0")
    world.gone(i.id)
    until("their processes are gone", lambda: not [p for p in pods if main_pid(p)])


def test_killed_engine_is_started_again_and_the_pause_is_not_charged(world):
    i = world.running()
    before = {r.region: r.run_id for r in world.route(i.id).replicas}
    other = next(r for r in world.route(i.id).replicas if r.region == "kube-b")
    os.kill(main_pid(pod_in(world, "kube-a")), signal.SIGKILL)
    until("the kubelet has started it again", lambda: restarts(world, "kube-a") == 1)
    until("its new run is in the route", lambda: {r.region for r in world.route(i.id).replicas if r.run_id != before[r.region]} == {"kube-a"})
    world.until(i.id, RUNNING, ready=2)
    assert answers(other)[0] == 200 and restarts(world, "kube-b") == 0
    world.gone(i.id)
    intervals = world.meter(i.id).intervals
    runs = sorted((m.started_at_us, m.ended_at_us) for m in intervals if m.region == "kube-a")
    assert len(runs) == 2 and len(intervals) == 3
    assert runs[0][1] < runs[1][0], "what lies between the two runs is no uptime"


def test_engine_that_hangs_leaves_the_route_and_is_started_again_by_its_liveness_probe(world):
    i = world.running()
    os.kill(main_pid(pod_in(world, "kube-b")), signal.SIGSTOP)
    until("its route is withdrawn", lambda: [r.region for r in world.route(i.id).replicas] == ["kube-a"])
    assert world.get(i.id).status == RUNNING
    until("the kubelet has replaced it", lambda: restarts(world, "kube-b") == 1, patience_s=150)
    world.until(i.id, RUNNING, ready=2, timeout=60)
    world.gone(i.id)


def test_answers_under_way_outlive_a_restart_of_their_replicas(world):
    i = world.running(drain_s=8)
    before = world.uids("pods")
    streams = [Answer(r, 60, 100) for r in world.route(i.id).replicas]  # six seconds
    world.restart(i.id)
    until("both pods are new and Ready", lambda: not set(before) & set(world.uids("pods")) and world.get(i.id).ready_replicas == 2, patience_s=120)
    for stream in streams:
        stream.join(30)
        assert stream.text.rstrip().endswith("data: [DONE]"), f"cut off: ...{stream.text[-200:]}"
    world.gone(i.id)


@pytest.mark.parametrize("image,command,words", [
    ("nobody/has-this:1", [], "cannot be pulled"),
    ("ecolink/simulator:latest", ["/nothing"], "cannot be created"),
    ("ecolink/simulator:latest", ["/usr/bin/ecolink-simulator", "--nonsense"], "exited with status")])
def test_what_the_kubelet_says_of_a_container_that_does_not_start_is_told_in_words(world, image, command, words):
    i = world.launch(engine="", image=image, command=command)
    until(words, lambda: all(words in r.status_detail for r in world.get(i.id).replicas))
    world.gone(i.id)


def test_last_lines_of_an_engine_that_ends_are_kept(world):
    i = world.launch(engine="", image="ecolink/simulator:latest", command=["/usr/bin/ecolink-simulator", "--nonsense"])
    until("they are read from both kubelets", lambda: {line.region for line in world.logs(i.id) if "nonsense" in line.text} == {"kube-a", "kube-b"})
    world.gone(i.id)
    assert {line.region for line in world.logs(i.id)} == {"kube-a", "kube-b"}


def test_weights_arrive_in_a_volume_that_engines_read_and_a_later_launch_finds_them(world, hub):
    first = world.running(engine="vllm")
    pid = main_pid(pod_in(world, "kube-a"))
    with open(glob.glob(f"/proc/{pid}/root/weights/huggingface/hub/models--org--name/snapshots/{COMMIT}/model.safetensors")[0], "rb") as f:
        assert f.read() == CONTENT["model.safetensors"]
    assert sorted(name for name, _ in hub.downloads()) == sorted(2 * list(CONTENT))
    world.gone(first.id)
    second = world.running(engine="vllm")
    assert len(hub.downloads()) == 2 * len(CONTENT)
    world.gone(second.id)


def test_lost_node_takes_its_replica_out_of_the_route_and_gets_it_back(world, nodes):
    i = world.running()
    nodes["kube-a"].process.stop(5, signal.SIGKILL)
    until("its route is withdrawn", lambda: [r.region for r in world.route(i.id).replicas] == ["kube-b"])
    assert world.get(i.id).status == RUNNING
    nodes["kube-a"].start()
    world.until(i.id, RUNNING, ready=2, timeout=90)
    world.gone(i.id)


# ---- network policies ----


@pytest.fixture
def bystanders(nodes):
    """Two pods of the system's namespace: one that belongs to EcoLink, one that does not. Name -> what `main_pid` wants."""
    client, where = plane.Plane(layout.REGIONS[0], "").admin(), f"/api/v1/namespaces/{layout.SYSTEM_NAMESPACE}/pods"
    for name, part_of in (("ours", "ecolink"), ("other", "other")):
        client.post(where, {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "labels": {"app.kubernetes.io/part-of": part_of}},
                            "spec": {"nodeSelector": {"nvidia.com/gpu.product": realnode.GPU}, "tolerations": [{"operator": "Exists"}],
                                     "terminationGracePeriodSeconds": 0, "containers": [{"name": "a", "image": "ecolink/simulator"}]}})
    yield {name: until(f"{name} runs", lambda n=name: (p := client.get(f"{where}/{n}")) and main_pid(p)) for name in ("ours", "other")}
    for name in ("ours", "other"):
        client.delete(f"{where}/{name}")


def test_network_policies_keep_replicas_apart_and_let_the_gateway_in(world, nodes, bystanders):
    pair = [world.running(), world.running()]
    pods = [next(p for p in world.objects("pods", "kube-a") if p["metadata"]["labels"]["ecolink.io/instance"] == str(i.id)) for i in pair]
    inside, neighbour = main_pid(pods[0]), pods[1]["status"]["podIP"]
    api_server = layout.REGIONS[0].host
    # nothing holds them back yet: what is refused below is so because of the policies
    assert reaches(inside, neighbour, 8000) and reaches(inside, api_server, 6443) and reaches(bystanders["other"], neighbour, 8000)
    with nodes["kube-a"].enforcing_policies():
        until("neighbours are apart", lambda: not reaches(inside, neighbour, 8000), 120)
        assert not reaches(inside, api_server, 6443), "nor does it reach the cluster's own network"
        assert not reaches(bystanders["other"], neighbour, 8000)
        assert reaches(bystanders["ours"], neighbour, 8000)
        assert world.get(pair[0].id).ready_replicas == 2
    assert reaches(inside, neighbour, 8000), "nothing of it stays"
    for i in pair:
        world.gone(i.id)


# ---- published engines ----


@pytest.mark.parametrize("mode", ["node_port", "load_balancer"])
def test_published_engines_are_called_where_they_are_published_and_by_nobody_else(world, nodes, bystanders, mode):
    """kube-proxy serves both; a load balancer's address comes from kube-router's allocator."""
    node = nodes["kube-a"]
    world.configure("kube-a", endpoint_mode=mode, allowed_source_ranges=["10.240.0.0/16"])
    try:
        with node.publishing_services():
            i = world.running(ready=1, regions=["kube-a"], allow_single_region=True)
            service, = world.objects("services", "kube-a")
            port, = service["spec"]["ports"]
            where = (node.ip, port["nodePort"]) if mode == "node_port" else (service["status"]["loadBalancer"]["ingress"][0]["ip"], port["port"])
            replica, = until("gateways are told so", lambda: [r for r in world.route(i.id).replicas if (r.host, r.port) == where])
            assert answers(replica)[0] == 200 and http_get(*where, "/v1/models")[0] == 401
            # one outside of the ranges is refused; at a node's port by the NetworkPolicy, which knows EcoLink's own pods besides
            until("who is not in the ranges is refused", lambda: not reaches(bystanders["other"], *where), 120)
            assert reaches(bystanders["ours"], *where) == (mode == "node_port")
            assert answers(replica)[0] == 200
            world.gone(i.id)
            assert http_get(*where, "/health") is None
    finally:
        world.configure("kube-a")
