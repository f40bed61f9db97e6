"""One worker process, the pipe to it, and the two threads at this end."""

import os
import signal
from collections.abc import Callable
from contextlib import suppress
from multiprocessing import Pipe, get_all_start_methods, get_context
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerContext, SpawnContext
from tempfile import TemporaryDirectory
from threading import Thread
from time import monotonic
from typing import TYPE_CHECKING

from millstream.server.mail import Mail, pump
from millstream.server.messages import receive

if TYPE_CHECKING:  # torch
    from millstream.server.engines import Make

# What a fork server imports once, so that a fresh worker is there at once.
PRELOAD = ["millstream.server.worker", "millstream.pipeline", "millstream.models.load"]


class Link:
    """A worker from its start to its end. `began` is when it started, on the monotonic clock; `pid` is its number."""

    def __init__(
        self,
        outgoing: Mail,
        deliver: Callable[[object], None],
        ended: Callable[[], None],
        models: int,
        make: "Make | None" = None,
    ) -> None:
        """Start it. `deliver` and `ended` are called by the thread that reads: with each message, and behind the last.

        `models` and `make` are the worker's (see Engines); `make` goes to its process by pickle.

        Raises OSError or EOFError where no process can be started, RuntimeError where no thread can.
        """
        self.began = monotonic()
        self._outgoing, self._deliver, self._ended = outgoing, deliver, ended
        self._folder = TemporaryDirectory(prefix="millstream-worker-", ignore_cleanup_errors=True)
        self._connection, theirs = Pipe()
        try:
            self._process = _context().Process(
                target=_work, args=(theirs, self._folder.name, models, make), name="millstream-worker", daemon=True
            )
            self._process.start()
        except BaseException:
            self._connection.close()
            self._folder.cleanup()
            raise
        finally:
            theirs.close()
        self.pid = self._process.pid
        self._threads = [
            Thread(target=pump, args=(outgoing, self._connection), daemon=True, name="millstream-to-worker"),
            Thread(target=self._read, daemon=True, name="millstream-from-worker"),
        ]
        try:
            for thread in self._threads:
                thread.start()
        except BaseException:
            self.kill()
            self._process.join()
            self._connection.close()
            self._folder.cleanup()
            raise

    def kill(self) -> None:
        """End the process at once, whatever it does, with the compilers that it has started."""
        self._stop(by_force=True)

    def end(self, patience: float) -> int | None:
        """End the process if it lives, after `patience` seconds by force; leave nothing of it, give its exit code."""
        self._outgoing.close()
        self._stop(by_force=False)
        self._process.join(patience)
        self._stop(by_force=True)
        self._process.join()
        for thread in self._threads:
            thread.join()
        code = self._process.exitcode
        self._connection.close()
        self._process.close()
        self._folder.cleanup()
        return code

    def _read(self) -> None:
        try:
            while True:
                self._deliver(receive(self._connection))
        except (EOFError, OSError):  # the process has ended
            pass
        finally:
            self._ended()

    def _stop(self, by_force: bool) -> None:
        if hasattr(os, "killpg") and self.pid:
            with suppress(OSError):  # it has ended, or has no group of its own yet
                os.killpg(self.pid, signal.SIGKILL if by_force else signal.SIGTERM)
        self._process.kill() if by_force else self._process.terminate()


def _work(connection: Connection, folder: str, models: int, make: "Make | None") -> None:
    from millstream.server import worker  # noqa: PLC0415 - the server does without torch

    worker.run(connection, folder, models, make)


def _context() -> ForkServerContext | SpawnContext:
    if "forkserver" not in get_all_start_methods():
        return get_context("spawn")
    context = get_context("forkserver")
    context.set_forkserver_preload(PRELOAD)
    return context
