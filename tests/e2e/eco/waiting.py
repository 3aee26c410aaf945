"""Waiting on conditions with deadlines. No test sleeps and hopes."""
import time


def wait(condition, what, seconds=20.0, every=0.05):
    """Returns the first true value of condition(); fails after `seconds`, naming what was waited for and what was last seen."""
    end = time.monotonic() + seconds
    last = None
    while True:
        try:
            last = condition()
            if last:
                return last
        except (AssertionError, OSError) as e:  # requests' errors are OSErrors
            last = e
        if time.monotonic() > end:
            raise AssertionError(f"waited {seconds:g} s for {what}; last seen: {last!r}")
        time.sleep(every)
