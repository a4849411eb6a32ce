"""What a running job shows: its log file and its progress lines."""

import sys
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager

from weightspace.errors import InputError

# What the system says, in whichever library's words, where a file cannot be written.
UNWRITABLE = ("No space left on device", "Disk quota exceeded", "Read-only file system", "Permission denied")


@contextmanager
def rule_log(path: str) -> Iterator[None]:
    """Send what a rule's script prints to its log file, line by line; wrong input or a full disk ends it with one sentence."""
    terminal = sys.stdout, sys.stderr
    try:
        with open(path, "w", buffering=1) as sys.stdout:
            sys.stderr = sys.stdout
            with _explained():
                yield
    except Exception as error:  # a log that cannot be written either
        if not _unwritable(error):
            raise
        print(f"error: {' '.join(str(error).split())}", file=terminal[1])
        sys.exit(1)
    finally:
        sys.stdout, sys.stderr = terminal


@contextmanager
def _explained() -> Iterator[None]:
    """Print what ended a job: a sentence where its user can mend it, else the traceback."""
    try:
        yield
    except InputError as error:
        print(f"error: {error}")
        sys.exit(1)
    except KeyboardInterrupt:
        print("interrupted; the next run goes on from the last saved state")
        sys.exit(130)
    except BaseException as error:
        if _unwritable(error):
            print(f"error: {' '.join(str(error).split())}")
            sys.exit(1)
        traceback.print_exc()
        raise


def _unwritable(error: BaseException) -> bool:
    """Whether a file could not be written; libraries raise errors of their own for that."""
    return isinstance(error, Exception) and any(cause in str(error) for cause in UNWRITABLE)


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
        left = f", {rate:.3g}/s, {(self.total - done) / rate:.0f} s left" if rate else ""
        print(f"{self.what} {done}/{self.total} ({done / max(self.total, 1):.0%}){left}")
