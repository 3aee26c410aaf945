"""A local stack of the test's own, and a client of the management API that keeps account of what was exercised.

    api = Api(url); api.owner.get("/models/{id}", id=model["id"]).json()

Routes are named by their template, as in the REST table; the client fills the parameters in. The table itself comes from the
program that also tests it (tests/gateway_test_rest_table --print).
"""

import os
import pathlib
import re
import shutil
import subprocess
import tempfile
import time
import urllib.parse
import uuid

import requests

# tests/shared: conftest.py has it in the path
import ports
import sanitized
from polling import poll

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BUILD = os.environ.get("ECOLINK_BUILD_DIR", os.path.join(ROOT, "build", "dev"))
STACK = os.path.join(ROOT, "deploy", "local", "stack")


def eventually(check, timeout=10.0, every=0.1, what=""):
    """Calls `check` until it returns something true and returns that; fails after `timeout` seconds."""
    came, value = poll(check, timeout, every)
    if not came:
        raise AssertionError(f"did not happen within {timeout} s: {what or check}")
    return value


class Row:
    """A row of the REST table."""

    def __init__(self, line):
        self.method, self.path, self.rpc, body, status, *roles = line.split(" ")
        self.body, self.status, self.roles = body == "body", int(status), set(roles)

    def __repr__(self):
        return f"{self.method} {self.path}"


def table():
    """The REST table. Raises when the test program is not built."""
    out = subprocess.run([os.path.join(BUILD, "tests", "gateway_test_rest_table"), "--print"], check=True,
                         capture_output=True, text=True)
    return [Row(line) for line in out.stdout.splitlines()]


def documented():
    """(method, path, status) of docs/api/openapi.yaml, read by its indentation."""
    out, path, method = set(), None, None
    with open(os.path.join(ROOT, "docs", "api", "openapi.yaml"), encoding="utf-8") as f:
        for line in f:
            if found := re.match(r"  (/\S*):$", line):
                path = found[1]
            elif found := re.match(r"    ([a-z]+):$", line):
                method = found[1].upper()
            elif found := re.match(r'        "(\d{3})":', line):
                out.add((method, path, int(found[1])))
            elif line.startswith("components:"):
                return out
    return out


class LocalStack:
    """deploy/local/stack in a folder of its own."""

    def __init__(self):
        self.state = tempfile.mkdtemp(prefix="eco-e2e-", dir="/tmp")
        os.chmod(self.state, 0o755)
        self.env = dict(os.environ, ECOLINK_STATE_DIR=self.state, ECOLINK_BUILD_DIR=BUILD, NO_COLOR="1",
                        ECOLINK_PORT_RANGE=ports.stack_range(), ECOLINK_SCHEDULER_PROCESS_PORTS=ports.replica_range(),
                        ECOLINK_GATEWAY_PUBLIC_RATE_LIMIT="0")  # all tests share one address

    def run(self, *args, timeout=300):
        return subprocess.run([STACK, *args], env=self.env, capture_output=True, text=True, timeout=timeout, check=False)

    def up(self):
        done = self.run("up")
        if done.returncode != 0:
            raise AssertionError(f"the stack did not come up:\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}")
        for pid in pathlib.Path(self.state, "run").glob("*.pid"):
            if pid.stem in ("registry", "scheduler", "billing", "health", "gateway"):
                sanitized.check_process(int(pid.read_text()), BUILD)
        with open(os.path.join(self.state, "ecolink.env"), encoding="utf-8") as f:
            pairs = [line.removeprefix("export ").strip().split("=", 1) for line in f if "=" in line]
        return {name: value.strip("'\"") for name, value in pairs}

    def log(self, name):
        try:
            with open(os.path.join(self.state, "log", f"{name}.log"), encoding="utf-8", errors="replace") as f:
                return f.read()
        except OSError:
            return ""

    def close(self):
        self.run("down")
        self.run("clean")
        shutil.rmtree(self.state, ignore_errors=True)


class Client:
    """One caller: a key, or none."""

    def __init__(self, api, key):
        self.api, self.key = api, key

    def call(self, method, template, *, expect=None, stream=False, query=None, headers=None, data=None, json=None,
             **params):
        path = template
        for name, value in params.items():
            path = path.replace("{" + name + "}", urllib.parse.quote(str(value), safe=""))
        assert "{" not in path, path
        head = dict(headers or {})
        if self.key:
            head.setdefault("Authorization", f"Bearer {self.key}")
        while True:
            answer = requests.request(method, self.api.url + path, params=query, headers=head, data=data, json=json,
                                      timeout=60, stream=stream)
            if answer.status_code != 429:
                break
            time.sleep(float(answer.headers.get("retry-after", "1")))  # act: does as it was told
        self.api.seen.add((method, template, answer.status_code))
        assert answer.headers.get("x-ecolink-request-id"), f"{method} {path} without a request id"
        if expect is not None:
            assert answer.status_code == expect, f"{method} {path}: {answer.status_code} {answer.text}"
        if not stream and answer.status_code >= 400 and method != "HEAD":
            error = answer.json()["error"]
            assert {"message", "type", "code", "param"} <= set(error) and error["message"], answer.text
        return answer

    def get(self, template, expect=200, **more):
        return self.call("GET", template, expect=expect, **more)

    def post(self, template, json=None, expect=201, **more):
        return self.call("POST", template, json={} if json is None else json, expect=expect, **more)

    def put(self, template, json, expect=200, **more):
        return self.call("PUT", template, json=json, expect=expect, **more)

    def delete(self, template, expect=200, **more):
        return self.call("DELETE", template, expect=expect, **more)


class Api:
    """The API as seen by everybody who calls it: nobody, the bootstrap operator, and accounts that are made here."""

    def __init__(self, url, admin_key):
        self.url, self.seen = url, set()
        self.nobody = Client(self, None)
        self.operator = Client(self, admin_key)

    def works(self, key, template="/regions"):
        """A client whose key has reached the gateway."""
        client = Client(self, key)
        eventually(lambda: requests.get(self.url + template, headers={"Authorization": f"Bearer {key}"},
                                        timeout=10).status_code != 401, what="the new key at the gateway")
        return client

    def account(self, dollars="500.00"):
        """A new account with credit: (account id, its owner)."""
        made = self.operator.post("/admin/accounts", {"name": f"test {uuid.uuid4().hex[:8]}",
                                                      "owner_email": f"{uuid.uuid4().hex}@example.com"}).json()
        account_id = made["account"]["id"]
        self.operator.post("/admin/accounts/{account_id}/topups", {"amount": dollars}, account_id=account_id)
        return account_id, self.works(made["api_key"]["key"])

    def key(self, owner, role, **more):
        made = owner.post("/api-keys", {"name": role, "role": role, "rate_limit_per_minute": 100000, **more}).json()
        return self.works(made["key"])
