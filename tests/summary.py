"""Adds up the JUnit files of a test run: names what failed and what was skipped, and ends with one line for everything.

usage: summary.py <results directory>. Reads *.xml (ctest, pytest), *.broken (a layer that did not get through, one line
each) and sanitizer/* (reports of any process). Exit status 1 on a failure, or on a skip when CI=true.
"""
import os
import pathlib
import sys
import xml.etree.ElementTree as ET


def cases(path):
    """Yields (name, verdict, reason) for each test case of one JUnit file."""
    for case in ET.parse(path).iter("testcase"):
        name = ".".join(filter(None, (case.get("classname"), case.get("name"))))
        if path.stem == "unit":  # ctest repeats the name as class
            name = case.get("name")
        verdict, reason = "passed", ""
        for child in case:
            if child.tag in ("failure", "error"):
                verdict, reason = "failed", child.get("message") or ""
            elif child.tag == "skipped" and verdict == "passed":
                verdict, reason = "skipped", child.get("message") or ""
        if case.get("status") in ("fail", "notrun", "disabled") and verdict == "passed":
            verdict = "failed" if case.get("status") == "fail" else "skipped"
        yield name, verdict, reason.splitlines()[0] if reason else ""


def main():
    results = pathlib.Path(sys.argv[1])
    count = {"passed": 0, "failed": 0, "skipped": 0}
    lines = []
    for path in sorted(results.glob("*.xml")):
        for name, verdict, reason in cases(path):
            count[verdict] += 1
            if verdict != "passed":
                lines.append(f"{verdict.upper():8} {path.stem}: {name}" + (f" ({reason})" if reason else ""))
    for path in sorted(results.glob("*.broken")):
        count["failed"] += 1
        lines.append(f"FAILED   {path.stem}: {path.read_text().strip()}")
    for path in sorted((results / "sanitizer").glob("*")):
        count["failed"] += 1
        head = [line for line in path.read_text(errors="replace").splitlines() if line.strip("= ")][:12]
        lines.append(f"FAILED   sanitizer report {path}\n" + "\n".join("           " + line for line in head))
    if not any(count.values()):
        count["failed"] = 1
        lines.append("FAILED   no test ran")
    if lines:
        print("\n".join(lines))
    print(f"{count['passed']} passed, {count['failed']} failed, {count['skipped']} skipped")
    strict = os.environ.get("CI") == "true"
    if strict and count["skipped"]:
        print("CI counts a skip as a failure", file=sys.stderr)
    return 1 if count["failed"] or (strict and count["skipped"]) else 0


sys.exit(main())
