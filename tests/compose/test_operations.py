"""What docs/operations.md says of compose is done here, word for word: metrics, one more region, rotation, backup, restore."""
import json
import os
import stat

import pytest
from conftest import TREE
from doc_commands import run


@pytest.fixture(scope="module")
def house(stack, tmp_path_factory):
    """The stack with an instance that runs; `do` follows the page beside its files."""
    stack.model = stack.launch("kept", "--engine", "simulator")
    folder = tmp_path_factory.mktemp("backup")
    os.chmod(folder, 0o700)
    compose = os.path.join(TREE, "deploy/compose/compose.yaml")
    dc = f"docker compose -p {stack.project} -f {compose}"
    words = {"dc": dc, "ecolink": f"{dc} run --rm -T -e ECOLINK_API_KEY={stack.env['ECOLINK_ADMIN_KEY']} cli"}
    stack.do = lambda heading: run("operations.md", heading, "compose", words, folder, stack.env)
    stack.backup = folder
    return stack


def instance(house):
    return next(i for i in json.loads(house.cli("ps", "--json"))["data"] if i["model"] == house.model)


def answers(house):
    house.until("it answers", lambda: house.chat(house.model, max_tokens=4).startswith("HTTP/1.1 200"))


def wallet(house):
    """What the ledger has of it: (type, amount, balance afterwards) of each entry, the newest first."""
    return [(t["type"], t["amount"], t["balance_after"]) for t in json.loads(house.cli("transactions", "--json"))["data"]]


def secret(house, name):
    return house("run", "--rm", "-T", "--no-deps", "--entrypoint", "cat", "account", f"/secrets/{name}")


def test_metrics_are_read_from_inside_the_network(house):
    answers(house)
    assert "\necolink_gateway_" in house.do("Read the metrics")


def test_one_more_region_is_a_row(house):
    house.do("Add a region")
    house.until("it is seen", lambda: any(r["name"] == "local-c" and r["status"] == "available" for r in json.loads(house.cli("regions", "--json"))["data"]))


def test_rotated_passwords_are_new_and_everything_goes_on(house):
    names = ("nats_gateway", "pg_billing_app", "pg_registry_app")
    before, entries = {name: secret(house, name) for name in names}, wallet(house)
    house.do("Rotate keys")
    after = {name: secret(house, name) for name in names}
    assert {name for name in names if after[name] != before[name]} == {"nats_gateway", "pg_billing_app"} and all(after.values())
    answers(house)
    assert instance(house)["status"] == "running" and wallet(house) == entries
    house.cli("models", "create", "made-after-rotation", "--source", "container")  # registry and billing take changes


def test_what_was_backed_up_comes_back_and_nothing_else(house):
    house.do("Back up")
    assert sorted(os.listdir(house.backup)) == ["ecolink.dump", "secrets.tar"]
    assert stat.S_IMODE(os.stat(house.backup / "secrets.tar").st_mode) == 0o600
    entries, known = wallet(house), secret(house, "seal_secret")
    house.cli("models", "create", "made-after-backup", "--source", "container")
    house.do("Restore")
    assert secret(house, "seal_secret") == known
    assert {m["name"] for m in json.loads(house.cli("models", "list", "--json"))["data"]} >= {"kept", "made-after-rotation"}
    assert "made-after-backup" not in house.cli("models", "list")
    house.until("the instance runs anew", lambda: instance(house)["status"] == "running" and instance(house)["ready_replicas"] == 2)
    answers(house)
    assert wallet(house) == entries


def test_the_restored_house_settles_what_was_held(house):
    house.cli("stop", str(instance(house)["id"]))
    house.until("the rest of its hold is back", lambda: wallet(house)[0][0] == "refund")
