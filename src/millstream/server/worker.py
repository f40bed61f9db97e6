"""The engine worker: one process that runs the models, and every session in threads of its own.

It lives as long as its pipe. What a user can mend is told; anything else ends the process with its traceback, and the
supervisor starts a fresh one.
"""

import gc
import os
import shutil
import tempfile
from itertools import count
from multiprocessing.connection import Connection
from time import sleep

from millstream.server.engines import Engines, Make
from millstream.server.faults import die, start
from millstream.server.mail import Mail, pump
from millstream.server.messages import Beat, Change, Close, Command, Open, Refused, Set, Submit, receive
from millstream.server.remarks import take_over_warnings
from millstream.server.seat import Seat

BEAT = 0.25  # seconds between two signs of life
BEATS = 4  # from one set of figures to the next


class Worker:
    """The sessions of this process, and the mail to who asked for them."""

    def __init__(self, models: int, make: Make | None = None) -> None:
        """`models` is the number that may be loaded at a time, `make` what makes an engine of one."""
        self.mail = Mail()
        self._engines = Engines(models, make)
        self._seats: dict[str, Seat] = {}

    def obey(self, command: Command) -> None:
        """Carry out a command, or have its session do so; never waits for the engine."""
        if isinstance(command, Open):
            self._seats[command.sid] = Seat(command, self._engines, self.mail)
        elif isinstance(command, Close):
            if seat := self._seats.pop(command.sid, None):
                seat.close()
        elif isinstance(command, Submit):
            if seat := self._seats.get(command.sid):
                seat.submit(command.frame)
        else:
            self._pass_on(command)

    def report(self) -> None:
        """Give signs of life, and figures, for ever."""
        for turn in count():
            self.mail.show("beat", self._beat())
            if turn % BEATS == 0:
                for seat in list(self._seats.values()):
                    seat.report()
            sleep(BEAT)

    def _pass_on(self, command: Set | Change) -> None:
        if seat := self._seats.get(command.sid):
            seat.do(command)
        else:
            self.mail.put(Refused(command.sid, command.request, "no such session; open it first"))

    def _beat(self) -> Beat:
        engines, seats = self._engines.all(), list(self._seats.values())
        return Beat(
            engines=tuple(engine.ticks for engine in engines),
            patient=any(engine.warming for engine in engines) or any(seat.patient for seat in seats),
        )


def run(connection: Connection, folder: str, models: int, make: Make | None = None) -> None:
    """The whole life of a worker process. Its temporary files go into `folder`."""
    try:
        _settle(folder)
        worker = Worker(models, make)
        start("send", pump, worker.mail, connection)
        start("report", worker.report)
        while True:
            worker.obey(receive(connection))
    except (EOFError, OSError):  # who it worked for has gone without a word
        shutil.rmtree(folder, ignore_errors=True)
        os._exit(0)
    except BaseException as error:
        die(error)


def _settle(folder: str) -> None:
    """Make this process its own."""
    if hasattr(os, "setsid"):
        os.setsid()  # Ctrl-C is for who started it; and compilers that it starts end with it
    tempfile.tempdir = os.environ["TMPDIR"] = folder
    gc.freeze()  # what was imported before the fork stays shared with it, and a collection need not go through it
    take_over_warnings()
