"""The local stack's own rules: what counts as running."""
import ctypes
import os
import pathlib
import signal
import subprocess
import sys
import threading
import time

import ports
from eco.client import Client
from eco.stack import TREE, Stack
from eco.waiting import wait

# The first thread ends, another goes on: what a killed service looks like while its last thread still closes its sockets.
HEADLESS = "import ctypes, signal, threading; threading.Thread(target=signal.pause).start(); ctypes.CDLL(None).syscall(60, 0)"


def runs_by_the_stack(state):
    script = f'STATE={state}; . {TREE}/deploy/local/lib/process.sh; alive part'
    return subprocess.run(["bash", "-c", script], check=False).returncode == 0


def state_of(pid):
    return pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()


def test_a_process_that_still_has_threads_has_not_ended(tmp_path):
    """Its addresses are still in use: whoever starts the next one now is refused."""
    assert ctypes.sizeof(ctypes.c_void_p) == 8 and sys.platform == "linux"  # exit is call number 60
    child = subprocess.Popen([sys.executable, "-c", HEADLESS], start_new_session=True)
    try:
        wait(lambda: state_of(child.pid)[0] == "Z", "the end of the first thread")
        (tmp_path / "run").mkdir()
        (tmp_path / "run/part.pid").write_text(f"{child.pid}\n")
        (tmp_path / "run/.part.started").write_text(f"{state_of(child.pid)[19]}\n")
        assert Stack.lives(child.pid) and runs_by_the_stack(tmp_path)
    finally:
        child.send_signal(signal.SIGKILL)
    wait(lambda: not Stack.lives(child.pid), "the end")
    assert not runs_by_the_stack(tmp_path)
    child.wait()


def test_the_gateway_is_replaced_while_it_serves(stack):
    """stack replace: another process at the same ports, and no request fails meanwhile."""
    before, answers, done = stack.pid("gateway"), [], threading.Event()

    def ask():
        client = Client(stack.url, stack.admin_key)
        while not done.is_set():
            try:
                answers.append(client.get("/regions").status_code)
            except OSError as e:
                answers.append(repr(e))
            time.sleep(0.2)  # act: below the key's rate limit

    asking = threading.Thread(target=ask)
    asking.start()
    try:
        assert f"took over from {before}" in stack.run("replace")
    finally:
        done.set()
        asking.join()
    assert set(answers) == {200} and stack.pid("gateway") != before and not Stack.lives(before) and stack.ready("gateway")


def test_a_range_of_ports_is_kept_to_and_a_wrong_one_is_told(stack, tmp_path):
    first, last = (int(x) for x in ports.stack_range().split("-"))
    assert all(first <= port <= last for port in stack.ports.values()), stack.ports
    def refusal(ports_wanted):
        env = {**os.environ, "ECOLINK_STATE_DIR": str(tmp_path / "state"), "ECOLINK_PORT_RANGE": ports_wanted}
        done = subprocess.run([TREE / "deploy/local/stack", "up"], env=env, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60)
        assert done.returncode != 0
        return done.stdout + done.stderr
    for wrong in ("19999", "a-b", "10000-19999 ", "20000-10000", "60000-65536"):
        assert f"ECOLINK_PORT_RANGE is no range of ports: {wrong}" in refusal(wrong)
    assert "no free port found in 10000-10003" in refusal("10000-10003")  # eight are needed
