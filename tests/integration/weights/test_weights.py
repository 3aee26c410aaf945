"""Weights are downloaded once, however many pods begin at the same time; what was begun is resumed; what arrives is what was promised.
The real program against a hub on this machine (tests/shared/hub.py)."""
import os
import random
import signal
import subprocess
import threading
import time

import pytest
from hub import COMMIT, Hub

from ecotest.stack import BUILD, eventually

TOOL = os.path.join(BUILD, "bin", "ecolink-weights")
SNAPSHOT = f"hub/models--org--name/snapshots/{COMMIT}"


def files(size=3_000_000):
    random.seed(7)
    return {"config.json": b'{"a": 1}', "sub/tokenizer.json": b"[]", "empty.txt": b"", "model.safetensors": random.randbytes(size),
            "pytorch_model.bin": b"the same once more"}


@pytest.fixture
def hub():
    h = Hub(files())
    yield h
    h.close()


class Pod:
    """One run of the program on a volume, its lines read as they come."""

    def __init__(self, hub, volume, revision="main", token=""):
        env = {"PATH": os.environ["PATH"], "HF_ENDPOINT": hub.url, "HF_TOKEN": token}
        env.update({k: v for k, v in os.environ.items() if k.endswith("SAN_OPTIONS")})
        self.process = subprocess.Popen([TOOL, "--repo", hub.repo, "--revision", revision, "--cache", os.path.join(volume, "hub")],
                                        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=env)
        self.lines, self.errors = [], ""
        self.reader = threading.Thread(target=lambda: self.lines.extend(iter(lambda: self.process.stdout.readline().strip(), "")))
        self.reader.start()

    def wait(self, timeout=60):
        status = self.process.wait(timeout)
        self.reader.join()
        self.errors = self.process.stderr.read()
        return status

    def progress(self):
        return [tuple(map(int, line.split()[1:])) for line in list(self.lines) if line.startswith("progress")]


def content_is_there(volume, hub):
    for name, content in hub.files.items():
        path = os.path.join(volume, SNAPSHOT, name)
        if name == "pytorch_model.bin":
            assert not os.path.exists(path)  # the safetensors are enough
            continue
        with open(path, "rb") as f:
            assert f.read() == content, name
    with open(os.path.join(volume, "hub/models--org--name/refs/main"), encoding="ascii") as f:
        assert f.read() == COMMIT


def test_a_repository_arrives_in_the_hubs_own_layout(hub, tmp_path):
    pod = Pod(hub, tmp_path)
    assert pod.wait() == 0, pod.errors
    assert pod.lines[-1] == f"done {COMMIT}"
    assert pod.progress()[-1] == (3_000_010, 3_000_010)
    content_is_there(tmp_path, hub)
    assert os.path.islink(os.path.join(tmp_path, SNAPSHOT, "model.safetensors"))


def test_two_racing_pods_download_once(hub, tmp_path):
    hub.pace_s = 0.02
    pods = [Pod(hub, tmp_path) for _ in range(2)]
    assert [p.wait() for p in pods] == [0, 0], [p.errors for p in pods]
    names = [name for name, _ in hub.downloads()]
    assert sorted(names) == sorted(set(names))  # each file once
    assert len([p for p in pods if any(line.startswith("waiting") for line in p.lines)]) == 1
    for p in pods:  # whoever waits tells the other's progress
        between = [done for done, total in p.progress() if 0 < done < total]
        assert between and between == sorted(between)
    content_is_there(tmp_path, hub)


def test_a_later_pod_downloads_nothing(hub, tmp_path):
    assert Pod(hub, tmp_path).wait() == 0
    asked = len(hub.downloads())
    assert Pod(hub, tmp_path).wait() == 0
    assert len(hub.downloads()) == asked


def test_a_killed_download_is_taken_over_where_it_stopped(hub, tmp_path):
    hub.pace_s = 0.05
    first = Pod(hub, tmp_path)
    eventually(lambda: [d for d, _ in first.progress() if d > 500_000], 30, 0.05, "a part of it has arrived")
    second = Pod(hub, tmp_path)
    eventually(lambda: any(line.startswith("waiting") for line in second.lines), 10, 0.02, "the other one waits")
    first.process.send_signal(signal.SIGKILL)
    first.wait()
    hub.pace_s = 0
    assert second.wait() == 0, second.errors
    resumed = [wanted for name, wanted in hub.downloads() if name == "model.safetensors"]
    assert resumed[0] is None and int(resumed[1].split("=")[1].rstrip("-")) > 400_000
    content_is_there(tmp_path, hub)


def test_a_cut_line_is_resumed_by_the_same_pod(hub, tmp_path):
    hub.cut_after = 1_000_000
    pod = Pod(hub, tmp_path)
    assert pod.wait() == 0, pod.errors
    assert [bool(wanted) for name, wanted in hub.downloads() if name == "model.safetensors"] == [False, True]
    content_is_there(tmp_path, hub)


def test_a_hub_without_ranges_is_read_from_the_beginning(hub, tmp_path):
    hub.cut_after, hub.ranges = 1_000_000, False
    pod = Pod(hub, tmp_path)
    assert pod.wait() == 0, pod.errors
    content_is_there(tmp_path, hub)


def test_content_that_is_not_what_was_promised_is_never_kept(hub, tmp_path):
    hub.spoil = lambda part: bytes(len(part)) if len(part) > 1000 else part
    pod = Pod(hub, tmp_path)
    time.sleep(3)  # act: it tries again meanwhile
    assert not os.path.exists(os.path.join(tmp_path, SNAPSHOT, "model.safetensors"))
    hub.spoil = lambda part: part
    assert pod.wait() == 0, pod.errors
    assert "has not the content" in pod.errors
    content_is_there(tmp_path, hub)


def test_a_gated_repository_needs_its_token(tmp_path):
    hub = Hub(files(1000), token="hf_secret")
    pod = Pod(hub, tmp_path)
    assert pod.wait() == 2 and "needs an hf_token" in pod.errors
    pod = Pod(hub, tmp_path, token="hf_wrong")
    assert pod.wait() == 2 and "is refused" in pod.errors
    assert "hf_wrong" not in pod.errors
    assert Pod(hub, tmp_path, token="hf_secret").wait() == 0
    hub.close()


def test_what_is_there_needs_no_hub(hub, tmp_path):
    assert Pod(hub, tmp_path).wait() == 0
    hub.close()
    pod = Pod(hub, tmp_path)
    assert pod.wait() == 0, pod.errors
    assert pod.lines[-1] == f"done {COMMIT}"


def test_an_unknown_revision_is_final(hub, tmp_path):
    pod = Pod(hub, tmp_path, revision="nowhere")
    assert pod.wait() == 2 and "nowhere" in pod.errors
