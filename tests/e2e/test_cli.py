"""The command-line client against a real stack: what people type, what they see, and the exit codes that scripts rely on."""

import json
import os
import pty
import re
import select
import signal
import subprocess
import time

import pytest

from management import BUILD, LocalStack, eventually

CLI = os.path.join(BUILD, "bin", "ecolink")


class Cli:
    """`ecolink` with a configuration folder of its own."""

    def __init__(self, url, key, folder):
        self.env = {name: value for name, value in os.environ.items() if not name.startswith("ECOLINK_")}
        self.env |= {"XDG_CONFIG_HOME": str(folder), "TERM": "xterm"}
        self.env.pop("NO_COLOR", None)
        if url:
            self.env["ECOLINK_URL"] = url
        if key:
            self.env["ECOLINK_API_KEY"] = key

    def run(self, *args, code=0, stdin="", timeout=120):
        done = subprocess.run([CLI, *map(str, args)], env=self.env, input=stdin, capture_output=True, text=True,
                              timeout=timeout, check=False)
        assert done.returncode == code, f"ecolink {args}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done

    def out(self, *args, **more):
        return self.run(*args, **more).stdout

    def json(self, *args, **more):
        return json.loads(self.out("--json", *args, **more))

    def on_terminal(self, *args, typed=(), timeout=60):
        """Runs on a pseudo-terminal. typed: (text to wait for, what to type then). Returns (screen bytes, exit code)."""
        pid, fd = pty.fork()
        if pid == 0:
            os.execve(CLI, [CLI, *map(str, args)], self.env)
        screen, waiting, end, looked = b"", list(typed), time.monotonic() + timeout, 0
        while time.monotonic() < end:
            if waiting and waiting[0][0] in screen[looked:]:
                looked = len(screen)
                os.write(fd, waiting.pop(0)[1])
            if select.select([fd], [], [], 0.1)[0]:
                try:
                    piece = os.read(fd, 65536)
                except OSError:
                    piece = b""
                if not piece:
                    break
                screen += piece
        else:
            os.kill(pid, signal.SIGKILL)
        os.close(fd)
        return screen, os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


@pytest.fixture(scope="module")
def stack():
    local = LocalStack()
    try:
        yield local.up()
    finally:
        local.close()


@pytest.fixture(scope="module")
def cli(stack, tmp_path_factory):
    return Cli(stack["ECOLINK_URL"], stack["ECOLINK_API_KEY"], tmp_path_factory.mktemp("cli"))


@pytest.fixture(scope="module")
def operator(stack, tmp_path_factory):
    return Cli(stack["ECOLINK_URL"], stack["ECOLINK_ADMIN_KEY"], tmp_path_factory.mktemp("operator"))


def launch(cli, model, *args, **more):
    instance = cli.json("launch", model, "-e", "simulator", "-g", "local-cpu", "--wait", *args, **more)
    return instance["id"], instance["model"]


def test_login_keeps_url_and_key_for_later_commands(stack, tmp_path):
    cli = Cli(None, None, tmp_path)
    cli.run("login", stack["ECOLINK_URL"] + "/", "--key-stdin", stdin=stack["ECOLINK_API_KEY"] + "\n")
    stored = tmp_path / "ecolink" / "config"
    assert stored.stat().st_mode & 0o777 == 0o600
    assert "$1000.00" in cli.out("balance")
    other = cli.run("balance", "--url", stack["ECOLINK_URL"].replace("127.0.0.1", "localhost"), code=4)
    assert "no API key is set for this URL" in other.stderr  # the stored key stays with its own host
    cli.run("logout")
    cli.run("balance", code=4)


def test_login_refuses_a_wrong_key_and_stores_nothing(stack, tmp_path):
    cli = Cli(None, None, tmp_path)
    wrong = cli.run("login", stack["ECOLINK_URL"], "--key-stdin", stdin="eco_" + "0" * 52, code=4)
    assert "nothing was stored" in wrong.stderr
    assert "that is no API key" in cli.run("login", "--key-stdin", stdin="sk-123", code=2).stderr
    assert not (tmp_path / "ecolink").exists()


def test_login_on_a_terminal_does_not_show_the_key(stack, tmp_path):
    key = stack["ECOLINK_API_KEY"].encode()
    screen, code = Cli(None, None, tmp_path).on_terminal("login", stack["ECOLINK_URL"], typed=[(b"not shown", key + b"\n")])
    assert code == 0 and b"Logged in" in screen
    assert key not in screen


def test_the_whole_life_of_an_instance(cli):
    assert "my-llama" in cli.out("models", "create", "my-llama")
    quote = cli.json("launch", "my-llama", "-e", "simulator", "-g", "l40s", "--dry-run")
    assert quote["hold"] == "76.80"
    done = cli.run("launch", "my-llama", "-e", "simulator", "-g", "l40s", "--wait", "--arg=--start-delay-ms=1500")
    assert "Talk to it:  ecolink chat my-llama:" in done.stdout
    assert "provisioning" in done.stderr and "running" in done.stderr
    model = re.search(r"my-llama:\d+", done.stdout).group()
    number = int(model.split(":")[1])
    assert "2/2" in cli.out("wait", model, "--for", "ready", "--wait-timeout", "60s")
    assert model in cli.out("ps")
    assert cli.json("show", model)["id"] == cli.json("show", number)["id"] == number
    assert "simulator" in cli.out("chat", model, "Hello", "there")
    assert "simulator" in cli.out("chat", model, stdin="from a pipe")
    assert "first token after" in cli.run("chat", model, "Hello", "--stats").stderr
    assert cli.json("chat", model, "Hello", "--no-stream")["choices"][0]["message"]["content"]
    assert "serves model my-llama" in cli.out("logs", model)
    assert "launch.accepted" in cli.out("events", model)
    refused = cli.run("models", "delete", "my-llama", code=1)
    assert "(in_use)" in refused.stderr and "request id: req_" in refused.stderr
    restarted = cli.run("restart", model, "--wait", "--wait-timeout", "60s")
    assert restarted.stderr.count("is being restarted") == 2 and "2/2" in restarted.stdout
    assert "stopped" in cli.out("stop", model, "--wait")
    assert model not in cli.out("ps") and model in cli.out("ps", "--all")
    assert "instance.stopped" in cli.out("events", model, "--follow")  # an ended instance's stream ends
    assert "ending on signal" in cli.out("logs", model, "-f")
    cli.run("chat", model, "Hello", code=1)
    ledger = eventually(lambda: (rows := cli.json("transactions", "--instance", number)["data"]) and
                        rows[0]["type"] == "refund" and rows, timeout=20)
    assert [row["type"] for row in ledger] == ["refund", "gpu_usage", "hold_release", "hold"]
    assert cli.out("transactions", "--csv").splitlines()[0].startswith("id,created_at,type,")
    cli.run("models", "delete", "my-llama")


def test_a_terminal_shows_progress_in_place(cli):
    cli.run("models", "create", "shown")
    screen, code = cli.on_terminal("launch", "shown", "-e", "simulator", "-g", "local-cpu", "-w",
                                   "--arg=--start-delay-ms=2500")
    assert code == 0
    assert b"\x1b[3A\x1b[J" in screen, "the three lines are redrawn"
    assert b"local-a" in screen and b"local-b" in screen and b"\x1b[32mrunning" in screen
    number = re.search(rb"shown:(\d+)", screen).group(1).decode()
    plain, code = cli.on_terminal("show", number, "--no-color")
    assert code == 0 and b"\x1b[" not in plain
    cli.run("stop", number)


def test_ctrl_c_ends_the_wait_and_not_the_instance(cli):
    cli.run("models", "create", "patient")
    screen, code = cli.on_terminal("launch", "patient", "-e", "simulator", "-g", "local-cpu", "-w",
                                   "--arg=--start-delay-ms=3000", typed=[(b"starting", b"\x03")])
    assert code == 130 and b"no longer waiting" in screen
    number = re.search(rb"patient:(\d+)", screen).group(1).decode()
    assert "running" in cli.out("wait", number, "--wait-timeout", "60s")
    cli.run("stop", number)


def test_waiting_for_what_cannot_happen_is_exit_5(cli):
    cli.run("models", "create", "broken")
    slow = cli.run("launch", "broken", "-e", "simulator", "-g", "local-cpu", "-w", "--wait-timeout", "2s",
                   "--arg=--start-delay-ms=60000", code=5)
    assert "is not running after 2s" in slow.stderr
    number = re.search(r"broken:(\d+)", slow.stderr).group(1)
    cli.run("stop", number)
    ended = cli.run("wait", number, code=5)
    assert "user_requested" in ended.stderr and f"ecolink logs {number}" in ended.stderr
    assert cli.run("wait", number, "--for", "ready", code=5).stderr
    cli.run("wait", number, "--for", "stopped", "--wait-timeout", "60s")


def test_a_conversation_on_a_terminal(cli):
    cli.run("models", "create", "talker")
    number, model = launch(cli, "talker", "--arg=--token-ms=20")
    screen, code = cli.on_terminal("chat", model, typed=[(b"> ", b"hello\n"), (b"> ", b"/clear\n"), (b"> ", b"again\n"),
                                                        (b"> ", b"/exit\n")])
    assert code == 0 and screen.count(b"simulator") >= 2
    screen, code = cli.on_terminal("chat", model, typed=[(b"> ", b"\x04")])
    assert code == 0
    cli.run("stop", number)


def test_a_key_lives_as_long_as_it_was_given(cli, stack, tmp_path):
    key = cli.json("keys", "create", "ci", "--role", "inference", "--expires", "30d", "--rate-limit", "50", "--spend-cap", "2.50")
    assert key["rate_limit_per_minute"] == 50 and key["spend_cap_micros"] == 2500000 and key["expires_at"]
    assert "is not shown again" in cli.run("keys", "create", "once").stderr
    limited = Cli(stack["ECOLINK_URL"], key["key"], tmp_path)
    eventually(lambda: limited.run("regions") if key["key"] else None)
    assert "(forbidden)" in limited.run("models", "list", code=4).stderr
    cli.run("keys", "revoke", "ci")

    def revoked():
        return subprocess.run([CLI, "regions"], env=limited.env, capture_output=True, check=False).returncode == 4

    eventually(revoked)


def test_lists_are_paged_and_joined(cli):
    for i in range(5):
        cli.run("keys", "create", f"many-{i}")
    page = cli.json("keys", "list", "--limit", "2")
    assert len(page["data"]) == 2 and page["has_more"]
    assert "--cursor" in cli.run("keys", "list", "--limit", "2").stderr
    rest = cli.json("keys", "list", "--all", "--cursor", page["next_cursor"])
    everything = cli.json("keys", "list", "--all")
    assert [k["id"] for k in page["data"] + rest["data"]] == [k["id"] for k in everything["data"]]


def test_operators_open_accounts_and_set_prices(operator, stack, tmp_path):
    made = operator.json("admin", "accounts", "create", "acme", "--owner-email", "owner@acme.test")
    assert operator.json("admin", "topup", "acme", "25.5")["balance_after"] == "25.50"
    owner = Cli(stack["ECOLINK_URL"], made["api_key"]["key"], tmp_path)
    assert "$25.50" in eventually(lambda: owner.out("balance"))
    operator.run("admin", "gpu-types", "put", "b200", "--hourly-rate", "6.50", "--memory-gb", "192")
    operator.run("admin", "regions", "put", "local-c", "--driver", "process", "--gpu", "b200=4")
    assert "b200 4/4" in operator.out("admin", "regions", "show", "local-c")
    assert "b200" in owner.out("gpu-types")
    operator.run("admin", "regions", "delete", "local-c")
    operator.run("admin", "gpu-types", "delete", "b200")
    assert "(forbidden)" in owner.run("admin", "accounts", "list", code=4).stderr


def test_exit_codes_tell_who_is_at_fault(cli, stack, tmp_path):
    assert "did you mean \"models\"" in cli.run("modles", code=2).stderr
    assert "is missing" in cli.run("show", code=2).stderr
    assert "not_found" in cli.run("show", 999999, code=1).stderr
    assert "no model named" in cli.run("launch", "nothing-of-the-kind", code=1).stderr
    assert "cannot reach" in cli.run("ps", "--url", "http://127.0.0.1:1", code=3).stderr
    assert "ecolink login" in Cli(stack["ECOLINK_URL"], None, tmp_path).run("ps", code=4).stderr
    error = json.loads(cli.run("--json", "show", 999999, code=1).stdout)
    assert error["error"]["code"] == "not_found"
    nobody = Cli(None, None, tmp_path)
    assert "Usage: ecolink" in nobody.out("launch", "--help") and "Commands" in nobody.out()


def test_a_reader_that_leaves_ends_a_followed_log(cli):
    cli.run("models", "create", "chatty")
    number, _ = launch(cli, "chatty", "--arg=--log-ms=50")
    done = subprocess.run(["bash", "-c", f"timeout 30 {CLI} logs {number} -f | head -n 3"], env=cli.env,
                          capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0 and len(done.stdout.splitlines()) == 3
    cli.run("stop", number)


def test_the_shell_completes_commands_and_options(cli):
    script = """
    source <(ecolink completion bash)
    try() { COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _ecolink; echo "${COMPREPLY[*]}"; }
    try ecolink mod; try ecolink models cr; try ecolink launch --gpu-t; try ecolink launch -e vl
    """
    env = dict(cli.env, PATH=os.path.dirname(CLI) + ":" + cli.env["PATH"])
    done = subprocess.run(["bash", "-c", script], env=env, capture_output=True, text=True, timeout=30, check=False)
    assert done.stdout.split() == ["models", "create", "--gpu-type", "vllm"], done.stderr
