"""The fault suite: the whole real stack, broken on purpose, and the world checked afterwards (docs/faults.md).

    pytest tests/faults -n 2 --dist loadgroup      runs it; needs build/asan (or $ECOLINK_BUILD_DIR) and what tests/e2e needs
    tests/faults/run --seed 17                     replays one random schedule, with everything it did printed
    ECOLINK_TEST_TIER=test|ci|soak                 how much: a fixed subset (default), every crash point and 300 schedules, 3,000
    ECOLINK_TEST_SEED=N                            first seed of the random schedules (default 1)

One stack per process lives through all of its tests, so that a case costs a few seconds; each test leaves it healed and checked.
Fixtures: `lab` (lab.py), `tenants` (workload.py). Nothing here is retried and nothing waits by sleeping.
"""
import os
import pathlib
import sys
import tempfile

import pytest

HERE = pathlib.Path(__file__).parent
for folder in (HERE, HERE.parent / "shared", HERE.parent / "e2e", HERE.parent / "integration", HERE.parent / "integration/billing"):
    sys.path.insert(0, str(folder))

from ecotest import protos  # noqa: E402

_generated = tempfile.TemporaryDirectory(prefix="ecolink-faults-proto-")
protos.generate(_generated.name)

from lab import Lab  # noqa: E402

TIER = os.environ.get("ECOLINK_TEST_TIER", "test")
assert TIER in ("test", "ci", "soak"), f"no such tier: {TIER}"


@pytest.fixture(scope="session")
def lab():
    made = Lab()
    try:
        yield made.begin()
    finally:
        made.end()


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    """Shows what the services complained about when a test fails: the state is gone afterwards."""
    outcome = yield
    report = outcome.get_result()
    stack = getattr(item, "funcargs", {}).get("lab")
    if report.when == "call" and report.failed and stack is not None:
        for name in ("registry", "scheduler", "billing", "health", "gateway"):
            text = stack.complaints(name)
            if text:
                report.sections.append((f"{name}: last complaints", text))


@pytest.fixture(scope="session")
def tenants(lab):
    from workload import Tenants
    return Tenants(lab)
