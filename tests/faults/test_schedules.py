"""Random schedules of faults against a small working day; every seed is printed and can be replayed: tests/faults/run --seed N."""
import os

import pytest
import schedules
import tier
from conftest import TIER

COUNTS = {"test": 6, "ci": 300, "soak": 3000}
FIRST = int(os.environ.get("ECOLINK_TEST_SEED", "1"))
COUNT = int(os.environ.get("ECOLINK_TEST_SCHEDULES", str(COUNTS[TIER])))
# `make test` is the same every time: seeds that together kill, pause, fill, step and stir.
SEEDS = schedules.seeds(FIRST, COUNT)


@pytest.fixture(scope="session")
def crowd(lab, tenants):
    lab.heal()
    return schedules.Crowd(lab, tenants)


def test_the_count_is_what_the_tier_asks_for():
    print(f"schedules: {len(SEEDS)}, seeds {SEEDS[0]} to {SEEDS[-1]}")
    tier.counted("random fault schedules", len(SEEDS), least=min(COUNT, COUNTS[TIER]))


@pytest.mark.parametrize("seed", SEEDS)
def test_the_world_is_whole_after_schedule(lab, crowd, seed):
    done, answered, failed = schedules.run_schedule(crowd, seed)
    print(f"seed {seed}: {', '.join(done)}; {answered} calls answered, {failed} failed")
    assert lab.sanitizer_reports() == []
