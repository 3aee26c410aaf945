"""One measurement by the rig: a process on its own core that is load generator and backend at once."""
import json
import subprocess

from proxies import BUILD, PROXY_CORE, RIG_CORE

BINARY = BUILD / "bin" / "bench-rig"


class Failed(Exception):
    """The rig saw errors: this is no figure."""


def run(backend, target, pids=(), headers=(), **options):
    """options: the rig's, with underscores; True is a flag. Returns what it printed."""
    command = [BINARY, "run", "--backend", backend, "--target", target, "--proxy-core", PROXY_CORE]
    for pid in pids:
        command += ["--pid", pid]
    for header in headers:
        command += ["--header", header]
    for name, value in options.items():
        name = "--" + name.replace("_", "-")
        command += [name] if value is True else [] if value is None else [name, value]
    done = subprocess.run(["taskset", "-c", str(RIG_CORE), *map(str, command)], capture_output=True, text=True, timeout=300, check=False)
    if done.returncode != 0:
        raise Failed(done.stderr.strip() or f"status {done.returncode}")
    return json.loads(done.stdout)


def snapshot(backend, path):
    with open(path, "w", encoding="ascii") as out:
        subprocess.run([str(BINARY), "snapshot", "--backend", backend], stdout=out, check=True)
