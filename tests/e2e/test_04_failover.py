"""Regions that fail while people call (product description, section 4), and engines that misbehave."""
import concurrent.futures
import os
import signal
import time

import pytest
import requests
from eco.client import Client, error_of, events, text_of
from eco.waiting import wait


def regions_of_calls(stack, client, model, at_once=4):
    clients = [Client(stack.url, client.key) for _ in range(at_once)]
    with concurrent.futures.ThreadPoolExecutor(at_once) as pool:
        return {a.headers.get("x-ecolink-region") for a in pool.map(lambda c: c.chat(model), clients)}


@pytest.fixture
def two(stack, tenant):
    """An instance of its own on two regions: the test may break it."""
    instance = tenant.run(tenant.hf_model("two"))
    return tenant, instance, stack.replicas(instance["id"])


def test_when_a_replica_is_killed_every_request_is_answered_by_the_other_region(stack, two):
    """[D] 4: Failover: an unhealthy region is skipped"""
    client, instance, replicas = two
    by_id = {f"{instance['id']}-{r['id']}": r["region"] for r in instance["replicas"]}
    victim, survivor = replicas
    victim.kill()
    end = time.monotonic() + 2
    served = set()
    while time.monotonic() < end:
        answer = client.chat(instance["model"])
        assert answer.status_code == 200, answer.text
        served.add((answer.headers["x-ecolink-region"], f"pid={survivor.pid}" in answer.json()["system_fingerprint"]))
    assert (by_id[survivor.name], True) in served
    # It comes back by itself, and serves again.
    client.wait_running(instance["id"])
    # A new run owes nothing to the one that was killed: its failures are forgotten at once.
    healed = lambda: by_id[victim.name] in regions_of_calls(stack, client, instance["model"])
    wait(healed, "the healed region to serve", 15)


def test_with_one_replica_down_the_instance_is_degraded_and_recovers(stack, two):
    """`running` (at least one replica Ready; `ready_replicas`/`total_replicas` tell a degraded one)"""
    client, instance, replicas = two
    replicas[0].set(unhealthy=True)
    degraded = wait(lambda: (i := client.instance(instance["id"]))["ready_replicas"] == 1 and i, "the degraded state")
    assert degraded["status"] == "running" and degraded["total_replicas"] == 2
    replicas[0].set(unhealthy=False)
    client.wait_running(instance["id"])


def test_with_no_healthy_replica_the_answer_is_503(stack, two):
    """[D] 4: none healthy -> 503"""
    client, instance, replicas = two
    for r in replicas:
        os.kill(r.pid, signal.SIGSTOP)
    try:
        def refused():
            answer = client.chat(instance["model"], timeout=3)
            return answer.status_code == 503 and [answer]  # a Response of an error is false itself
        answer = wait(refused, "503", 40)[0]
        assert answer.json()["error"]["code"] in ("no_healthy_replica", "instance_starting")
        assert int(answer.headers["retry-after"]) >= 1
    finally:
        for r in replicas:
            os.kill(r.pid, signal.SIGCONT)
    client.wait_running(instance["id"])
    wait(lambda: client.chat(instance["model"]).status_code == 200, "service again")


def test_an_attempt_that_fails_before_content_is_retried_on_the_other_region(two):
    """An attempt that fails before any content has reached the client (a stream's role chunk is not content) is retried on the other region"""
    client, instance, (bad, good) = two
    for options in ({"status": 500}, {"garbage": "http"}, {"cut_after_tokens": 0}):
        bad.set(**options)
        for _ in range(4):
            answer = client.chat(instance["model"], stream=True, max_tokens=4)
            assert answer.status_code == 200, (options, answer.text)
            assert text_of(list(events(answer))) == "This is the simulator ", options
        bad.set(status=0, garbage="", cut_after_tokens=-1)
        client.wait_running(instance["id"])


def test_a_stream_that_breaks_after_content_is_not_passed_off_as_whole(two):
    """kill -9 in the middle of a stream"""
    client, instance, replicas = two
    for r in replicas:
        r.set(token_ms=50)
    stream = events(client.chat(instance["model"], stream=True, max_tokens=400))
    got = [next(stream) for _ in range(6)]
    pid = int(got[0]["system_fingerprint"].rsplit("pid=", 1)[1])
    os.kill(pid, signal.SIGKILL)
    rest = []
    try:
        for chunk in stream:
            rest.append(chunk)
    except requests.exceptions.RequestException:
        pass
    assert "[DONE]" not in rest
    answer = client.chat(instance["model"], max_tokens=3)
    assert answer.status_code == 200 and f"pid={pid}" not in answer.json()["system_fingerprint"]


def test_a_request_that_the_engine_refuses_is_the_engines_answer(chat):
    """Other JSON errors are the engine's to judge"""
    client, instance = chat
    answer = client.post("/v1/chat/completions", json={"model": instance["model"], "messages": "x", "stream": 1})
    assert answer.status_code == 200 or answer.json()["error"]["code"]


@pytest.mark.parametrize("options,statuses", [
    ({"garbage": "http"}, (502, 503)), ({"garbage": "json"}, (200,)), ({"status": 500}, (500, 502, 503)), ({"status": 429}, (429,)),
])
def test_engines_that_answer_nonsense_cost_an_error_and_nothing_else(two, options, statuses):
    """an engine that answers garbage or hangs"""
    client, instance, replicas = two
    for r in replicas:
        r.set(**options)
    answer = client.chat(instance["model"])
    assert answer.status_code in statuses, (answer.status_code, answer.text)
    if answer.status_code in (502, 503):
        error_of(answer, answer.json()["error"]["code"])
    for r in replicas:
        r.set(garbage="", status=0)
    wait(lambda: client.chat(instance["model"]).status_code == 200, "service again")


def test_an_unreachable_engine_is_told_with_a_request_id_that_the_log_knows(stack, two):
    """an unreachable engine: the documented status, an error that says what to do, a log line with the request id"""
    client, instance, replicas = two
    for r in replicas:
        r.set(garbage="http")
    answer = client.chat(instance["model"])
    assert answer.status_code in (502, 503)
    request_id = answer.headers["x-ecolink-request-id"]
    wait(lambda: request_id in stack.log("gateway"), "the log line", 5)


@pytest.fixture
def impatient(stack, two):
    """A gateway that waits a second and a half for a replica's first byte, and as long between two."""
    stack.stop("gateway")
    stack.start("gateway", ECOLINK_GATEWAY_FIRST_BYTE_TIMEOUT_MS="1500", ECOLINK_GATEWAY_IDLE_TIMEOUT_MS="1500")
    client, instance, replicas = two
    wait(lambda: client.chat(instance["model"]).status_code == 200, "the impatient gateway")
    yield two
    stack.stop("gateway")
    stack.start("gateway")


def test_an_engine_that_hangs_costs_504_and_one_that_answers_elsewhere_saves_the_call(stack, impatient):
    """504 `upstream_timeout`; an engine that hangs: the documented status, what to do, a log line with the request id"""
    client, instance, replicas = impatient
    before = client.balance()["available_micros"]
    for r in replicas:
        r.set(hang=True)
    told = client.refused("POST", "/v1/chat/completions", 504, "upstream_timeout", json={"model": instance["model"], "messages": []})
    assert "in time" in told["message"]
    streamed = client.chat(instance["model"], stream=True)
    assert streamed.status_code == 504
    error_of(streamed, "upstream_timeout")
    replicas[1].set(hang=False)
    assert client.chat(instance["model"]).status_code == 200
    for r in replicas:
        r.set(hang=False)
    assert client.balance()["available_micros"] == before
    stopped = client.stop(instance["id"])
    assert stopped["status"] == "stopped"
    client.settled(instance["id"])


def test_a_stream_whose_engine_stalls_ends_with_an_error_event(stack, impatient):
    """after the first content it ends with a well-formed error event"""
    client, instance, replicas = impatient
    for r in replicas:
        r.set(token_ms=60_000)
    stream = client.chat(instance["model"], stream=True, max_tokens=5)
    got = list(events(stream))
    assert text_of(got[:-1]) and got[-1]["error"]["code"] == "upstream_timeout", got
    request_id = stream.headers["x-ecolink-request-id"]
    assert request_id in stack.log("gateway")
