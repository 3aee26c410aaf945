"""Rules of the tests that no compiler checks: nothing is retried, and nothing waits by sleeping.

A sleep stands in tests/shared/polling.py, or says in a comment on its line what it is for (`# act: ...`, `# absence: ...`).
"""
import pathlib
import re
import sys

TESTS = pathlib.Path(__file__).resolve().parent
HERE = ("shared/polling.py", "lint.py")
SLEEP = re.compile(r"\bsleep\(")
SAID = re.compile(r"# (act|absence): \w")
RETRY = re.compile(r"\bflaky\b|rerunfailures|--reruns|mark\.(flaky|repeat)|\bxfail\b")


def complaints(path):
    name = str(path.relative_to(TESTS))
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        if path.suffix == ".py" and SLEEP.search(line) and not SAID.search(line):
            yield f"tests/{name}:{number}: a sleep that does not say what it is for (wait with a condition: tests/shared/polling.py)"
        if RETRY.search(line):
            yield f"tests/{name}:{number}: no test is retried or expected to fail"


def main():
    files = [p for p in TESTS.rglob("*") if p.suffix in (".py", ".ini", ".txt") and str(p.relative_to(TESTS)) not in HERE
             and not {"node_modules", "__pycache__"} & set(p.parts)]
    found = [c for path in sorted(files) for c in complaints(path)]
    print("\n".join(found) if found else f"{len(files)} test files: no retry, no bare sleep")
    return 1 if found else 0


sys.exit(main())
