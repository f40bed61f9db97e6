"""`millstream cache`: what the back ends have built, kept on disk."""

import json
import sys
import time
from argparse import Namespace
from dataclasses import asdict
from typing import TYPE_CHECKING

from millstream.backends.store import Entry, Store

if TYPE_CHECKING:
    from argparse import _SubParsersAction

    from millstream.options import Parser


def add_parser(commands: "_SubParsersAction[Parser]") -> None:
    """Add the command; it sets `run`, a function from the namespace to an exit code."""
    parser = commands.add_parser("cache", help="list or clear what the back ends have built")
    parser.add_argument(
        "action", choices=("list", "clear"), help="list: what is kept, last used first; clear: remove it"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.set_defaults(run=cache)


def cache(options: Namespace) -> int:
    """List or clear the cache; give the exit code."""
    store = Store()
    entries = store.clear() if options.action == "clear" else store.entries()
    if options.json:
        facts = {"folder": str(store.folder), "limit": store.limit, "engines": [asdict(entry) for entry in entries]}
        sys.stdout.write(json.dumps(facts | {"cleared": options.action == "clear"}) + "\n")
        return 0
    for entry in entries:
        sys.stdout.write(_line(entry) + "\n")
    done = "cleared" if options.action == "clear" else "kept"
    total = sum(entry.size for entry in entries) / 2**20
    sys.stdout.write(f"{len(entries)} engines, {total:.1f} MiB, {done}: {store.folder}\n")
    return 0


def _line(entry: Entry) -> str:
    used = time.strftime("%Y-%m-%d %H:%M", time.localtime(entry.used))
    return f"{entry.size / 2**20:8.1f} MiB  {used}  {entry.what}"
