"""Adds up the JUnit files of a test run: names what failed and what was skipped, and ends with one line for everything.

usage: summary.py [--part] <results directory...>. Reads *.xml (ctest, pytest), *.broken (a layer that did not get through, one
line each), counts/* (how many of something were tried, tests/shared/tier.py) and sanitizer/* (reports of any process). Exit
status 1 on a failure, or on a skip when CI=true. --part: the line says that more follows.
"""
import collections
import json
import os
import pathlib
import sys
import xml.etree.ElementTree as ET


def cases(path):
    """Yields (name, verdict, reason) for each test case of one JUnit file."""
    for case in ET.parse(path).iter("testcase"):
        name = ".".join(filter(None, (case.get("classname"), case.get("name"))))
        if case.get("classname") == case.get("name"):  # ctest repeats the name as class
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


def counts(results):
    """The counts that tests told, summed by what was counted: several processes may each have done a share."""
    told = collections.defaultdict(list)
    for path in sorted((results / "counts").glob("*.jsonl")):
        for line in path.read_text().splitlines():
            row = json.loads(line)
            told[row["what"], row["tier"], row["least"]].append(row["done"])
    return {key: max(done) for key, done in told.items()}


def report_head(path):
    lines = [line for line in path.read_text(errors="replace").splitlines() if line.strip("= ")][:12]
    return f"FAILED   sanitizer report {path}\n" + "\n".join("           " + line for line in lines)


def add_up(results, count, lines):
    """Adds one run's results to `count`, and what is to be told of them to `lines`."""
    before = sum(count.values())
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
        lines.append(report_head(path))
    for (what, tier, least), done in sorted(counts(results).items()):
        lines.append(f"count    {done} {what} (tier {tier}, at least {least})")
        if done < least:
            count["failed"] += 1
            lines.append(f"FAILED   too few {what}: {done} of {least}")
    if sum(count.values()) == before:
        count["failed"] += 1
        lines.append(f"FAILED   no test ran ({results})")


def main():
    part = "--part" in sys.argv
    count = {"passed": 0, "failed": 0, "skipped": 0}
    lines = []
    for name in (a for a in sys.argv[1:] if a != "--part"):
        add_up(pathlib.Path(name), count, lines)
    if lines:
        print("\n".join(lines))
    strict = os.environ.get("CI") == "true"
    if strict and count["skipped"]:
        print("CI counts a skip as a failure")
    told = f"{count['passed']} passed, {count['failed']} failed, {count['skipped']} skipped"
    print(f"so far: {told.replace(',', ' and', 1)}" if part else told)
    return 1 if count["failed"] or (strict and count["skipped"]) else 0


sys.exit(main())
