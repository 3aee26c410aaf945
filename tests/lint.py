"""Rules of the tests that no compiler checks: nothing is retried, nothing waits by sleeping, and every mutant is told of.

A sleep stands in tests/shared/polling.py, or says in a comment on its line what it is for (`# act: ...`, `# absence: ...`).
Mutants have their row in docs/testing.md; `lint.py --write` puts what is missing there.
"""
import pathlib
import re
import sys

TESTS = pathlib.Path(__file__).resolve().parent
HERE = ("shared/polling.py", "lint.py")
SLEEP = re.compile(r"\bsleep\(")
SAID = re.compile(r"# (act|absence): \w")
PAGE = TESTS.parent / "docs/testing.md"
ROW = re.compile(r"^\| `(.+?)` \|.*\n", re.MULTILINE)
RETRY = re.compile(r"\bflaky\b|rerunfailures|--reruns|mark\.(flaky|repeat)|\bxfail\b")


def complaints(path):
    name = str(path.relative_to(TESTS))
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        if path.suffix == ".py" and SLEEP.search(line) and not SAID.search(line):
            yield f"tests/{name}:{number}: a sleep that does not say what it is for (wait with a condition: tests/shared/polling.py)"
        if RETRY.search(line):
            yield f"tests/{name}:{number}: no test is retried or expected to fail"


def row(patch):
    """A mutant's line in the table, from its first two."""
    with open(patch, encoding="utf-8") as f:
        breaks, test = (f.readline().split(": ", 1)[1].rstrip() for _ in range(2))
    layer, where = test.split(" ", 1)
    red = f"kept corpus of `{where}`" if layer == "fuzz" else " ".join(f"`{word}`" for word in where.replace("::", " ").split())
    return f"| `{patch.stem}` | {breaks} | {red} |\n"


def mutants_untold(write):
    text = PAGE.read_text(encoding="utf-8")
    head = text.index("| mutant | breaks | must turn red |\n")
    first = text.index("\n", text.index("\n", head) + 1) + 1
    told = re.match(f"(?:{ROW.pattern[1:]})*", text[first:], re.MULTILINE)[0]
    wanted = "".join(row(patch) for patch in sorted(TESTS.glob("mutants/*.patch")))
    if write:
        PAGE.write_text(text[:first] + wanted + text[first + len(told):], encoding="utf-8")
    elif told != wanted:
        yield "docs/testing.md: the table of mutants is not what tests/mutants has (tests/lint.py --write)"


def main():
    files = [p for p in TESTS.rglob("*") if p.suffix in (".py", ".ini", ".txt") and str(p.relative_to(TESTS)) not in HERE
             and not {"node_modules", "__pycache__"} & set(p.parts)]
    found = [c for path in sorted(files) for c in complaints(path)]
    found += mutants_untold("--write" in sys.argv[1:])
    print("\n".join(found) if found else f"{len(files)} test files: no retry, no bare sleep; mutants are told")
    return 1 if found else 0


sys.exit(main())
