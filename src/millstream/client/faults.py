"""What a connection or a server refuses, in one line."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPStatus

from websockets.exceptions import InvalidStatus, WebSocketException

from millstream.errors import BadInputError, MillstreamError


@contextmanager
def explained() -> Iterator[None]:
    """Turn what a connection raises into one line."""
    try:
        yield
    except InvalidStatus as error:
        raise refusal(error.response.status_code, bytes(error.response.body or b"")) from None
    except (OSError, WebSocketException) as error:
        raise MillstreamError(f"no connection to the server: {error}; is it running?") from None


def refusal(status: int, body: bytes) -> MillstreamError:
    """The error that an HTTP answer stands for."""
    try:
        message = str(json.loads(body)["message"])
    except (ValueError, KeyError, TypeError):
        message = f"the server answered {status} {HTTPStatus(status).phrase}"
    bad = status in (HTTPStatus.BAD_REQUEST, HTTPStatus.UNPROCESSABLE_ENTITY)
    return BadInputError(message) if bad else MillstreamError(message)
