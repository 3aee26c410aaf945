"""Proof that what is tested is the sanitizer build: the binaries that a run starts, and each process that lives.

The runner sets ECOLINK_TEST_SANITIZER (address or thread); without it, in a quick run by hand on another build, nothing is asked.
"""
import functools
import mmap
import os
import pathlib

MARKS = {"address": b"__asan_init", "thread": b"__tsan_init"}
WANTED = os.environ.get("ECOLINK_TEST_SANITIZER", "")
assert WANTED == "" or WANTED in MARKS, f"ECOLINK_TEST_SANITIZER={WANTED}"


@functools.lru_cache(maxsize=None)
def is_sanitized(path, kind):
    with open(path, "rb") as f, mmap.mmap(f.fileno(), 0, access=mmap.ACCESS_READ) as content:
        return content.find(MARKS[kind]) >= 0


def check_binary(path):
    """Fails when the runner wants a sanitizer and this program was built without it."""
    assert not WANTED or is_sanitized(str(path), WANTED), f"{path} was built without the {WANTED} sanitizer"


def check_process(pid, *builds):
    """The process runs a program of one of the builds' bin folders, and that one is sanitized. One that has just ended proves nothing."""
    if not WANTED:
        return
    try:
        program = pathlib.Path(os.readlink(f"/proc/{pid}/exe"))
    except FileNotFoundError:
        return
    folders = [pathlib.Path(build).resolve() / "bin" for build in builds]
    assert program.parent in folders, f"process {pid} runs {program}, not a program of {' or '.join(map(str, builds))}"
    check_binary(program)
