"""How much a test tries, and the proof that it did.

    ECOLINK_TEST_TIER = test (default: minutes) | ci (all of it) | soak (by hand, for hours)

    SCHEDULES = tier.scaled(test=20, ci=300, soak=3000)
    ...
    tier.counted("random fault schedules", done, least=SCHEDULES)      prints the count; fails when it is below
"""
import json
import os
import pathlib

TIERS = ("test", "ci", "soak")
NAME = os.environ.get("ECOLINK_TEST_TIER", "test")
assert NAME in TIERS, f"ECOLINK_TEST_TIER={NAME}: none of {', '.join(TIERS)}"


def scaled(test, ci, soak=None):
    """The number for this tier; `soak` defaults to ci's."""
    return {"test": test, "ci": ci, "soak": ci if soak is None else soak}[NAME]


def counted(what, done, least):
    """Tells the runner how many were done, for its summary. A count below `least` is a failure here and there."""
    print(f"count: {done} {what} (at least {least})")
    results = os.environ.get("ECOLINK_TEST_RESULTS")
    if results:
        folder = pathlib.Path(results) / "counts"
        folder.mkdir(parents=True, exist_ok=True)
        line = json.dumps({"what": what, "done": done, "least": least, "tier": NAME})
        with open(folder / f"{os.getpid()}.jsonl", "a", encoding="utf-8") as f:
            f.write(line + "\n")
    assert done >= least, f"only {done} {what}: at least {least} are wanted"
