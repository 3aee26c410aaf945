"""The public surface, held to docs/api/openapi.yaml from outside.

    document   openapi.yaml, parsed          routes   what `ecolink-gateway --list-routes` prints
    stack      a running stack of the run's own (tests/e2e/eco/stack.py)

How much is tried follows ECOLINK_TEST_TIER: test (default), ci, soak.
"""
import contextlib
import json
import os
import pathlib
import subprocess
import sys
import tempfile

import pytest
import yaml

TREE = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(TREE / "tests/e2e"))
os.environ.setdefault("ECOLINK_BUILD_DIR", str(TREE / "build/asan"))
BUILD = pathlib.Path(os.environ["ECOLINK_BUILD_DIR"]).resolve()

from eco.client import Client  # noqa: E402
from eco.stack import Stack  # noqa: E402
from eco.waiting import wait  # noqa: E402


def pytest_configure(config):
    config.addinivalue_line("markers", "ci_tier: too long for the tier `test`; run in ci and soak")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config, items):
    """Run in parallel, a file stays in one process, with a stack of its own; schemathesis, by far the longest, in one for each caller, and first."""
    for item in items:
        item.add_marker(pytest.mark.xdist_group(f"{item.path.name} {item.callspec.params['caller']}" if is_schemathesis(item) else item.path.name))
    items.sort(key=lambda item: not is_schemathesis(item))
    if os.environ.get("ECOLINK_TEST_TIER", "test") == "test":
        late = [i for i in items if i.get_closest_marker("ci_tier")]
        items[:] = [i for i in items if i not in late]
        config.hook.pytest_deselected(items=late)


def is_schemathesis(item):
    return "caller" in getattr(item, "fixturenames", ())


@pytest.fixture(scope="session")
def document():
    return yaml.safe_load((TREE / "docs/api/openapi.yaml").read_text())


@pytest.fixture(scope="session")
def routes():
    return printed("ecolink-gateway", "--list-routes")


@pytest.fixture(scope="session")
def cli():
    return printed("ecolink", "__calls")


def printed(program, argument):
    done = subprocess.run([BUILD / "bin" / program, argument], check=True, capture_output=True, timeout=30)
    return json.loads(done.stdout)


@pytest.fixture(scope="session")
def tier():
    found = os.environ.get("ECOLINK_TEST_TIER", "test")
    assert found in ("test", "ci", "soak"), f"ECOLINK_TEST_TIER={found}"
    return found


@contextlib.contextmanager
def new_stack():
    s = Stack(tempfile.mkdtemp(prefix="ecolink-surface-"))
    try:
        s.up()
        yield s
    finally:
        try:
            s.down()
        finally:
            s.remove()


@pytest.fixture(scope="session")
def stack():
    with new_stack() as s:
        yield s


def named_operator(stack):
    """A named operator's client: the bootstrap key makes two of them and no more."""
    client = Client(stack.url, stack.admin.ok("POST", "/admin/operators", 201, json={"name": "surface"})["key"])
    wait(lambda: client.get("/regions").status_code == 200, "the operator's key")
    return client


@pytest.fixture(scope="session")
def operator(stack):
    return named_operator(stack)
