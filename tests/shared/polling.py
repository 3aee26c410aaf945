"""The one place where tests wait: a condition, a deadline, short looks in between. tests/lint.py refuses any other sleep that
does not say what it is for.

    # act: ...       the sleep is part of what the test does (an engine that takes its time, a client that drips)
    # absence: ...   time in which something must not happen; nothing is waited for
"""
import time


def poll(condition, seconds, every, forgiven=()):
    """(True, value) with the first true value of condition(), or (False, what was last seen) after `seconds`. Exceptions of the
    types `forgiven` count as not yet."""
    end = time.monotonic() + seconds
    while True:
        try:
            last = condition()
            if last:
                return True, last
        except forgiven as e:
            last = e
        if time.monotonic() > end:
            return False, last
        time.sleep(every)
