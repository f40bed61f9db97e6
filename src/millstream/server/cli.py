"""`millstream serve`: the page, the interface for scripts, and the engine behind them."""

import gc
import os
import re
import socket
import sys
import threading
import webbrowser
from argparse import ArgumentTypeError, BooleanOptionalAction, Namespace
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from platformdirs import user_data_path

from millstream.options import add_options, read_settings
from millstream.server.limits import Limits
from millstream.server.listen import listen

if TYPE_CHECKING:
    from argparse import _SubParsersAction

    from millstream.options import Parser

HOST, PORT = "127.0.0.1", 7860
MAX_SESSIONS = 64
TOKEN = re.compile(r"[A-Za-z0-9._~-]{8,200}")


def add_parser(commands: "_SubParsersAction[Parser]") -> None:
    """Add the command; it sets `run`, a function from the namespace to an exit code."""
    parser = commands.add_parser("serve", help="open a page on which a camera, a drawing or a film streams live")
    parser.add_argument("--host", default=HOST, help=f"address to serve on; others than {HOST} need the token")
    parser.add_argument("--port", type=_port, default=PORT, metavar="N", help=f"default: {PORT}; 0 takes a free one")
    parser.add_argument(
        "--open", action=BooleanOptionalAction, default=False, help="open the page in the browser (default: off)"
    )
    parser.add_argument(
        "--token", type=_token, help="what opens the server; default: none on this machine alone, else a random one"
    )
    parser.add_argument(
        "--sessions", type=_sessions, default=Limits.sessions, metavar="N", help=f"at once (default: {Limits.sessions})"
    )
    parser.add_argument("--data", type=Path, metavar="DIR", help="presets, recordings and models; default: the user's")
    add_options(parser)
    parser.set_defaults(run=run)


def run(options: Namespace) -> int:
    """Serve until Ctrl-C. Raises MillstreamError where the options or the address are refused."""
    from millstream.server.security import is_loopback, new_token  # noqa: PLC0415

    settings = read_settings(options)
    data = (options.data or data_folder()).absolute()
    token = options.token or (None if is_loopback(options.host) else new_token())
    listener = listen(options.host, options.port)

    from millstream.server.app import create_app  # noqa: PLC0415
    from millstream.server.run import Server  # noqa: PLC0415

    limits = replace(Limits(), sessions=options.sessions)
    app = create_app(settings, data, limits, token, [options.host])
    address = _address(options.host, listener.getsockname()[1], token)
    sys.stdout.write(f"millstream: {address}\nCtrl-C ends it\n")
    sys.stdout.flush()
    if options.open:
        threading.Timer(1.0, webbrowser.open, [address]).start()
    gc.freeze()  # what is imported stays; the command line has the collector off until here
    gc.enable()
    Server(app, limits).run([listener])
    return 0


def data_folder() -> Path:
    """Where presets, recordings and models lie: MILLSTREAM_DATA, or the user's folder for such things."""
    given = os.environ.get("MILLSTREAM_DATA")
    return Path(given) if given else user_data_path("millstream", appauthor=False)


def _address(host: str, port: int, token: str | None) -> str:
    shown = {"0.0.0.0": socket.gethostname(), "::": socket.gethostname()}.get(host, host)
    name = f"[{shown}]" if ":" in shown else shown
    return f"http://{name}:{port}/" + (f"?token={token}" if token else "")


def _port(text: str) -> int:
    if not text.isdecimal() or int(text) > 65_535:
        raise ArgumentTypeError(f"give 0 to 65535 (got '{text}')")
    return int(text)


def _token(text: str) -> str:
    if not TOKEN.fullmatch(text):
        raise ArgumentTypeError("give 8 or more letters, digits and . _ ~ -: it stands in addresses and in a cookie")
    return text


def _sessions(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= MAX_SESSIONS:
        raise ArgumentTypeError(f"give 1 to {MAX_SESSIONS} (got '{text}')")
    return int(text)
