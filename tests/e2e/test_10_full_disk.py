"""A full disk under JetStream: a real one, a small file system that is filled to its last byte. Has a stack of its own."""
import errno
import os
import subprocess
import tempfile

import pytest
from eco.stack import Stack
from eco.waiting import wait

DISK = "24m"


@pytest.fixture(scope="module")
def stack():
    if os.geteuid() != 0:
        pytest.skip("needs root to mount a small file system")
    s = Stack(tempfile.mkdtemp(prefix="ecolink-disk-"))
    disk = s.state / "nats/data"
    disk.mkdir(parents=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={DISK},mode=0777", "tmpfs", str(disk)], check=True)
    try:
        s.up()
        yield s
    finally:
        try:
            s.down()
        finally:
            subprocess.run(["umount", "-l", str(disk)], check=False)
            s.remove()


def fill(file):
    """Appends until nothing fits any more. The server frees a page now and then, so once is not enough."""
    with open(file, "ab", buffering=0) as f:
        try:
            while True:
                f.write(b"\0" * 4096)
        except OSError as e:
            assert e.errno == errno.ENOSPC


def usage_of(client, instance):
    rows = client.ok("GET", "/billing/usage", params={"limit": 1000})["data"]
    return sum(r["requests"] for r in rows if r["instance_id"] == instance["id"])


def test_a_full_disk_under_jetstream_costs_time_and_nothing_else(stack, tenant):
    """Calls go on, launches are taken and run; when there is room again everything that waited arrives, each once."""
    before = tenant.run(tenant.hf_model())
    calls = 1 + sum(tenant.chat(before["model"], max_tokens=2).status_code == 200 for _ in range(4))
    wait(lambda: usage_of(tenant, before) >= calls, "usage while there is room")

    filler = stack.state / "nats/data/filler"

    def one_call_on_a_full_disk():
        nonlocal calls
        fill(filler)
        answer = tenant.chat(before["model"], max_tokens=2)
        assert answer.status_code == 200, answer.text
        calls += 1
        return "no space left on device" in stack.log("nats") and "usage stays in the spool" in stack.log("gateway")

    wait(one_call_on_a_full_disk, "the stream and the gateway to find the disk full", 30)
    for _ in range(10):
        one_call_on_a_full_disk()
    # What needs no stream goes on: the launch is answered, paid for and run. Only its route cannot reach the gateway.
    during = tenant.launch(tenant.hf_model())
    tenant.wait_running(during["id"])

    filler.unlink()
    stack.kill("nats")  # the server switches JetStream off when its disk is full: it comes back with a restart
    stack.start("nats")
    stack.heal()
    wait(lambda: tenant.chat(during["model"]).status_code == 200, "the route that waited", 60)
    wait(lambda: usage_of(tenant, before) == calls, "the usage that waited", 60)
    assert usage_of(tenant, before) == calls
    stack.wait_proved(2)  # uptime counts in whole seconds: below one, the cost may be nothing
    for instance in (before, during):
        tenant.stop(instance["id"])
    for instance in (before, during):
        rows = tenant.settled(instance["id"], 60)
        cost = sum(r["amount_micros"] for r in rows if r["type"] == "gpu_usage")
        assert sum(r["amount_micros"] for r in rows) == cost < 0
