"""The server's process for `bench live`: what `millstream serve` runs, with the engine that gives pictures back."""

import asyncio
import gc
import socket
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path
from threading import Thread

from millstream.bench.live.server import straight
from millstream.params import Settings
from millstream.server.app import create_app
from millstream.server.limits import Limits
from millstream.server.listen import listen
from millstream.server.run import Server

SESSIONS = 32


class Counted(Server):
    """For every line on its standard input it prints the number of its asyncio tasks; it ends with the input."""

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """See uvicorn."""
        await super().startup(sockets)
        loop = asyncio.get_running_loop()
        Thread(target=self._answer, args=(loop,), daemon=True, name="bench-answers").start()

    def _answer(self, loop: asyncio.AbstractEventLoop) -> None:
        for _ in sys.stdin:
            sys.stdout.write(f"{len(asyncio.all_tasks(loop))}\n")
            sys.stdout.flush()
        self.should_exit = True


def main() -> None:
    """Serve; the arguments are the settings as JSON, the seconds of a tick, and the server's folder."""
    settings, seconds, data = Settings.model_validate_json(sys.argv[1]), float(sys.argv[2]), Path(sys.argv[3])
    # A browser that is closed may not get its goodbye out: its session then waits for its return beside the next one.
    listener, limits = listen("127.0.0.1", 0), replace(Limits(), sessions=SESSIONS)
    app = create_app(settings, data, limits, make=partial(straight, seconds=seconds))
    sys.stdout.write(f"millstream: http://127.0.0.1:{listener.getsockname()[1]}/\n")
    sys.stdout.flush()
    gc.freeze()  # as `millstream serve` does
    Counted(app, limits).run([listener])
