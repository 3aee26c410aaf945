"""What docs/operations.md says of the local stack is done here, word for word: metrics, one more region, backup, restore."""
import os
import tempfile

import pytest
from doc_commands import run
from eco.stack import TREE, Stack
from eco.waiting import wait
from test_06_billing import check_ledger


@pytest.fixture(scope="module")
def house():
    """A stack of its own: what comes back is what was."""
    s = Stack(tempfile.mkdtemp(prefix="ecolink-e2e-house-"))
    try:
        s.up()
        yield s
        s.down()
    finally:
        s.run("down", seconds=120)
        s.remove()


@pytest.fixture
def page(house, tmp_path):
    """page(heading): does what stands there for the local stack, beside a tree that is built."""
    os.symlink(TREE / "deploy", tmp_path / "deploy")
    os.symlink(house.state, tmp_path / ".local")
    env = house._env() | {"ECOLINK_URL": house.url, "ECOLINK_API_KEY": house.admin_key}
    words = {"make": "deploy/local/stack", "ecolink": house.build / "bin/ecolink"}
    return lambda heading: run("operations.md", heading, "local", words, tmp_path, env, 180)


def test_metrics_are_read(page):
    """docs/operations.md, "Read the metrics"."""
    assert "\necolink_gateway_" in page("Read the metrics")


def test_one_more_region_is_a_row(house, page):
    """docs/operations.md, "Add a region": what is launched there runs there."""
    house.admin.ok("PUT", "/admin/gpu-types/local-cpu", json={"memory_gb": 1, "hourly_rate": "0.10"})
    page("Add a region")
    owner = house.account()
    instance = owner.run(owner.model("anywhere"), gpu_type="local-cpu", regions=["local-c"], allow_single_region=True)
    assert {r["region"] for r in instance["replicas"]} == {"local-c"}
    owner.stop(instance["id"])
    owner.settled(instance["id"])


def test_a_backup_comes_back_with_what_runs_and_without_what_came_later(house, page):
    """docs/operations.md, "Back up" and "Restore": an instance that the dump knows runs on in the very same replicas, and is charged once."""
    owner = house.account()
    kept = owner.run(owner.hf_model("kept"), gpu_type="l40s")
    replicas = {r.pid for r in house.replicas(kept["id"])}
    page("Back up")
    rows, later = owner.ledger(), owner.run(owner.hf_model("made-after-backup"), gpu_type="l40s")
    assert len(owner.ledger()) > len(rows)
    page("Restore")
    house.heal()
    wait(lambda: owner.get("/models").status_code == 200, "the key")
    assert [m["name"] for m in owner.ok("GET", "/models")["data"]] == ["kept"]
    assert owner.ledger() == rows
    wait(lambda: owner.chat(later["model"]).status_code == 404, "no route to what the dump does not know")
    owner.wait_running(kept["id"])
    wait(lambda: owner.chat(kept["model"]).status_code == 200, "an answer")
    assert {r.pid for r in house.replicas(kept["id"])} == replicas
    owner.stop(kept["id"])
    owner.settled(kept["id"])
    check_ledger(owner)
