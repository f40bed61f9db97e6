"""Remarks on a prompt are Python's warnings: here they find the session whose command brought them."""

import warnings
from contextvars import ContextVar
from typing import Any

from millstream.server.mail import Mail
from millstream.server.messages import Said

_listener: ContextVar[tuple[str, Mail] | None] = ContextVar("listener", default=None)  # of the thread


def listen_to_remarks(sid: str, mail: Mail) -> None:
    """From now on, tell the remarks that this thread's work brings to a session."""
    _listener.set((sid, mail))
    # Each time anew: libraries silence warnings for a while, and where two do so at once, Python may forget to undo it.
    warnings.filterwarnings("always", category=UserWarning, module=r"millstream\.")


def take_over_warnings() -> None:
    """Let remarks go to who listens, and all other warnings where they always went."""
    print_ = warnings.showwarning

    def show(message: Warning | str, category: type[Warning], *where: Any, **more: Any) -> None:
        listener = _listener.get()
        if listener and category is UserWarning:
            sid, mail = listener
            mail.put(Said(sid, str(message)))
        else:
            print_(message, category, *where, **more)

    warnings.showwarning = show
