"""The engine cache on disk: what a compiler made, by the hash of all that it depends on."""

import json
import os
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from functools import cache
from hashlib import blake2b
from pathlib import Path
from typing import IO

from filelock import FileLock

LIMIT = 8 * 2**30  # bytes that the cache may take; what was used longest ago goes first
SUFFIX = ".engine"
TRACED = ("core", "models", "backends")  # the packages whose code makes a graph what it is


@dataclass(frozen=True)
class Head:
    """The first line of an entry's file: what it is, and how many bytes follow with which hash."""

    what: str
    size: int
    digest: str

    @classmethod
    def of(cls, what: str, engine: bytes) -> "Head":
        """Describe an engine."""
        return cls(what, len(engine), blake2b(engine).hexdigest())

    @classmethod
    def read(cls, file: IO[bytes]) -> "Head":
        """Read the first line. Raises ValueError or TypeError where it is none."""
        return cls(**json.loads(file.readline()))


@dataclass(frozen=True)
class Entry:
    """One kept engine: its key, what it is, its size in bytes, and when it was last used (seconds since 1970)."""

    key: str
    what: str
    size: int
    used: float


def cache_folder() -> Path:
    """`MILLSTREAM_CACHE`, or `millstream` in the user's cache folder."""
    if given := os.environ.get("MILLSTREAM_CACHE"):
        return Path(given)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "millstream"


@cache
def source_hash() -> str:
    """Hash of the source that graphs are traced from."""
    root = Path(__file__).parents[1]
    files = sorted(path for package in TRACED for path in (root / package).rglob("*.py"))
    return blake2b(b"".join(path.read_bytes() for path in files), digest_size=16).hexdigest()


class Store:
    """Engines in a folder. Safe against other processes, against files cut short, and bounded by `limit` bytes.

    A folder that cannot be used is said in a warning, and engines are then built for this run alone.
    """

    def __init__(self, folder: Path | None = None, limit: int = LIMIT) -> None:
        self.folder = (folder or cache_folder()) / "engines"
        self.limit = limit

    def get(self, key: str, what: str, build: Callable[[], bytes]) -> bytes:
        """Give the engine of `key`, built if it is not there. A second process that asks for it waits for the first."""
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            lock = FileLock(self.folder / f"{key}.lock").acquire()
        except OSError as error:
            warnings.warn(f"engine cache: {error}; set MILLSTREAM_CACHE to a folder that can be written", stacklevel=2)
            return build()
        with lock:
            return self._read(key) or self._write(key, what, build())

    def find(self, key: str) -> bytes | None:
        """Give what is kept under `key`, or None; never waits for one who builds it."""
        return self._read(key)

    def drop(self, key: str) -> None:
        """Take an engine out, and say so: it was kept whole, and cannot be used."""
        warnings.warn(f"engine cache: {key}{SUFFIX} cannot be used and is built anew", stacklevel=2)
        self._path(key).unlink(missing_ok=True)

    def entries(self) -> list[Entry]:
        """What is kept, last used first."""
        return sorted(self._entries(), key=lambda entry: -entry.used)

    def clear(self) -> list[Entry]:
        """Remove everything; give what was there."""
        entries = self.entries()
        for path in self.folder.glob("*"):
            path.unlink(missing_ok=True)
        return entries

    def _path(self, key: str) -> Path:
        return self.folder / f"{key}{SUFFIX}"

    def _read(self, key: str) -> bytes | None:
        try:
            # Unbuffered: what a buffer has already would be joined with the rest, while no other thread can run.
            with self._path(key).open("rb", buffering=0) as file:
                head, engine = Head.read(file), file.read()
        except FileNotFoundError:
            return None
        except (OSError, ValueError, TypeError):
            self.drop(key)
            return None
        if head != Head.of(head.what, engine):
            self.drop(key)
            return None
        os.utime(self._path(key))
        return engine

    def _write(self, key: str, what: str, engine: bytes) -> bytes:
        """Write under another name first, so that nobody ever sees half of it."""
        head = json.dumps(asdict(Head.of(what, engine))).encode()
        part = self.folder / f"{key}.part"  # the lock is held, so nobody else writes it
        try:
            with part.open("wb") as file:
                file.writelines((head, b"\n", engine))  # joined, they would be copied while no other thread can run
            part.replace(self._path(key))
            self._trim(key)
        except OSError as error:
            warnings.warn(f"engine cache: {error}; the engine is not kept", stacklevel=2)
        return engine

    def _trim(self, newest: str) -> None:
        total = 0
        for entry in self.entries():
            total += entry.size
            if total > self.limit and entry.key != newest:
                self._path(entry.key).unlink(missing_ok=True)

    def _entries(self) -> Iterator[Entry]:
        for path in self.folder.glob(f"*{SUFFIX}"):
            try:
                with path.open("rb") as file:
                    what, status = Head.read(file).what, os.fstat(file.fileno())
            except (OSError, ValueError, TypeError):  # taken away meanwhile, or damaged: shown as such
                what, status = "damaged", None
            yield Entry(path.stem, what, status.st_size if status else 0, status.st_mtime if status else time.time())
