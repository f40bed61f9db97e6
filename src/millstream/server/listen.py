"""The socket of the server, opened before anything that takes long."""

import errno
import os
import socket

from millstream.errors import MillstreamError

UNREAD = 60_000  # milliseconds after which a client that reads nothing is cut off, where the system can
BACKLOG = 128


def listen(host: str, port: int) -> socket.socket:
    """A socket that listens. Raises MillstreamError where the address is taken, or is not this machine's."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # By its full name: asyncio sends small messages at once (TCP_NODELAY) only where it knows that this is TCP.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        if os.name == "posix":  # elsewhere it lets two servers share a port
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if hasattr(socket, "TCP_USER_TIMEOUT"):
            listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, UNREAD)
        listener.bind((host, port))
        listener.listen(BACKLOG)
    except OSError as error:
        listener.close()
        raise MillstreamError(_why(error, host, port)) from None
    return listener


def _why(error: OSError, host: str, port: int) -> str:
    if error.errno == errno.EADDRINUSE:
        return f"port {port} is taken; end what uses it, or choose another: --port {port + 1}"
    if error.errno == errno.EACCES:
        return f"port {port} may not be used; choose one above 1023: --port 7860"
    return f"--host {host}: {error.strerror or error}; give an address of this machine, as 127.0.0.1"
