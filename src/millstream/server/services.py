"""What the routes of an app share."""

from dataclasses import dataclass
from pathlib import Path

from millstream.server.house import House
from millstream.server.presets import Presets
from millstream.server.recordings import Kind, Shelf


@dataclass
class Services:
    """The sessions, and the folders on disk."""

    house: House
    presets: Presets
    shelves: dict[Kind, Shelf]
    data: Path
