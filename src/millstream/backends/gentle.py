"""Work that takes no more of the processor than a show leaves.

On Linux it is of the class SCHED_IDLE, which makes room at once. A lower priority alone does not: since Linux 6.6 what
runs keeps its core for a slice of 3 ms, however little it counts, and a tick on two cores asks for the second one some
fifty times. Measured there (Linux 6.18), while an engine was loaded: ticks of 25 ms took 44 beside a thread of the
usual priority, 33 to 44 at nice 19, 27 in this class; the loading itself 0.3 s, 0.5 s and 1.5 s.

It starves where other programs want every core, and only an administrator may take a thread out of this class: so
whoever waits has patience for so long, and then does the work again at the usual priority.
"""

import os
import sys
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from threading import Event, Thread
from typing import TypeVar

T = TypeVar("T")

_showing = Event()


def begin() -> None:
    """From here on a show may run on what was built.

    What comes before is not to give way: there is no show that it holds up, and a library that begins its threads then,
    as OpenVINO does, goes on computing ticks in them.
    """
    _showing.set()


def asked() -> bool:
    """Whether work has to give way."""
    return _showing.is_set()


def give_way() -> None:
    """Let this thread give way, and all that it begins from here on; elsewhere than on Linux do nothing."""
    if sys.platform == "linux":
        with suppress(OSError):  # a sandbox may refuse, and then it is as it is elsewhere
            os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))


def aside(work: Callable[[], T], patience: float) -> T:
    """Do the work in a thread that gives way, and wait for it.

    It is done here where it need not give way, and again here where it was starved for `patience` seconds. It has to
    let go of the interpreter nearly all the time: a starved thread that holds it holds up the show.
    """
    if sys.platform != "linux" or not asked():
        return work()
    made: Future[T] = Future()
    Thread(target=_do, args=(work, made), daemon=True, name="millstream-aside").start()
    try:
        return made.result(patience)
    except TimeoutError:
        return work()


def _do(work: Callable[[], T], made: "Future[T]") -> None:
    give_way()
    try:
        made.set_result(work())
    except BaseException as error:
        made.set_exception(error)
