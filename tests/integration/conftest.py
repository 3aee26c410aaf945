"""Fixtures of the integration tests: real service binaries, a private PostgreSQL, a private nats-server.

    def test_a_revoked_key_is_published(stack):
        registry = stack.start("registry", BOOTSTRAP_KEY="eco_…")     # settings without their prefix
        reply = stack.rpc("registry.CreateAccount", pb.registry.CreateAccountRequest(...), caller=stack.operator())
        entry = stack.nats.kv_get("keys", hash)
        registry.kill()                                                # SIGKILL
        stack.start("registry", crash_point="kit.tx.committed")       # dies there

`pg` lives as long as the pytest run; `stack` (database, bus, services, clock) as long as the test module; what a test
starts and does not stop is ended with the module. Build tree: $ECOLINK_BUILD_DIR, else build/dev. See ecotest/stack.py.
"""

import os
import sys
import tempfile

import pytest

HERE = os.path.dirname(os.path.abspath(__file__))
LONGEST = ("test_kube_faults.py", "test_kube_driver.py", "test_kit.py", "test_life.py", "test_recovery.py", "test_keys.py")
sys.path[:0] = [HERE, os.path.join(os.path.dirname(HERE), "shared")]

from ecotest import protos  # noqa: E402

_generated = tempfile.TemporaryDirectory(prefix="eco-protos-")
protos.generate(_generated.name)

from ecotest.postgres import Postgres  # noqa: E402
from ecotest.stack import Stack  # noqa: E402


@pytest.fixture(scope="session")
def pg():
    with Postgres() as server:
        yield server


@pytest.fixture(scope="module")
def stack(pg):
    with Stack(pg) as s:
        yield s


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items):
    """Run in parallel, a file stays in one process and in order; crash tests stand alone and are the slow ones: those spread.
    The longest files begin first and the crash tests come last, to fill what is left: no process ends long after the others."""
    for item in items:
        if item.path.name != "test_crash.py":
            item.add_marker(pytest.mark.xdist_group(str(item.path)))
    items.sort(key=lambda item: (item.path.name == "test_crash.py", item.path.name not in LONGEST))
