"""`docker compose up` gives a whole stack that serves a model, keeps its state, and publishes nothing but the gateway."""
import json
import subprocess

from conftest import docker

SERVICES = {"registry", "scheduler", "billing", "health", "gateway"}
ONE_SHOTS = {"secrets", "database", "migrate-registry", "migrate-scheduler", "migrate-billing", "migrate-health"}


def test_every_part_becomes_healthy_and_every_one_shot_ends_well(stack):
    found = stack.containers()
    assert set(found) == SERVICES | ONE_SHOTS | {"postgres", "nats"}
    for name in SERVICES | {"postgres", "nats"}:
        assert found[name]["State"]["Health"]["Status"] == "healthy", name
    for name in ONE_SHOTS:
        assert (found[name]["State"]["Status"], found[name]["State"]["ExitCode"]) == ("exited", 0), name


def test_only_the_gateway_is_published_and_to_this_machine_alone(stack):
    published = {name: [b for bindings in (c["HostConfig"]["PortBindings"] or {}).values() for b in bindings]
                 for name, c in stack.containers().items()}
    assert {name for name, bindings in published.items() if bindings} == {"gateway"}
    assert [b["HostIp"] for b in published["gateway"]] == ["127.0.0.1"]


def test_containers_have_read_only_roots_no_rights_and_no_shell(stack):
    for name, c in stack.containers().items():
        assert c["HostConfig"]["ReadonlyRootfs"], name
        assert c["HostConfig"]["CapDrop"] == ["ALL"] and "no-new-privileges:true" in c["HostConfig"]["SecurityOpt"], name
        if name not in ("scheduler", "secrets"):
            assert c["Config"]["User"] == "65532:65532" and not c["HostConfig"]["CapAdd"], name
    for name in SERVICES | {"nats"}:
        shell = subprocess.run(["docker", "exec", stack.containers()[name]["Id"], "/bin/sh", "-c", "true"], capture_output=True, text=True, check=False)
        assert shell.returncode != 0 and "no such file" in (shell.stdout + shell.stderr).lower(), name


def test_each_part_knows_its_own_secrets_alone(stack):
    """What a container could read, by file, from the volumes that it mounts."""
    seen = {}
    for name, c in stack.containers().items():
        volumes = [m for m in c["Mounts"] if "secrets" in m.get("Name", "")]
        for m in volumes:
            assert name == "secrets" or not m["RW"], (name, m["Name"])
        seen[name] = {m["Name"].removeprefix(stack.project + "_") for m in volumes}
    for name in SERVICES | {"postgres", "nats"}:
        assert seen[name] == {f"secrets-{name}"}, name
    assert seen["database"] == {"secrets"}
    for service in ("registry", "scheduler", "billing", "health"):
        assert seen[f"migrate-{service}"] == {f"secrets-migrate-{service}"}
    # and no environment holds one
    for name, c in stack.containers().items():
        for line in c["Config"]["Env"]:
            key, _, value = line.partition("=")
            assert not any(word in key for word in ("PASSWORD", "SECRET", "KEY", "DATABASE_URL")) or key.endswith("_FILE"), (name, key)
            assert "postgresql://" not in value, (name, key)


def test_a_model_is_launched_in_two_regions_and_streams_through_the_gateway(stack):
    model = stack.launch("hello", "--engine", "simulator")
    text = stack.chat(model, stream=True)
    assert text.startswith("HTTP/1.1 200") and "x-ecolink-region: local-" in text
    events = [json.loads(line[6:]) for line in text.splitlines() if line.startswith("data: {")]
    said = "".join(choice["delta"].get("content") or "" for event in events for choice in event["choices"])
    assert said.startswith("This is the simulator speaking") and text.rstrip().endswith("data: [DONE]")
    instance = next(i for i in json.loads(stack.cli("ps", "--json"))["data"] if i["model"] == model)
    assert (instance["status"], instance["ready_replicas"]) == ("running", 2)
    assert {r["region"] for r in instance["replicas"]} == {"local-a", "local-b"}


def test_engines_run_under_user_numbers_of_their_own(stack):
    rows = docker("top", stack.containers()["scheduler"]["Id"], "-eo", "pid,uid,args").splitlines()[1:]
    engines = [int(row.split()[1]) for row in rows if "ecolink-simulator" in row]
    assert engines and all(50000 <= uid < 60000 for uid in engines), rows


def test_state_survives_down_and_up(stack):
    before = stack.env["ECOLINK_API_KEY"]
    stack("down", "--timeout", "40")
    assert not stack.containers()
    stack.up()
    assert [line for line in stack("run", "--rm", "-T", "account").splitlines() if before in line]
    instance = stack.until("the instance runs again", lambda: next(
        (i for i in json.loads(stack.cli("ps", "--json"))["data"] if i["model"].startswith("hello:") and i["status"] == "running"), None))
    stack.until("it answers", lambda: stack.chat(instance["model"]).startswith("HTTP/1.1 200"))
    stack.cli("stop", str(instance["id"]))
    stack.until("the rest of its hold is back", lambda: {"topup", "hold", "refund"} <= {
        t["type"] for t in json.loads(stack.cli("transactions", "--json"))["data"]})


def test_a_wrong_key_is_refused(stack):
    assert stack.curl("/v1/models", "-H", "Authorization: Bearer eco_wrong").startswith("HTTP/1.1 401")


def test_nothing_is_left_after_down_with_volumes(stack):
    stack("down", "-v", "--timeout", "20")
    label = f"label=com.docker.compose.project={stack.project}"
    assert docker("ps", "-aq", "--filter", label) == docker("volume", "ls", "-q", "--filter", label) == docker("network", "ls", "-q", "--filter", label) == ""


def test_a_real_language_model_answers(llama_stack):
    model = llama_stack.launch("smollm2", "--engine", "llama.cpp", *(f"--arg={word}" for word in ("-m", "/src/.cache/engine/model.gguf", "-c", "2048", "-t", "1")))
    text = llama_stack.chat(model, stream=True, max_tokens=24, temperature=0)
    said = "".join(choice["delta"].get("content") or "" for line in text.splitlines() if line.startswith("data: {")
                   for choice in json.loads(line[6:])["choices"])
    assert len(said.split()) >= 3 and "simulator" not in said, text
