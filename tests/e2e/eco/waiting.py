"""Waiting on conditions with deadlines. No test sleeps and hopes."""
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "shared"))

from polling import poll  # noqa: E402


def wait(condition, what, seconds=20.0, every=0.05):
    """Returns the first true value of condition(); fails after `seconds`, naming what was waited for and what was last seen."""
    came, last = poll(condition, seconds, every, (AssertionError, OSError))  # requests' errors are OSErrors
    if not came:
        raise AssertionError(f"waited {seconds:g} s for {what}; last seen: {last!r}")
    return last
