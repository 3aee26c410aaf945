"""Users of the stack: what they do while it breaks, what they were told, and whether that came true.

A Tenant is one account with a client. Every change is an Intent: it carries an idempotency key and is sent again until somebody gives
a final answer, as a careful client would; all answers to one intent must be the same. Caller calls a running instance all the time,
streaming and not, and counts."""
import itertools
import threading
import time
import uuid

import requests
from eco.client import Client, events
from eco.waiting import wait

numbers = itertools.count(1)
TRANSIENT = {429, 500, 502, 503, 504}
IN_PROGRESS = "in_progress"
IMPATIENT_S, LAUNCH_S = 4, 15  # when a service dies with a request in hand, nobody answers it: the next attempt is sent then


class Intent:
    """One change that a user wants: sent until it is answered for good, never twice done."""

    def __init__(self, client, method, path, json=None):
        self.client, self.method, self.path, self.json = client, method, path, json
        self.key = "fault-" + uuid.uuid4().hex
        self.answer = None
        self.attempts = 0

    def attempt(self, timeout=None):
        """Sends it once. True when there is a final answer. Users have no more patience than IMPATIENT_S, but for launches."""
        self.attempts += 1
        timeout = timeout or (LAUNCH_S if self.path == "/inference-instances" else IMPATIENT_S)
        try:
            answer = self.client.request(self.method, self.path, json=self.json, headers={"Idempotency-Key": self.key}, timeout=timeout)
        except (requests.RequestException, OSError):
            return False
        if answer.status_code in TRANSIENT or (answer.status_code == 409 and answer.json()["error"]["code"] == IN_PROGRESS):
            return False
        told = (answer.status_code, answer.json())
        if self.answer is not None:
            assert same_answer(self.answer, told), f"{self}: answered {self.answer} and then {told}"
        self.answer = told
        return True

    def until_answered(self, seconds=40):
        wait(lambda: self.attempt(), f"a final answer to {self}", seconds, 0.1)
        return self.answer

    def ok(self, status=201, seconds=40):
        code, body = self.until_answered(seconds)
        assert code == status, (str(self), code, body)
        return body

    def __str__(self):
        return f"{self.method} {self.path} ({self.attempts} attempts)"


def same_answer(one, other):
    """A replay is the same answer without what was secret."""
    def stripped(body):
        if isinstance(body, dict):
            return {k: stripped(v) for k, v in body.items() if k not in ("key", "token", "accept_url", "request_id")}
        return [stripped(v) for v in body] if isinstance(body, list) else body
    return one[0] == other[0] and stripped(one[1]) == stripped(other[1])


def made_with_its_key(make, where=None):
    """A key is told once: whoever misses that answer, because the service died over it, finds the thing made and makes another one."""
    for _ in range(3):
        made = make()
        if "key" in (made[where] if where else made):
            return made
    raise AssertionError(f"three answers without a key; the last one: {made}")


class Tenant(Client):
    """An account of its own."""

    def __init__(self, lab, balance="1000.00"):
        created = made_with_its_key(lambda: Intent(lab.admin, "POST", "/admin/accounts",
                                                   {"name": f"t{next(numbers)}", "owner_email": "t@example.com"}).ok(), "api_key")
        super().__init__(lab.url, created["api_key"]["key"])
        self.lab, self.account_id = lab, created["account"]["id"]
        self.intents, self.topups = [], []
        wait(lambda: self.get("/models").status_code == 200, "the new key at the gateway", 30, 0.02)
        made = made_with_its_key(lambda: Intent(self, "POST", "/api-keys",
                                                {"name": "roomy", "role": "owner", "rate_limit_per_minute": 1000000}).ok())
        self.key, self.key_id = made["key"], made["id"]
        wait(lambda: self.get("/models").status_code == 200, "the roomy key at the gateway", 30, 0.02)
        if balance:
            self.top_up(balance).ok()

    def get(self, path, **kw):
        return super().get(path, **{"timeout": IMPATIENT_S} | kw)

    def ok(self, method, path, status=200, **kw):
        return super().ok(method, path, status, **({"timeout": IMPATIENT_S} if method == "GET" else {}) | kw)

    def want(self, method, path, json=None):
        self.intents.append(Intent(self, method, path, json))
        return self.intents[-1]

    def top_up(self, amount="10.00"):
        body = {"amount": amount, "description": "test"}
        intent = Intent(self.lab.admin, "POST", f"/admin/accounts/{self.account_id}/topups", body)
        self.intents.append(intent)
        self.topups.append(intent)
        return intent

    def want_model(self):
        return self.want("POST", "/models", {"name": f"m{next(numbers)}", "source": "huggingface", "repo": "org/name", "category": "chat"})

    def want_launch(self, model, **fields):
        body = {"model_id": model["id"], "engine": "simulator", "gpu_type": "l40s"} | fields
        return self.want("POST", "/inference-instances", body)

    def want_stop(self, instance_id):
        return self.want("POST", f"/inference-instances/{instance_id}/stop")

    def want_restart(self, instance_id):
        return self.want("POST", f"/inference-instances/{instance_id}/restart")

    def want_key(self):
        return self.want("POST", "/api-keys", {"name": f"k{next(numbers)}", "role": "inference"})

    def running(self, **fields):
        """Launches an instance and waits until all of its replicas are Ready and it answers."""
        instance = self.want_launch(self.want_model().ok(), **fields).ok()
        self.wait_running(instance["id"])
        wait(lambda: self.chat(instance["model"], max_tokens=1).status_code == 200, "the route", 20, 0.02)
        return instance

    def kept_promises(self):
        """What was answered is so, and nothing else: complaints."""
        wrong = []
        rows = [r for r in self.ledger() if r["type"] == "topup"]
        booked = [t for t in self.topups if t.answer and t.answer[0] == 201]
        if len(rows) != len(booked):
            wrong.append(f"{self.account_id}: {len(booked)} top-ups were answered, {len(rows)} are booked")
        launched = {i.answer[1]["id"] for i in self.intents if i.path == "/inference-instances" and i.answer and i.answer[0] == 201}
        there = {i["id"] for i in self.ok("GET", "/inference-instances", params={"limit": 100})["data"]}
        if launched != there:
            wrong.append(f"{self.account_id}: launches answered {sorted(launched)}, instances {sorted(there)}")
        keys = {i.answer[1]["id"] for i in self.intents if i.path == "/api-keys" and i.answer and i.answer[0] == 201}
        listed = {k["id"] for k in self.ok("GET", "/api-keys", params={"limit": 100})["data"] if k["name"].startswith("k")}
        if keys != listed:
            wrong.append(f"{self.account_id}: keys answered {sorted(keys)}, listed {sorted(listed)}")
        return wrong


class Caller:
    """Calls one instance without a pause between, every second time streaming."""

    def __init__(self, client, instance):
        self.client, self.instance = Client(client.url, client.key), instance
        self.answered = self.failures = 0
        self.why = []
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._end.set()
        self._thread.join(60)

    def _run(self):
        for n in itertools.count():
            if self._end.is_set():
                return
            try:
                self._call(stream=n % 2 == 1)
                self.answered += 1
            except (requests.RequestException, OSError, AssertionError) as e:
                self.failures += 1
                self.why.append(f"{type(e).__name__}: {e}"[:200])
            time.sleep(0.01)  # act: an even load, not a wait for anything

    def _call(self, stream):
        answer = self.client.chat(self.instance["model"], stream=stream, max_tokens=3, timeout=20)
        assert answer.status_code == 200, f"{answer.status_code} {answer.text[:150]}"
        if stream:
            assert list(events(answer))[-1] == "[DONE]", "the stream broke off"

    def reaches(self, more, seconds=30):
        """Waits for `more` further answers."""
        goal = self.answered + more
        wait(lambda: self.answered >= goal, f"{more} further answers", seconds, 0.01)


class Tenants:
    """All accounts of a lab, so that the gateway can be asked as the owner of any instance."""

    def __init__(self, lab):
        self.lab, self.all = lab, []

    def new(self, balance="1000.00"):
        self.all.append(Tenant(self.lab, balance))
        return self.all[-1]

    def forget(self):
        """Those of tests before: their instances have ended."""
        self.all = []

    def broken_promises(self):
        return [wrong for t in self.all for wrong in t.kept_promises()]

    def stop_all(self):
        """Asks every instance to end, without waiting for it."""
        for tenant in self.all:
            for instance in tenant.ok("GET", "/inference-instances", params={"limit": 100})["data"]:
                if instance["status"] in ("pending", "provisioning", "running"):
                    tenant.want_stop(instance["id"]).ok(200)

    def call(self, row):
        """(status, region) of a call to the instance of a scheduler row, as its owner; for the world checker."""
        owner = next((t for t in self.all if t.account_id == row["account_id"]), None)
        if owner is None:
            return None  # of a test before
        answer = owner.chat(f"{row['served_name']}:{row['id']}", max_tokens=1, timeout=10)
        return answer.status_code, answer.headers.get("x-ecolink-region")
