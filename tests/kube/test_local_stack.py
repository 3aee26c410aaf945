"""`make up DRIVER=kubernetes`: the whole stack on this machine, its regions two clusters of its own. Runs outside of any cluster's network."""
import json
import os
import shutil
import subprocess
import tempfile
import urllib.error
import urllib.request

import pytest
from kubetest import layout, namespace, plane, process
from kubetest.objects import until

pytestmark = pytest.mark.outside
PATIENCE_S = 120


class LocalStack:
    """deploy/local/stack in a folder of its own, and the demo account that it makes."""

    def __init__(self):
        self.state = tempfile.mkdtemp(prefix="eco-kube-stack-")
        os.chmod(self.state, 0o711)  # PostgreSQL, another user, must pass
        self.url = self.key = ""

    def __call__(self, *words, driver="kubernetes", check=True):
        env = {**os.environ, "ECOLINK_STATE_DIR": self.state, "ECOLINK_BUILD_DIR": layout.build_dir(), "ECOLINK_LOCAL_DRIVER": driver}
        done = subprocess.run([os.path.join(layout.TREE, "deploy", "local", "stack"), *words], env=env, capture_output=True, text=True,
                              timeout=400, check=False)
        assert not check or done.returncode == 0, f"stack {' '.join(words)}: {done.stdout[-2000:]}{done.stderr[-3000:]}"
        return done.stdout + done.stderr

    def up(self):
        self("up")
        with open(os.path.join(self.state, "ecolink.env"), encoding="ascii") as f:
            values = dict(line.removeprefix("export ").rstrip().split("=", 1) for line in f)
        self.url, self.key = values["ECOLINK_URL"], values["ECOLINK_API_KEY"]

    def call(self, method, path, body=None):
        request = urllib.request.Request(self.url + path, method=method, data=json.dumps(body).encode() if body is not None else None,
                                         headers={"Authorization": f"Bearer {self.key}", "Content-Type": "application/json"})
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                return answer.status, json.load(answer)
        except urllib.error.HTTPError as e:
            return e.code, json.loads(e.read())

    def launched(self, model):
        """As soon as both regions have told their GPUs."""
        def accepted():
            status, body = self.call("POST", "/inference-instances", {"model_id": model, "engine": "simulator", "gpu_type": "l40s"})
            return body if status == 201 else None
        return until("an instance is accepted", accepted, PATIENCE_S)

    def chats(self, model):
        status, body = self.call("POST", "/v1/chat/completions", {"model": model, "max_tokens": 4, "messages": [{"role": "user", "content": "Hi"}]})
        return status == 200 and body["choices"][0]["message"]["content"]


@pytest.fixture
def stack(monkeypatch):
    s = LocalStack()
    monkeypatch.setenv("ECOLINK_KUBE_STATE", os.path.join(s.state, "kube"))
    try:
        yield s
    finally:
        s("clean", check=False)
        shutil.rmtree(s.state, ignore_errors=True)


def parts():
    """Which parts of both clusters run."""
    return [(r.name, part) for r in layout.REGIONS for part in plane.PARTS if process.Process(r.path("run"), r.path("log"), part).pid()]


def joined():
    return subprocess.run(["ip", "link", "show", namespace.LINK], capture_output=True, check=False).returncode == 0


def pods(region):
    return plane.Plane(region, "").admin().get(f"/api/v1/namespaces/{layout.TENANT_NAMESPACE}/pods")["items"]


def running(stack, instance):
    body = stack.call("GET", f"/inference-instances/{instance}")[1]
    return body["status"] == "running" and body["ready_replicas"] == 2


def test_the_stack_runs_in_two_clusters_takes_them_down_and_comes_back(stack):
    stack.up()
    model = stack.call("POST", "/models", {"name": "hello", "source": "container", "category": "chat"})[1]
    instance = stack.launched(model["id"])
    until("it runs", lambda: running(stack, instance["id"]), PATIENCE_S)
    until("it answers", lambda: stack.chats(instance["model"]))
    assert [len(pods(r)) for r in layout.REGIONS] == [1, 1]
    assert "kube-a   apiserver" in stack("status", driver="")

    stack("down", driver="")
    assert not parts()
    until("this machine has left their network", lambda: not joined())

    assert "DRIVER=kubernetes" in stack("up", driver="process", check=False)  # its regions are what they are
    stack.up()  # the clusters are new ones: what should run is made again
    until("it runs again", lambda: running(stack, instance["id"]), PATIENCE_S)
    until("it answers again", lambda: stack.chats(instance["model"]))
    stack("clean", driver="")
    assert not parts() and not os.path.exists(stack.state)
