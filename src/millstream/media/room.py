"""Room on a disk: what is written live ends whole while there still is some."""

import shutil
from pathlib import Path

RESERVE = 256 * 2**20  # bytes of a disk that are left free
LOOK = 1.0  # seconds between two looks at what is left


def scarce(folder: Path) -> bool:
    """Whether the folder's disk has no more than what is left free. Raises OSError."""
    return shutil.disk_usage(folder).free < RESERVE
