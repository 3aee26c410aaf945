"""The HTTP surface as a caller sees it: requests with a key, and the steps that most tests begin with."""
import itertools
import json

import requests

from .waiting import wait

_numbers = itertools.count(1)
refused_ids = []  # the request id of each refusal that a test looked at: conftest.py finds them in the gateway's log


class Unavailable(AssertionError):
    """A 503 where something else was expected: not now."""


class Client:
    def __init__(self, url, key):
        self.url, self.key = url, key
        self.session = requests.Session()
        self.account_id = self.key_id = None

    def request(self, method, path, **kw):
        headers = dict(kw.pop("headers", {}))
        if self.key is not None:
            headers.setdefault("Authorization", f"Bearer {self.key}")
        kw.setdefault("timeout", 30)
        return self.session.request(method, self.url + path, headers=headers, **kw)

    def get(self, path, **kw):
        return self.request("GET", path, **kw)

    def post(self, path, **kw):
        return self.request("POST", path, **kw)

    def delete(self, path, **kw):
        return self.request("DELETE", path, **kw)

    def ok(self, method, path, status=200, **kw):
        answer = self.request(method, path, **kw)
        if answer.status_code == 503 != status:
            raise Unavailable(f"{method} {path}: 503 {answer.text}")
        assert answer.status_code == status, f"{method} {path}: {answer.status_code} {answer.text}"
        return answer.json()

    def refused(self, method, path, status, code, **kw):
        """The answer's error object, after checking OpenAI's shape, the status and the documented code."""
        answer = self.request(method, path, **kw)
        assert answer.status_code == status, f"{method} {path}: {answer.status_code} {answer.text}"
        return error_of(answer, code)

    # ---- steps ----
    def model(self, name=None, **fields):
        body = {"name": name or f"model-{next(_numbers)}", "source": "container", "category": "chat"} | fields
        return self.ok("POST", "/models", 201, json=body)

    def hf_model(self, name=None, **fields):
        return self.model(name, source="huggingface", repo="org/name", **fields)

    def launch(self, model, **fields):
        """Launches with the stand-in as engine; `args` are the stand-in's behaviour."""
        body = {"model_id": model["id"], "engine": "simulator", "gpu_type": "cpu"} | fields
        return self.ok("POST", "/inference-instances", 201, json=body)

    def instance(self, instance_id):
        return self.ok("GET", f"/inference-instances/{instance_id}")

    def wait_status(self, instance_id, *statuses, seconds=40):
        return wait(lambda: (i := self.instance(instance_id))["status"] in statuses and i,
                    f"instance {instance_id} to be {' or '.join(statuses)}", seconds)

    def wait_running(self, instance_id, ready=None, seconds=40):
        """Running with `ready` Ready replicas (default all), and the gateway answers for it."""
        def all_ready():
            i = self.instance(instance_id)
            assert i["status"] == "running", (i["status"], i["status_detail"])
            assert i["ready_replicas"] == (i["total_replicas"] if ready is None else ready), i["replicas"]
            return i
        return wait(all_ready, f"instance {instance_id} to run", seconds)

    def run(self, model, **fields):
        instance = self.launch(model, **fields)
        instance = self.wait_running(instance["id"])
        if instance["openai_compatible"]:
            wait(lambda: self.chat(instance["model"]).status_code == 200, "the gateway's route")
        return instance

    def stop(self, instance_id, wait_for_end=True):
        self.ok("POST", f"/inference-instances/{instance_id}/stop")
        if wait_for_end:
            return self.wait_status(instance_id, "stopped")
        return None

    def chat(self, model, stream=False, timeout=30, **fields):
        body = {"model": model, "messages": [{"role": "user", "content": "hello there"}]} | fields
        if stream:
            body["stream"] = True
        return self.post("/v1/chat/completions", json=body, stream=stream, timeout=timeout)

    def balance(self):
        return self.ok("GET", "/billing/balance")

    def ledger(self, **params):
        """All rows, oldest first."""
        rows = self.ok("GET", "/billing/transactions", params={"limit": 1000} | params)["data"]
        return sorted(rows, key=lambda r: r["sequence"])

    def settled(self, instance_id, seconds=40):
        """The instance's rows once its last hold is settled: their sum is minus what it cost."""
        def rows():
            found = [r for r in self.ledger() if r.get("instance_id") == instance_id]
            holds = sum(1 for r in found if r["type"] == "hold")
            ends = sum(1 for r in found if r["type"] == "refund")
            assert holds and self.balance()["held_micros"] == 0 and ends, found
            return found
        return wait(rows, f"settlement of instance {instance_id}", seconds)


def error_of(answer, code):
    error = answer.json()["error"]
    assert set(error) >= {"message", "type", "code", "param"}, error
    assert error["code"] == code, error
    assert len(error["message"]) > 10, error
    assert answer.headers.get("x-ecolink-request-id"), dict(answer.headers)
    refused_ids.append(answer.headers["x-ecolink-request-id"])
    return error


def events(answer):
    """The data of each server-sent event, decoded; "[DONE]" stays a string. Raises when the stream breaks off."""
    for line in answer.iter_lines(chunk_size=1):
        if line.startswith(b"data: "):
            data = line[6:].decode()
            yield data if data == "[DONE]" else json.loads(data)


def text_of(chunks):
    return "".join(c["choices"][0]["delta"].get("content") or "" for c in chunks
                   if c != "[DONE]" and c.get("choices"))
