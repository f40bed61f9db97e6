"""The demo clip as a file for browsers, made once."""

from pathlib import Path
from threading import Lock

from millstream.media.demo import DemoSource
from millstream.media.sinks import open_sink
from millstream.server.recordings import explained

_making = Lock()


def clip(folder: Path) -> Path:
    """The path of the clip, as WebM; it is drawn when it is first asked for. Raises OutputError."""
    path = folder / "demo.webm"
    with _making:
        if not path.is_file():
            with explained(folder):
                folder.mkdir(parents=True, exist_ok=True)
            source = DemoSource()
            with open_sink(path, source.info) as sink:
                for frame in source:
                    sink.write(frame)
    return path
