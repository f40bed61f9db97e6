"""What the server says no to, in HTTP's words."""

from http import HTTPStatus

from millstream.errors import MillstreamError, OutputError


class RefusedError(MillstreamError):
    """What is not served, with the HTTP status that says so."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


def status_of(error: MillstreamError) -> int:
    """The HTTP status that tells it: its own; 507 where something cannot be stored; else it was a bad request."""
    if isinstance(error, RefusedError):
        return error.status
    return HTTPStatus.INSUFFICIENT_STORAGE if isinstance(error, OutputError) else HTTPStatus.BAD_REQUEST
