"""The compose stack under a project name of its own, on a free port, for the whole run; nothing of it is left afterwards."""
import json
import os
import subprocess
import sys

import pytest

TREE = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path[:0] = [os.path.join(TREE, "tests", "shared"), os.path.dirname(os.path.abspath(__file__))]
# pylint: disable=wrong-import-position
from polling import poll  # noqa: E402
from ports import free_port  # noqa: E402


class Compose:
    def __init__(self, scheduler="scheduler-process"):
        self.project = f"ecolink-test-{os.getpid()}-{scheduler}"
        self.url = f"http://127.0.0.1:{free_port()}"
        self.env = os.environ | {"ECOLINK_LISTEN": self.url.removeprefix("http://"), "ECOLINK_PUBLIC_URL": self.url,
                                 "ECOLINK_SCHEDULER_IMAGE": scheduler}

    def __call__(self, *words, check=True, timeout=300):
        """docker compose ...: its standard output."""
        done = subprocess.run(["docker", "compose", "-p", self.project, "-f", os.path.join(TREE, "deploy/compose/compose.yaml"), *words],
                              env=self.env, capture_output=True, text=True, timeout=timeout, check=False)
        assert not check or done.returncode == 0, f"docker compose {' '.join(words)}: {done.stderr[-3000:]}"
        return done.stdout

    def containers(self):
        """What docker says of each container, by service."""
        ids = docker("ps", "-aq", "--filter", f"label=com.docker.compose.project={self.project}").split()
        found = json.loads(docker("inspect", *ids)) if ids else []
        return {c["Config"]["Labels"]["com.docker.compose.service"]: c for c in found}

    def up(self):
        try:
            self("up", "-d", "--no-build", "--wait", "--wait-timeout", "180")
        except AssertionError as e:
            raise AssertionError(f"{e}\n{self('ps', '-a', check=False)}\n{self('logs', '--tail', '15', check=False)[-6000:]}") from e
        if "ECOLINK_API_KEY" not in self.env:
            lines = self("run", "--rm", "-T", "account").splitlines()
            self.env |= dict(line.removeprefix("export ").split("=", 1) for line in lines)

    def cli(self, *words, **how):
        return self("run", "--rm", "-T", "-e", f"ECOLINK_API_KEY={self.env['ECOLINK_API_KEY']}", "cli", *words, **how)

    def curl(self, path, *words, body=None):
        """Status, headers and body as curl shows them."""
        data = ["-H", "Content-Type: application/json", "-d", json.dumps(body)] if body is not None else []
        return subprocess.run(["curl", "-sS", "-N", "-i", "--max-time", "60", "-H", f"Authorization: Bearer {self.env['ECOLINK_API_KEY']}", *data, *words,
                               self.url + path], capture_output=True, text=True, check=True).stdout

    def chat(self, model, **more):
        return self.curl("/v1/chat/completions", body={"model": model, "messages": [{"role": "user", "content": "Say hello."}], **more})

    def launch(self, name, *words):
        """Runs before this returns; the model's name in requests."""
        self.cli("models", "create", name, "--source", "container")
        self.cli("launch", name, "--gpu-type", "local-cpu", *words, "--wait", timeout=240)
        return next(i["model"] for i in json.loads(self.cli("ps", "--json"))["data"] if i["model"].startswith(name + ":"))

    def until(self, what, wanted, patience_s=60):
        came, found = poll(wanted, patience_s, 0.5)
        assert came, f"{what}: not within {patience_s} s"
        return found


def docker(*words):
    return subprocess.run(["docker", *words], capture_output=True, text=True, check=True, timeout=120).stdout


def running(scheduler):
    compose = Compose(scheduler)
    try:
        compose.up()
        yield compose
    finally:
        compose("down", "-v", "--timeout", "20", check=False)


@pytest.fixture(scope="module")
def stack():
    yield from running("scheduler-process")


@pytest.fixture(scope="module")
def llama_stack():
    if os.environ.get("ECOLINK_COMPOSE_LLAMA", "0") == "0":
        pytest.skip("ECOLINK_COMPOSE_LLAMA=1 fetches a real engine and model")
    yield from running("scheduler-llama")
