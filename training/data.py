"""`python -m training.data`: fetch the packages and pack their pictures into one file; write ATTRIBUTION.md."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from training import attribution, sources
from training.pack import LIMIT, PACK, WORK, encode

ATTRIBUTION = Path(__file__).parent / "ATTRIBUTION.md"


def write(pictures: Iterable[tuple[str, NDArray[np.uint8]]], path: Path) -> None:
    """Write the pack."""
    np.savez(path, **{name: encode(picture) for name, picture in pictures})  # type: ignore[arg-type]
    if path.stat().st_size > LIMIT:
        raise SystemExit(f"{path.name} has {path.stat().st_size} bytes; lower the counts in sources.py below {LIMIT}")


def main() -> None:
    """Fetch, pack, write the attribution."""
    downloads = WORK / "downloads"
    sources.fetch(downloads)
    readers = (
        sources.photographs(downloads),
        sources.panoramas(downloads),
        sources.bunny(),
        sources.emoji(downloads),
        sources.clipart(downloads),
    )
    write((entry for reader in readers for entry in reader), PACK)
    ATTRIBUTION.write_text(attribution.table())
    print(f"{PACK}: {PACK.stat().st_size / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
