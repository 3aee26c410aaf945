"""The demo: register, launch in two regions, chat, kill a replica while it streams, stop, read the ledger.

Plain HTTP against the gateway with the account's own key; the only thing done from outside is the kill -9 of a replica.
usage: demo.py <model.gguf>; ECOLINK_URL, ECOLINK_API_KEY, ECOLINK_STATE_DIR in the environment.
"""
import http.client
import json
import os
import pathlib
import signal
import sys
import time
import urllib.parse

URL = urllib.parse.urlsplit(os.environ["ECOLINK_URL"])
KEY = os.environ["ECOLINK_API_KEY"]
RUN = pathlib.Path(os.environ["ECOLINK_STATE_DIR"]) / "run" / "replicas"
COLOUR = sys.stdout.isatty() and os.environ.get("TERM", "dumb") != "dumb" and not os.environ.get("NO_COLOR")
START_S = 180


def paint(code, text):
    return f"\033[{code}m{text}\033[0m" if COLOUR else text


def step(text):
    print("\n" + paint("1", f"== {text}"), flush=True)


def fail(text):
    print(paint("31", f"demo: {text}"), file=sys.stderr)
    sys.exit(1)


def send(method, path, body=None):
    connection = http.client.HTTPConnection(URL.hostname, URL.port, timeout=120)
    headers = {"Authorization": f"Bearer {KEY}", "Content-Type": "application/json"}
    connection.request(method, path, json.dumps(body) if body is not None else None, headers)
    return connection.getresponse()


def call(method, path, body=None):
    answer = send(method, path, body)
    text = answer.read().decode()
    if answer.status >= 300:
        fail(f"{method} {path} answered {answer.status}: {text}")
    return json.loads(text) if text else {}


def registered(name):
    for model in call("GET", "/models?limit=100")["data"]:
        if model["name"] == name:
            return model
    return call("POST", "/models", {"name": name, "source": "container", "category": "chat"})


def wait(instance_id, wanted, enough):
    """Shows each change of status until enough(instance)."""
    began, shown = time.monotonic(), ""
    while time.monotonic() - began < START_S:
        instance = call("GET", f"/inference-instances/{instance_id}")
        replicas = ", ".join(f"{r['region']} {r['status']}" for r in instance.get("replicas", []))
        ready = f"{instance.get('ready_replicas', 0)}/{instance['total_replicas']} ready"
        line = " | ".join(filter(None, (instance["status"], instance.get("status_detail", ""), ready, replicas)))
        if line != shown:
            print(f"  {time.monotonic() - began:5.1f} s  {line}", flush=True)
            shown = line
        if enough(instance):
            return instance
        if instance["status"] in ("failed", "stopped") and wanted != instance["status"]:
            fail(f"the instance is {instance['status']} ({instance.get('termination_reason')}): make logs S=scheduler")
        time.sleep(0.3)
    fail(f"not {wanted} after {START_S} s")


def chat(model, question, tokens, on_piece=None):
    """Streams one answer to the terminal. Returns (region, whole answer?, words about how it ended)."""
    print(paint("36", f"  > {question}"))
    answer = send("POST", "/v1/chat/completions", {
        "model": model, "stream": True, "max_tokens": tokens, "temperature": 0,
        "messages": [{"role": "user", "content": question}]})
    region = answer.getheader("x-ecolink-region")
    if answer.status != 200:
        fail(f"chat answered {answer.status}: {answer.read().decode()}")
    print(f"  [{region}] ", end="", flush=True)
    pieces, done, ending = 0, False, "the stream ended without [DONE]"
    try:
        for raw in answer:
            line = raw.decode().strip()
            if not line.startswith("data:"):
                continue
            data = line[5:].strip()
            if data == "[DONE]":
                done, ending = True, "complete"
                break
            event = json.loads(data)
            if "error" in event:
                ending = "the stream told: " + event["error"]["message"]
                break
            content = event["choices"][0]["delta"].get("content") if event.get("choices") else None
            if content:
                pieces += 1
                print(content.replace("\n", "\n  "), end="", flush=True)
                if on_piece:
                    on_piece(region, pieces)
    except (http.client.HTTPException, OSError) as error:
        ending = f"the connection broke: {error!r}"
    print(flush=True)
    return region, done, ending


def kill_replica(instance, region):
    replica = next(r for r in instance["replicas"] if r["region"] == region)
    pid = int((RUN / f"{instance['id']}-{replica['id']}.pid").read_text())
    os.kill(pid, signal.SIGKILL)
    print(paint("31", f" <kill -9 {pid}: replica {replica['id']} in {region}>"), end="", flush=True)


def ledger(instance_id):
    rows = [row for row in call("GET", "/billing/transactions?limit=100")["data"] if row.get("instance_id") == instance_id]
    print(paint("1", f"  {'date':27} {'type':13} {'amount':>12} {'balance after':>14}  description"))
    for row in reversed(rows):
        print(f"  {row['created_at']:27} {row['type']:13} {row['amount']:>12} {row['balance_after']:>14}  {row.get('description', '')}")
    print(f"  sum of the amounts: {sum(int(row['amount_micros']) for row in rows) / 1e6:.6f} dollars")
    return rows


def main():
    model_file = sys.argv[1]
    step("register a model")
    model = registered("smollm2")
    print(f"  {model['id']}: {model['name']}, source {model['source']}")

    step("launch it in two regions")
    instance = call("POST", "/inference-instances", {
        "model_id": model["id"], "engine": "llama.cpp", "gpu_type": "local-cpu",
        "args": ["-m", model_file, "-c", "2048", "-t", "1"]})
    print(f"  instance {instance['id']}, to be called as {paint('1', instance['model'])}, hold "
          f"{instance.get('hold_micros', 0) / 1e6:.2f} dollars")
    instance = wait(instance["id"], "running", lambda i: i["status"] == "running" and i["ready_replicas"] == i["total_replicas"])

    step("chat with it")
    chat(instance["model"], "What is water made of?", 40)
    chat(instance["model"], "Write one sentence about the sea.", 60)

    step("kill the replica that answers, in the middle of a stream")
    killed = {}

    def kill_once(region, pieces):
        if pieces == 12 and not killed:
            killed[region] = True
            kill_replica(instance, region)

    first, done, ending = chat(instance["model"], "Tell me a long story about a fox and a bear.", 400, kill_once)
    print(f"  {ending}")
    if done or not killed:
        fail("the stream was not interrupted")

    step("the next request is served by the other region")
    second, done, ending = chat(instance["model"], "Say hello in French.", 40)
    if not done or second == first:
        fail(f"served by {second}, {ending}")
    print(paint("32", f"  {first} died, {second} answered"))
    wait(instance["id"], "running", lambda i: i["ready_replicas"] == i["total_replicas"])

    step("stop it")
    call("DELETE", f"/inference-instances/{instance['id']}")
    wait(instance["id"], "stopped", lambda i: i["status"] == "stopped")

    step("what it cost, and what came back")
    for _ in range(100):
        if any(row["type"] == "refund" and row.get("instance_id") == instance["id"]
               for row in call("GET", "/billing/transactions?limit=100")["data"]):
            break
        time.sleep(0.2)
    else:
        ledger(instance["id"])
        fail("no refund in the ledger")
    ledger(instance["id"])
    balance = call("GET", "/billing/balance")
    print(f"  balance: {balance['available']} dollars available, {balance['held_micros'] / 1e6:.2f} held")


main()
