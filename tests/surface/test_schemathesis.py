"""schemathesis against the live stack, from docs/api/openapi.yaml: not one 5xx, undocumented status, header, media type or schema
violation, no invalid request accepted, no valid one refused, no key ignored, no method taken that is not there.

It runs as a program of its own in its own virtual environment (tests/requirements-surface.txt); where that cannot be fetched the
tests are skipped by name. The seed is printed; ECOLINK_TEST_SEED repeats a run. Cases by tier: see CASES_MIN.
"""
import fcntl
import json
import os
import pathlib
import random
import re
import subprocess

import pytest

from conftest import TREE, named_operator, new_stack, printed
from eco.client import Client
from eco.waiting import wait

HERE = pathlib.Path(__file__).parent
VENV = TREE / ".cache/venv-surface"
# What each caller is good for in the quick tier; the others call everything with every key.
OWN_ROUTES = {"owner": "^/(?!admin|v1|inference-instances/{id}/proxy)", "operator": "^/(admin|regions|gpu-types)",
              "inference": "^/(v1|inference-instances/{id}/proxy|regions|platform)"}
PHASES = {"test": "examples,fuzzing", "ci": "examples,coverage,fuzzing,stateful", "soak": "examples,coverage,fuzzing,stateful"}
EXAMPLES = {"test": 3, "ci": 60, "soak": 300}
CASES_MIN = {"test": {"owner": 100, "operator": 80, "inference": 90},
             "ci": {"owner": 6000, "operator": 6000, "inference": 6000},
             "soak": {"owner": 20000, "operator": 20000, "inference": 20000}}
SECONDS_MAX = {"test": 240, "ci": 900, "soak": 7200}


@pytest.fixture(scope="session")
def program():
    """schemathesis in its environment, made when it is not there."""
    found = VENV / "bin/schemathesis"
    VENV.parent.mkdir(exist_ok=True)
    with open(f"{VENV}.lock", "w", encoding="ascii") as lock:  # one process makes it, the others wait
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not found.exists():
            try:
                subprocess.run(["/usr/bin/python3", "-m", "venv", VENV], check=True, capture_output=True)
                subprocess.run([VENV / "bin/pip", "install", "-q", "--disable-pip-version-check", "-r",
                                TREE / "tests/requirements-surface.txt"], check=True, capture_output=True, timeout=300)
            except (OSError, subprocess.SubprocessError) as e:
                pytest.skip(f"schemathesis cannot be fetched: {getattr(e, 'stderr', e)!r}")
    return found


@pytest.fixture(scope="module")
def stack():
    """Its own: regions, prices and accounts are changed at will here, and no other file would know its way about afterwards."""
    with new_stack() as s:
        yield s


@pytest.fixture(scope="module")
def world(stack, routes):
    """Two instances that run and one that has ended, keys of each kind, and what must not be taken away."""
    operator, owner = named_operator(stack), stack.account("1000000.00", "surface")
    chat = owner.launch(owner.hf_model("my-llama"))
    custom = owner.launch(owner.model("custom"), openai_compatible=False)
    ended = owner.launch(owner.model("ended"))
    for instance in (chat, custom, ended):
        owner.wait_running(instance["id"])
    wait(lambda: owner.chat(chat["model"]).status_code == 200, "the gateway's route")
    owner.stop(ended["id"])
    inference = owner.ok("POST", "/api-keys", 201, json={"name": "inference", "role": "inference",
                                                         "rate_limit_per_minute": 1000000})
    # An operator's key has the default limit: thirty of them take turns.
    operators = [stack.admin_key, operator.key]
    for i in range(28):
        operators.append(operator.ok("POST", "/admin/operators", 201, json={"name": f"operator {i}"})["key"])
    last = Client(stack.url, operators[-1])
    wait(lambda: last.get("/regions").status_code == 200, "the last operator's key")
    return {
        "callers": {"owner": [owner.key], "operator": operators, "inference": [inference["key"]]},
        # a key ends with its member, too: an owner may be removed as soon as an invitation made another one
        "keep": [row["id"] for path in ("/api-keys", "/members") for row in owner.ok("GET", path, params={"limit": 100})["data"]],
        "keep_instances": [str(chat["id"]), str(custom["id"])], "model": chat["model"], "custom": custom["id"],
        "ended": ended["id"], "account": owner.account_id, "model_id": owner.model("quoted")["id"],
        "errors": {e["code"]: [e["status"], e["type"]] for e in routes["errors"]},
    }


@pytest.mark.parametrize("caller", ["owner", "operator", "inference"])
def test_the_stack_does_what_the_document_says(caller, program, stack, world, tier, tmp_path):
    seed = int(os.environ.get("ECOLINK_TEST_SEED") or random.SystemRandom().randrange(1, 2**31))
    print(f"\nschemathesis as {caller}: ECOLINK_TEST_TIER={tier} ECOLINK_TEST_SEED={seed}")
    known = {k: v for k, v in world.items() if k != "callers"}
    (tmp_path / "world.json").write_text(json.dumps(known | {"keys": world["callers"][caller]}))
    command = [program, "--no-color", "--config-file", HERE / "schemathesis.toml", "run", TREE / "docs/api/openapi.yaml",
               "--url", stack.url, "--header", f"Authorization: Bearer {world['callers'][caller][0]}", "--seed", str(seed),
               "--phases", PHASES[tier], "--max-examples", str(EXAMPLES[tier]), "--request-timeout", "30",
               "--suppress-health-check", "all", "--continue-on-failure", "--warnings", "off"]
    if tier == "test":
        command += ["--include-path-regex", OWN_ROUTES[caller], "--no-shrink"]
    env = {k: v for k, v in os.environ.items() if not k.endswith("SAN_OPTIONS")} | {
        "SCHEMATHESIS_HOOKS": "schemathesis_hooks", "SURFACE_WORLD": str(tmp_path / "world.json"), "PYTHONPATH": str(HERE)}
    done = subprocess.run(command, cwd=tmp_path, env=env, timeout=SECONDS_MAX[tier], stdin=subprocess.DEVNULL,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    cases = re.search(r"(\d+) generated", done.stdout)
    print(done.stdout[done.stdout.find("= SUMMARY"):])
    assert done.returncode == 0, f"seed {seed}:\n{done.stdout}"
    assert cases and int(cases[1]) >= CASES_MIN[tier][caller], f"seed {seed}: {cases and cases[0]}"


def test_the_run_would_notice_an_undocumented_answer(program, stack, world, tmp_path):
    """The same run against a document that lacks a status, a member and a media type fails: the net has no hole."""
    text = (TREE / "docs/api/openapi.yaml").read_text()
    for cut in ("        held:\n", "        has_more:\n"):
        assert cut in text
    text = text.replace("        held:\n", "        held_by_nobody:\n", 1).replace("x-ecolink-request-id", "x-ecolink-other-id")
    (tmp_path / "bad.yaml").write_text(text)
    known = {k: v for k, v in world.items() if k != "callers"}
    (tmp_path / "world.json").write_text(json.dumps(known | {"keys": world["callers"]["owner"]}))
    env = dict(os.environ, SCHEMATHESIS_HOOKS="schemathesis_hooks", SURFACE_WORLD=str(tmp_path / "world.json"),
               PYTHONPATH=str(HERE))
    done = subprocess.run([program, "--no-color", "--config-file", HERE / "schemathesis.toml", "run", tmp_path / "bad.yaml",
                           "--url", stack.url, "--header", f"Authorization: Bearer {world['callers']['owner'][0]}", "--phases",
                           "fuzzing", "--max-examples", "1", "--include-path", "/billing/balance", "--warnings", "off"],
                          cwd=tmp_path, env=env, timeout=60, capture_output=True, text=True)
    assert done.returncode == 1, done.stdout
    assert "undocumented members" in done.stdout and "x-ecolink-other-id" in done.stdout, done.stdout
