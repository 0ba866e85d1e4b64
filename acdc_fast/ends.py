"""How every command ends: an error is one line on stderr, and the exit code says of which kind it was."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from .errors import AcdcError, InputError, one_line


def ended(name: str, work: Callable[[], int | None]) -> int:
    """Runs ``work``; gives the exit code: 2 for bad input, 1 for any other failure, 130 after Ctrl-C.

    ``name`` begins the line on stderr. SIGTERM and SIGHUP end the process by `SystemExit`, so that nothing half-written
    stays. An error that nobody foresaw is raised.
    """
    try:
        with _asked_to_end():
            code = work() or 0
            sys.stdout.flush()
        return code
    except InputError as error:
        return told(name, str(error), 2)
    except AcdcError as error:
        return told(name, str(error), 1)
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:  # the reader of our output went away, as `| head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except OSError as error:  # a full disk, a folder that may not be written
        return told(name, f"{error.filename or 'output'}: {error.strerror or error}", 1)
    except (MemoryError, RuntimeError) as error:
        if not isinstance(error, MemoryError) and "can't allocate memory" not in str(error):  # as torch says it
            raise
        return told(name, "the memory does not suffice; ask for less: smaller pictures or crops, fewer at a time", 1)


def check_no_word_is_empty(words: Sequence[str]) -> None:
    """Raises `InputError` for an empty argument: it is a variable of the shell that holds nothing, not a wish."""
    for before, word in zip(["", *words], words, strict=False):
        if word == "--":
            return
        option = before if before.startswith("-") else ""
        if word.startswith("--") and word.find("=") == len(word) - 1:
            option, word = word[:-1], ""
        if not word:
            where = f" after {option[:100]}" if option else ""
            raise InputError(f"an argument{where} is empty; is a variable of the shell not set?")


def told(name: str, text: str, code: int) -> int:
    """Says in one line on stderr what is wrong; gives the exit code back."""
    print(one_line(f"{name}: {' '.join(text.split())}"), file=sys.stderr)
    return code


@contextmanager
def _asked_to_end() -> Iterator[None]:
    """SIGTERM and SIGHUP, where the process would die of them at once, raise `SystemExit` (128 + n) in the block."""
    before: dict[int, Any] = {}
    own = os.getpid()

    def leave(number: int, _: object) -> None:
        signal.signal(number, signal.SIG_DFL)
        if os.getpid() != own:  # a forked helper dies as it always did
            os.kill(os.getpid(), number)
        raise SystemExit(128 + number)

    if threading.current_thread() is threading.main_thread():
        for number in (getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)):
            if signal.getsignal(number) == signal.SIG_DFL:  # nohup ignores SIGHUP
                before[number] = signal.signal(number, leave)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
