"""End-to-end tests: a private stack per run, used through HTTP as users use it.

    stack      the running stack (eco/stack.py): kill and start parts, move the business clock, make accounts
    operator   a named operator's client
    tenant     a fresh account with $1000 and its owner's client; its instances are stopped after the test
    chat       one running OpenAI-compatible instance on two regions, shared by tests that only call it

Every docstring quotes the sentence of the product's documentation that the test holds us to; docs/product-coverage.md lists them.
"""
import os
import pathlib
import sys
import tempfile

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).parent))

from eco.client import Client, refused_ids  # noqa: E402
from eco.stack import SERVICES, Stack  # noqa: E402
from eco.waiting import wait  # noqa: E402


@pytest.fixture(scope="session")
def stack():
    s = Stack(tempfile.mkdtemp(prefix="ecolink-e2e-"))
    try:
        s.up()
        yield s
    finally:
        try:
            s.down()
        finally:
            if os.environ.get("ECOLINK_E2E_KEEP") == "1":
                print(f"state kept in {s.state}")
            else:
                s.remove()


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    """Shows what the services logged as wrong when a test fails: the state is gone afterwards."""
    outcome = yield
    report = outcome.get_result()
    s = item.funcargs.get("stack") if hasattr(item, "funcargs") else None
    if report.when == "call" and report.failed and isinstance(s, Stack):
        for name in SERVICES:
            try:
                # What is no JSON was not written by the logger: an assertion, a sanitizer, the loader.
                lines = [line for line in s.log(name).splitlines()
                         if '"level":"error"' in line or '"level":"warn"' in line or not line.startswith("{")]
            except OSError:
                continue
            if lines:
                report.sections.append((f"{name}: last complaints", "\n".join(lines[-12:])))


@pytest.fixture(autouse=True)
def each_refusal_has_a_log_line(request):
    """bad input and trouble: a log line with the request id, whatever was refused. The line is written before the answer."""
    refused_ids.clear()
    yield
    if refused_ids and "stack" in request.fixturenames:
        log = request.getfixturevalue("stack").log("gateway")
        missing = [i for i in refused_ids if i not in log]
        assert not missing, f"no log line for {missing} of {len(refused_ids)} refusals"


@pytest.fixture
def tenants(stack):
    """Makes accounts; their instances are stopped at the end, without waiting."""
    made = []

    def make(balance="1000.00", name="tenant"):
        client = stack.account(balance, name)
        made.append(client)
        return client

    yield make
    stack.heal()
    for client in made:
        for instance in client.ok("GET", "/inference-instances", params={"limit": 100})["data"]:
            if instance["status"] in ("pending", "provisioning", "running"):
                client.post(f"/inference-instances/{instance['id']}/stop")


@pytest.fixture
def tenant(tenants):
    return tenants()


@pytest.fixture(scope="session")
def operator(stack):
    """A named operator's client. One for all files of a run: the bootstrap key makes two of them and no more."""
    client = Client(stack.url, stack.admin.ok("POST", "/admin/operators", 201, json={"name": "tests"})["key"])
    wait(lambda: client.get("/admin/operators").status_code == 200, "the operator's key")
    return client


@pytest.fixture(scope="session")
def chat_client(stack):
    return stack.account("1000000.00", "chat")


@pytest.fixture(scope="session")
def chat_instance(chat_client):
    return chat_client.run(chat_client.hf_model("my-llama"))


@pytest.fixture
def chat(stack, chat_client, chat_instance):
    """(client, instance), healthy at the beginning of the test."""
    chat_client.wait_running(chat_instance["id"])
    return chat_client, chat_instance
