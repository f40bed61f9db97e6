"""Lines typed on the terminal while a show runs."""

import os
import sys
from collections.abc import Callable
from threading import Thread


def listen(obey: Callable[[str], None]) -> bool:
    """Give each line to `obey`, in a thread that ends with the program; False where no terminal is there to type on.

    A program in the background is left alone: it would be stopped by reading.
    """
    if not (sys.stdin and sys.stdin.isatty() and _in_front(sys.stdin.fileno())):
        return False
    Thread(target=_read, args=(os.dup(sys.stdin.fileno()), obey), daemon=True, name="millstream-lines").start()
    return True


def _in_front(terminal: int) -> bool:
    try:
        return not hasattr(os, "tcgetpgrp") or os.tcgetpgrp(terminal) == os.getpgrp()
    except OSError:  # it is another session's terminal, which stops nobody
        return True


def _read(terminal: int, obey: Callable[[str], None]) -> None:
    with open(terminal, encoding="utf-8", errors="replace") as lines:  # not `sys.stdin`, which the end would wait for
        for line in lines:
            obey(line)
