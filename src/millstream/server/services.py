"""What the routes of an app share."""

from dataclasses import dataclass
from pathlib import Path

from millstream.server.house import House
from millstream.server.presets import Presets
from millstream.server.recordings import Kind, Shelf


@dataclass
class Services:
    """The sessions, the folders on disk, and the token that opens the server; None where it needs none."""

    house: House
    presets: Presets
    shelves: dict[Kind, Shelf]
    data: Path
    token: str | None
