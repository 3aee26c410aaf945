"""After a run that used every secret there is, none of them lies where it does not belong.

Searched by value, plain, in base64 (both alphabets, any alignment), hexadecimal and URL-encoded: logs, database, bus files, buckets, the
gateway's snapshot and spool, everything else below the state folder, answers, process listings. The places where a secret belongs
are listed here, each with its reason; what is found elsewhere fails, and so does a place that no longer holds what it is listed for.
"""
import base64
import os
import pathlib
import re
import subprocess
import urllib.parse

import pytest
import requests
from eco.client import Client
from eco.inside import DATABASE, SERVICES, Inside
from eco.stack import Stack
from eco.waiting import wait

HF_TOKEN = "hf_QzX7wN3vK9pLm2RtYb8Hd5Js"
SECRET_ENV = "s3cr3t/env+value=with&odd chars"
PULL_SECRET = "pull-S3cret-9f8e7d6c5b4a"
PLAIN_ENV = "a-plain-value-that-the-owner-may-read"


def forms(value):
    """The value as it may lie about."""
    raw = value.encode()
    out = {raw, raw.hex().encode(), raw.hex().upper().encode(), urllib.parse.quote(value, safe="").encode()}
    for encode in (base64.b64encode, base64.urlsafe_b64encode):
        for shift in range(3):  # what stands before it decides the alignment; the edges are cut off
            coded = encode(b"\0" * shift + raw)
            start = -(-shift * 8 // 6) + (1 if shift else 0)
            out.add(coded[start:len(coded) - len(coded) % 4 - 4])
    if re.fullmatch(r"[0-9a-f]{32,}", value):  # a hex secret: its bytes as well
        out.add(bytes.fromhex(value))
    return {f for f in out if len(f) >= 12}


class Run:
    """A stack of its own, used with every secret, then left standing."""

    def __init__(self, folder):
        self.stack = Stack(folder)
        self.stack.up()
        self.inside = Inside(self.stack)
        self.answers = []
        self.secrets = {}
        self.use()

    def ask(self, client, method, path, secret=None, **kw):
        """`secret`: the answer is the one place where it is shown; it is not searched."""
        answer = client.request(method, path, **kw)
        assert answer.status_code < 500, answer.text
        if secret is None:
            self.answers.append((f"{method} {path}", answer.content + repr(dict(answer.headers)).encode()))
        return answer

    def use(self):
        s = self.stack
        owner = s.account("1000.00", "secrets")
        self.owner = owner
        self.secrets |= {"owner key": owner.key, "first owner key": owner.first.key}
        model_body = {"name": "gated", "source": "huggingface", "repo": "org/name", "category": "chat", "hf_token": HF_TOKEN}
        launch = {"engine": "simulator", "gpu_type": "cpu", "env": {"PLAIN": PLAIN_ENV}, "secret_env": {"TOKEN": SECRET_ENV},
                  "image_pull_secret": PULL_SECRET}
        again = {"Idempotency-Key": "secrets-model"}
        model = self.ask(owner, "POST", "/models", json=model_body, headers=again).json()
        assert self.ask(owner, "POST", "/models", json=model_body, headers=again).json() == model  # the replayed answer
        self.ask(owner, "POST", "/models", json=model_body | {"name": "other"}, headers=again)  # 409
        self.ask(owner, "POST", "/models", json=model_body | {"repo": "bad repo"})  # refused: the message may not quote it
        self.ask(owner, "POST", "/models", json=model_body | {"hf_token": {"a": HF_TOKEN}})
        self.ask(owner, "POST", "/models", data=f'{{"hf_token":"{HF_TOKEN}",', headers={"Content-Type": "application/json"})
        body = launch | {"model_id": model["id"], "gpu_count": 100000}
        self.ask(owner, "POST", "/inference-instances", json=body)  # refused
        self.ask(owner, "POST", "/inference-instances", json=launch | {"model_id": model["id"]}, params={"dry_run": "true"})
        once = {"Idempotency-Key": "secrets-launch"}
        answer = self.ask(owner, "POST", "/inference-instances", json=launch | {"model_id": model["id"]}, headers=once)
        assert answer.status_code == 201, answer.text
        self.instance = answer.json()
        self.ask(owner, "POST", "/inference-instances", json=launch | {"model_id": model["id"]}, headers=once)
        owner.wait_running(self.instance["id"])
        wait(lambda: owner.chat(self.instance["model"]).status_code == 200, "the route")
        self.keys(owner)
        for path in ("/models", "/inference-instances", f"/inference-instances/{self.instance['id']}", "/api-keys", "/members", "/notices",
                     f"/inference-instances/{self.instance['id']}/events", f"/inference-instances/{self.instance['id']}/logs",
                     "/billing/transactions", "/billing/usage", "/v1/models"):
            self.ask(owner, "GET", path)
        self.ask(s.admin, "GET", "/admin/operators")
        self.ask(s.admin, "GET", "/admin/accounts")
        # a replica that dies and one that starts anew get their secrets again
        s.replicas(self.instance["id"])[0].kill()
        owner.ok("POST", f"/inference-instances/{self.instance['id']}/restart")
        owner.wait_running(self.instance["id"], seconds=60)
        # poison: a dead letter is made of what was on the bus
        bus = self.inside.user("admin")
        bus.js_publish("ecolink.evt.scheduler.instance.changed", b"not an event")
        bus.close()
        wait(lambda: s.psql("SELECT count(*) FROM billing.dead_letters") != "0", "the dead letter")
        for name in ("bootstrap_key", "seal_secret", "idempotency", "nats_admin"):
            self.secrets[name] = self.inside.secret(name)
        for service in SERVICES:
            self.secrets[f"nats {service}"] = self.inside.secret(f"nats_{service}")
        for service in DATABASE:
            for kind in ("app", "owner"):
                self.secrets[f"database {service}_{kind}"] = self.inside.secret(f"pg_{service}_{kind}")
        self.secrets |= {"HF token": HF_TOKEN, "secret env": SECRET_ENV, "image pull secret": PULL_SECRET}

    def keys(self, owner):
        s = self.stack
        body, once = {"name": "spare", "role": "inference"}, {"Idempotency-Key": "secrets-key"}
        made = self.ask(owner, "POST", "/api-keys", json=body, headers=once, secret="its own").json()
        self.secrets["API key"] = made["key"]
        assert "key" not in self.ask(owner, "POST", "/api-keys", json=body, headers=once).json()  # the replayed answer
        used = Client(s.url, made["key"])
        wait(lambda: used.chat(self.instance["model"]).status_code == 200, "the new key")
        used.post("/v1/messages", json={"model": self.instance["model"], "messages": [], "max_tokens": 1}, headers={"X-Api-Key": made["key"]})
        used.get(f"/inference-instances/{self.instance['id']}/proxy/echo")
        owner.ok("DELETE", f"/api-keys/{made['id']}")
        wait(lambda: used.get("/v1/models").status_code == 401, "the revocation")
        invite, once = {"email": "new@example.com"}, {"Idempotency-Key": "secrets-invite"}
        first = self.ask(owner, "POST", "/invites", json=invite, headers=once, secret="its own").json()
        self.secrets["invite token"] = first["token"]
        self.ask(owner, "POST", "/invites", json=invite, headers=once)
        nobody = Client(s.url, None)
        joined = self.ask(nobody, "POST", f"/invites/{first['token']}/accept", secret="the newcomer's key").json()
        self.secrets["newcomer's key"] = joined["api_key"]["key"]
        self.ask(nobody, "POST", f"/invites/{first['token']}/accept")  # a second time: refused
        unused = self.ask(owner, "POST", "/invites", json={"email": "late@example.com"}, secret="its own").json()
        self.secrets["unused invite token"] = unused["token"]
        made = self.ask(s.admin, "POST", "/admin/operators", json={"name": "second"}, secret="its own").json()
        self.secrets["operator key"] = made["key"]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("secrets")
    r = Run.__new__(Run)
    try:
        r.__init__(folder)
        yield r
    finally:
        r.stack.down()
        r.stack.remove()


def found_in(run, data, where):
    return {f"{name} in {where}" for name, value in run.secrets.items() for form in forms(value) if form in data}


def test_forms_find_a_secret_however_it_is_written():
    for before in ("", "x", "xy", "xyz"):
        text = (before + SECRET_ENV + "tail").encode()
        for coded in (text, base64.b64encode(text), base64.urlsafe_b64encode(text), text.hex().encode(),
                      urllib.parse.quote_plus(before).encode() + urllib.parse.quote(SECRET_ENV, safe="").encode()):
            assert any(f in coded for f in forms(SECRET_ENV)), coded


# ---- files ----

# Below the state folder: what may hold which secret, and why.
BELONGS = {
    r"secrets/(bootstrap_key|seal_secret|idempotency|nats_\w+|pg_\w+)": "each secret's own file, 0600 in a 0700 folder",
    r"ecolink\.env": "the operator's key, for scripts; 0600",
    r"env/(\w+)\.env": "what the service was started with, its own secrets alone; 0600 in a 0700 folder",
    r"nats/nats\.conf": "the server's list of users; 0600 in a 0700 folder",
}


def files(run):
    roots = {run.stack.state, pathlib.Path((run.stack.state / "public.path").read_text().strip())}
    for root in roots:
        for path in sorted(p for p in root.rglob("*") if p.is_file() and not p.is_symlink()):
            yield str(path.relative_to(root)), path


def test_no_file_holds_a_secret_but_those_that_are_for_it(run):
    """Logs of all services, PostgreSQL and NATS; the database's files and write-ahead log; JetStream's and the buckets' files; the
    gateway's snapshot and spool; replicas' records, homes and logs."""
    run.stack.psql("CHECKPOINT")
    wrong, held, looked = set(), set(), set()
    for name, path in files(run):
        try:
            data = path.read_bytes()
        except FileNotFoundError:
            continue  # PostgreSQL recycles its files
        looked.add(name.split("/")[0])
        hits = found_in(run, data, name)
        place = next((p for p in BELONGS if re.fullmatch(p, name)), None)
        if hits and place:
            held.add(place)
            assert path.stat().st_mode & 0o077 == 0, f"{name} is open to others"
        elif hits:
            wrong |= hits
    assert wrong == set()
    assert held == set(BELONGS)
    assert {"log", "nats", "gateway", "run", "postgres", "replicas"} <= looked


def test_a_services_settings_hold_its_own_secrets_alone(run):
    own = {"registry": {"bootstrap_key"}, "scheduler": {"seal_secret"}, "gateway": {"idempotency"}, "billing": set(), "health": set()}
    for service in SERVICES:
        allowed = own[service] | {f"nats {service}", f"database {service}_app"}
        data = (run.stack.state / f"env/{service}.env").read_bytes()
        hits = {n for n, v in run.secrets.items() if any(f in data for f in forms(v))}
        assert hits == {a for a in allowed if a in run.secrets}, service


# ---- the database ----

def test_no_row_of_any_schema_holds_a_secret(run):
    """A dump in text, so that a value is found wherever it stands: outbox, inbox, idempotency and dead letters are tables like others.
    Tokens and secret env lie in it, sealed; keys and invite tokens as SHA-256."""
    control = 0  # a value that is no secret, so that the search is known to find one
    for service in DATABASE:
        dump = run.inside.dump(service)
        assert f"{service}.outbox" in dump and len(dump) > 5000
        assert found_in(run, dump.encode(), f"the dump of {service}") == set()
        # bytea is dumped in hexadecimal: what is inside is looked at as it is
        for blob in set(re.findall(r"\\\\x([0-9a-f]{24,})", dump)):
            assert found_in(run, bytes.fromhex(blob), f"a bytea of {service}") == set()
            control += PLAIN_ENV.encode() in bytes.fromhex(blob)
    assert control >= 1
    assert run.stack.psql("SELECT count(*) FROM registry.models WHERE hf_token_sealed IS NOT NULL") != "0"
    assert int(run.stack.psql("SELECT (SELECT count(*) FROM registry.idempotency) + (SELECT count(*) FROM scheduler.idempotency)")) >= 5


# ---- the bus ----

def test_no_event_and_no_bucket_entry_holds_a_secret(run):
    bus = run.inside.user("admin")
    try:
        streams = bus.js("STREAM.NAMES")["streams"]
        assert {"ECOLINK", "KV_keys", "KV_routes"} <= set(streams)
        seen = 0
        for stream in streams:
            state = bus.js(f"STREAM.INFO.{stream}")["state"]
            for sequence in range(state["first_seq"], state["last_seq"] + 1):
                try:
                    message = bus.js(f"STREAM.MSG.GET.{stream}", {"seq": sequence})["message"]
                except RuntimeError:
                    continue  # replaced by a newer entry
                data = base64.b64decode(message.get("data", "")) + base64.b64decode(message.get("hdrs", "")) + message["subject"].encode()
                assert found_in(run, data, f"{stream} {message['subject']}") == set()
                seen += 1
        assert seen > 20
    finally:
        bus.close()


# ---- answers ----

def test_no_answer_shows_a_secret_but_the_one_that_made_it(run):
    assert len(run.answers) > 25
    wrong = set()
    for where, data in run.answers:
        wrong |= found_in(run, data, where)
    assert wrong == set()
    for service in SERVICES:
        for path in ("/metrics", "/healthz", "/readyz"):
            text = requests.get(f"http://127.0.0.1:{run.stack.ports[service.upper() + '_ADMIN']}{path}", timeout=5).content
            assert found_in(run, text, f"{service} {path}") == set()


# ---- processes ----

def processes(run):
    """(name, pid) of everything that the stack runs."""
    for name in ("postgres", "nats", *SERVICES):
        yield name, run.stack.pid(name)
    for replica in run.stack.replicas(run.instance["id"]):
        yield "replica", replica.pid


def test_no_command_line_on_this_machine_shows_a_secret(run):
    seen = 0
    for entry in pathlib.Path("/proc").glob("[0-9]*"):
        try:
            line = (entry / "cmdline").read_bytes() + (entry / "comm").read_bytes()
        except OSError:
            continue
        seen += 1
        assert found_in(run, line, f"the command line of {line[:60]!r}") == set()
    assert seen > 10


def test_a_replicas_environment_holds_its_own_secrets_and_no_others(run):
    """The engine is told its token and its secret env; nothing of ours is inherited."""
    mine = {"HF token", "secret env"}
    replicas = run.stack.replicas(run.instance["id"])
    assert len(replicas) == 2
    for replica in replicas:
        env = pathlib.Path(f"/proc/{replica.pid}/environ").read_bytes()
        assert {n for n, v in run.secrets.items() if v.encode() in env} == mine


def as_user(uid, *command):
    return subprocess.run(["setpriv", f"--reuid={uid}", f"--regid={uid}", "--clear-groups", *command], capture_output=True, timeout=30)


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to try as somebody else")
def test_other_users_read_no_environment_and_no_memory(run):
    for name, pid in processes(run):
        for uid in (65534, 59999, 1234):
            for what in ("environ", "maps", "mem", "cwd/", "fd/"):
                tried = as_user(uid, "head" if not what.endswith("/") else "ls", *(("-c", "64") if not what.endswith("/") else ()), f"/proc/{pid}/{what}")
                assert tried.returncode != 0 and tried.stdout == b"", (name, uid, what)


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to try as somebody else")
def test_the_replicas_of_two_instances_are_strangers_to_each_other(run):
    """Each instance has a user of its own: a tenant's container reads neither environment nor files of another's."""
    second = run.owner.launch(run.owner.model("neighbour"))
    run.owner.wait_running(second["id"])
    status = {i: {re.search(r"Uid:\s+(\d+)", pathlib.Path(f"/proc/{r.pid}/status").read_text())[1] for r in run.stack.replicas(i)}
              for i in (run.instance["id"], second["id"])}
    (first_uid,), (second_uid,) = status.values()
    assert first_uid != second_uid and "0" not in (first_uid, second_uid)
    for replica in run.stack.replicas(run.instance["id"]):
        home = os.readlink(f"/proc/{replica.pid}/cwd")
        assert as_user(second_uid, "cat", f"/proc/{replica.pid}/environ").returncode != 0
        assert as_user(second_uid, "ls", home).returncode != 0
        assert as_user(second_uid, "kill", "-0", str(replica.pid)).returncode != 0
        assert as_user(first_uid, "cat", f"/proc/{replica.pid}/environ").returncode == 0  # the trial itself works


def test_no_service_leaves_a_core_file_or_can_be_looked_into(run):
    for service in SERVICES:
        pid = run.stack.pid(service)
        limits = pathlib.Path(f"/proc/{pid}/limits").read_text()
        assert re.search(r"Max core file size\s+0\s+0\s", limits), service
        # not dumpable: its /proc files belong to root, and nobody of the same user attaches
        assert os.stat(f"/proc/{pid}/environ").st_uid == 0
    for replica in run.stack.replicas(run.instance["id"]):
        assert re.search(r"Max core file size\s+0\s+0\s", pathlib.Path(f"/proc/{replica.pid}/limits").read_text())


def test_the_folders_that_hold_secrets_are_closed(run):
    for folder in ("secrets", "env", "nats"):
        assert (run.stack.state / folder).stat().st_mode & 0o077 == 0, folder
