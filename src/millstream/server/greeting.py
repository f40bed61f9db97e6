"""What a client is told first, and which of its codecs are taken."""

from dataclasses import asdict
from functools import cache
from typing import Any

from millstream.options import SCHEMAS
from millstream.server.protocol import CODECS, CodecName, ProtocolError
from millstream.server.sessions import Session


@cache
def schemas() -> dict[str, Any]:
    """The JSON schema of model, configuration and parameters."""
    return {section: schema.model_json_schema() for section, schema in SCHEMAS.items()}


def welcome(session: Session, viewers: str | None, watches: bool) -> dict[str, Any]:
    """The fields of `welcome` that say what the session is.

    `viewers` is the token for a viewer's link; `watches`: who is greeted came by such a one.
    """
    config = session.settings.config
    return {
        "session": session.id,
        **({"viewers": viewers} if viewers else {}),
        "size": [config.width, config.height],
        "settings": session.settings_shown(watches),
        "schema": schemas(),
        "limits": asdict(session.limits),
        "version": session.version,
        "device": session.device,
        "backend": config.backend,
        "recording": session.recording is not None,
    }


def choose(names: list[str], field: str) -> CodecName:
    """The first of a client's codecs that the server has. Raises ProtocolError."""
    for name in names:
        if name in CODECS:
            return name
    raise ProtocolError(f"{field}: none of these is known here; name {', '.join(CODECS)}", field)
