"""What the server takes at most. Everything a client can make larger stands here."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Limits:
    """Bounds of one server; `welcome` tells them to every client."""

    sessions: int = 4
    viewers: int = 16
    """Clients that watch one session, its controller among them."""
    message: int = 64 * 1024
    """Bytes of one JSON message."""
    picture: int = 4 * 2**20
    """Bytes of one encoded picture."""
    side: int = 4096
    pixels: int = 4096 * 2304
    rate: float = 60.0
    """Pictures a second that a client may send."""
    messages: float = 200.0
    """Messages a second, pictures among them; faster ones wait."""
    bad_messages: int = 20
    """Faults in a row after which the connection is closed."""
    slowed_messages: int = 200
    """Messages that had to wait, or pictures without credit, in a row, after which the connection is closed."""
    requests: int = 32
    """Changes of one session that have not been answered."""
    recording_seconds: float = 600.0
    disk: int = 4 * 2**30
    """Bytes of all recordings and snapshots."""
    presets: int = 200
    idle: float = 300.0
    """Seconds without a picture or a message after which a session ends."""
    grace: float = 30.0
    """Seconds for which a session outlives its last client."""
    hello: float = 10.0
    """Seconds a new connection has to say hello."""
