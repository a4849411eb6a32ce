"""What a running job shows: its log file and its progress lines."""

import sys
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager

from weightspace.errors import InputError


@contextmanager
def rule_log(path: str) -> Iterator[None]:
    """Send what a rule's script prints to its log file, line by line; wrong input ends it with one sentence."""
    with open(path, "w", buffering=1) as log:
        before, sys.stdout, sys.stderr = (sys.stdout, sys.stderr), log, log
        try:
            yield
        except InputError as error:
            print(f"error: {error}")
            sys.exit(1)
        except KeyboardInterrupt:
            print("interrupted; the next run goes on from the last saved state")
            sys.exit(130)
        except BaseException:
            traceback.print_exc()
            raise
        finally:
            sys.stdout, sys.stderr = before


class Progress:
    """Prints done / total, rate and time left, at most every `every_seconds` and once at the end."""

    def __init__(self, what: str, total: int, done: int = 0, every_seconds: float = 5.0) -> None:
        self.what, self.total, self.start, self.every_seconds = what, total, done, every_seconds
        self.started = self.printed = time.monotonic()
        print(f"{what} {done}/{total}: {'resumed' if done else 'started'}")

    def update(self, done: int) -> None:
        """Say that `done` of the total are through."""
        now = time.monotonic()
        if done < self.total and now - self.printed < self.every_seconds:
            return
        self.printed = now
        rate = (done - self.start) / max(now - self.started, 1e-9)
        left = (self.total - done) / max(rate, 1e-9)
        print(f"{self.what} {done}/{self.total} ({done / max(self.total, 1):.0%}), {rate:.3g}/s, {left:.0f} s left")
