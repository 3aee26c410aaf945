"""Weights come into a region once, by the init container of the first pod; its progress is told; the volume stays for later launches."""
import pytest
from driver_world import KubeWorld
from ecotest import pb
from ecotest.postgres import Postgres
from ecotest.stack import Stack
from hub import Hub
from kubetest.objects import until

S = pb.scheduler
CONTENT = {"config.json": b"{}", "model.safetensors": bytes(range(256)) * 16384}  # 4 MiB


@pytest.fixture(scope="module")
def hub():
    h = Hub(CONTENT)
    yield h
    h.close()


@pytest.fixture(scope="module")
def world(hub):
    with Postgres() as pg, Stack(pg) as stack:
        w = KubeWorld(stack, weights_image="ecolink/weights:test", hub_url=hub.url)
        w.start()
        until("the GPUs of both regions are seen", lambda: stack.sql("SELECT min(total) FROM scheduler.gpu_rooms")[0][0] > 4)
        yield w
        w.close()


def details(world, instance):
    return [r.status_detail for r in world.get(instance).replicas]


def test_weights_arrive_once_in_each_region_and_their_progress_is_told(world, hub):
    hub.pace_s = 0.15  # 64 steps: ten seconds
    pair = [world.launch(engine="vllm"), world.launch(engine="vllm")]
    told = set()

    def both_run():
        for i in pair:
            told.update(d for d in details(world, i.id) if d.startswith("downloading weights") and d.endswith("%"))
        return all(world.get(i.id).ready_replicas == 2 for i in pair)
    until("all four replicas run", both_run, patience_s=120)
    percents = sorted(int(d.split()[2]) for d in told)
    assert len(percents) > 3 and 0 < percents[1] < 100
    # four pods, two regions: each file once a region
    assert sorted(name for name, _ in hub.downloads()) == sorted(2 * list(CONTENT))
    for i in pair:
        world.gone(i.id)
    assert len(world.objects("persistentvolumeclaims")) == 2  # the volumes outlive their instances
    again = world.launch(engine="vllm")
    until("a later launch runs", lambda: world.get(again.id).ready_replicas == 2)
    assert len(hub.downloads()) == 2 * len(CONTENT)
    world.gone(again.id)


def test_why_weights_cannot_be_downloaded_is_told_in_words(world, hub):
    hub.token = "hf_nobody_has"
    world.shelf.repo = "org/gated"
    i = world.launch(engine="vllm")
    until("the reason is told", lambda: all("needs an hf_token" in d for d in details(world, i.id)))
    assert world.get(i.id).status == S.INSTANCE_STATUS_PROVISIONING
    world.gone(i.id)
    hub.token, world.shelf.repo = "", "org/name"
