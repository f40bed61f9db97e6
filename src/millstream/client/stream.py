"""One connection to a session: pictures out as the server asks for them, results in."""

import json
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import suppress
from threading import Condition, Thread
from time import monotonic
from typing import Any

from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection

from millstream.client.faults import explained
from millstream.errors import BadInputError, MillstreamError
from millstream.frame import Frame, Pixels
from millstream.media.arrays import rgb_of_array
from millstream.server.codecs import decoder, encoder
from millstream.server.limits import Limits
from millstream.server.protocol import CodecName, Packet, pack, say, unpack

TIMEOUT = 30.0  # seconds to wait for an answer
OPENING = 300.0  # seconds to wait for a session: its model may have to be loaded
LAST = 10.0  # seconds without a result in which that of the last picture may still come: it may have given way
EVENTS = 256


class LiveStream:
    """One connection to a session. Its methods may be called from any thread; results are for one."""

    def __init__(self, line: ClientConnection, codec: CodecName) -> None:
        self._line = line
        self._encoder = encoder(codec)
        self._decoder = decoder(codec, Limits())
        self._codec = codec
        self._changed = Condition()
        self._result: Frame | None = None
        self._seen = (-1, -1)
        self._heard = 0.0  # when the last result of a picture that had none was taken
        self._answers: dict[int, dict[str, Any]] = {}
        self._asked = 0
        self._sent = self._upto = -1
        self._key = True
        self._over: str | None = None
        self.events: deque[dict[str, Any]] = deque(maxlen=EVENTS)
        self.stats: dict[str, Any] = {}
        self.welcome = self._greet()
        self._thread = Thread(target=self._listen, name="millstream-client", daemon=True)
        self._thread.start()

    @property
    def session(self) -> str:
        """The session's id, for others to join it."""
        return str(self.welcome["session"])

    def run(self, frames: Iterable[Frame | Pixels]) -> Iterator[Frame]:
        """Send pictures whenever the server wants the next; give each new result. What gives way has none.

        A result's `id` is the place of its picture among those sent by this connection, `time` the moment at which
        that was taken from `frames` (monotonic clock), `version` the revision of the parameters it was made with.
        Raises MillstreamError when the connection ends.
        """
        sender = _Sender(self, frames)
        sender.start()
        try:
            while (result := self._next(sender)) is not None:
                yield result
        finally:
            sender.stop()
        sender.raise_error()

    def results(self) -> Iterator[Frame]:
        """Every new result, without end: for a viewer. Raises MillstreamError when the connection ends."""
        while True:
            if (result := self._wait_result(None)) is not None:
                yield result

    def set(self, in_flight: bool = False, **params: Any) -> int:
        """Change parameters; give the revision that results then carry. Raises BadInputError."""
        return int(self._ask("set", params=params, in_flight=in_flight)["rev"])

    def change(
        self, model: dict[str, Any] | None = None, params: dict[str, Any] | None = None, **config: Any
    ) -> dict[str, Any]:
        """Change model or configuration, and with it parameters; give the settings that came of it.

        Raises BadInputError, and then nothing has changed.
        """
        answer = self._ask("change", OPENING, model=model, config=config, params=params or {})
        return {section: answer[section] for section in ("model", "config", "params")}

    def snapshot(self) -> dict[str, Any]:
        """Keep the newest result as a file on the server; give its name and address."""
        return self._ask("snapshot")

    def record(self, on: bool) -> dict[str, Any]:
        """Begin a recording, or end it and give its name and address."""
        return self._ask("record", on=on)

    def take(self) -> None:
        """Take over control."""
        with self._changed:
            self._seen = (-1, -1)
            self._sent = self._upto = -1  # the server numbers a controller's pictures from 0
        self._key = True
        self.say("take")

    def say(self, type: str, **fields: Any) -> None:
        """Send a message that has no answer."""
        with explained():
            self._line.send(say(type, **fields))

    def close(self) -> None:
        """Leave. The session of a controller that has left ends after a while."""
        with suppress(ConnectionClosed):
            self._line.send(say("bye"))
        self._line.close()
        self._thread.join()

    def _greet(self) -> dict[str, Any]:
        self.say("hello", send=[self._codec], receive=[self._codec])
        while True:
            try:
                message = json.loads(self._line.recv(timeout=OPENING))
            except TimeoutError:
                raise MillstreamError("the server did not open the session in time; look at its own messages") from None
            if message["type"] == "error":
                raise BadInputError(message["message"])
            if message["type"] == "welcome":
                found: dict[str, Any] = message
                return found

    def _next(self, sender: "_Sender") -> Frame | None:
        """The next new result; None behind that of the last picture."""
        while True:
            if sender.done and (self._seen[0] >= self._sent or monotonic() - max(sender.done, self._heard) > LAST):
                return None
            if (result := self._wait_result(0.1)) is not None:
                return result

    def _wait_result(self, timeout: float | None) -> Frame | None:
        with self._changed:
            self._changed.wait_for(lambda: self._over or self._is_new(), timeout)
            result = self._result
            if result is None or not self._is_new():
                self._raise()
                return None
            if result.id > self._seen[0]:
                self._heard = monotonic()
            self._seen = result.id, result.version
        self.say("ack", seq=result.id, age_ms=max(0.0, (monotonic() - result.time) * 1000))
        return result

    def _is_new(self) -> bool:
        return self._result is not None and (self._result.id, self._result.version) != self._seen

    def granted(self, timeout: float | None = None) -> bool:
        """Wait until the server wants a picture; False where it did not in time. Raises MillstreamError."""
        with self._changed:
            self._changed.wait_for(lambda: self._over or self._sent < self._upto, timeout)
            self._raise()
            return self._sent < self._upto

    def send(self, pixels: Pixels) -> None:
        """Send a picture, taken just now; for the one thread that sends, where one is wanted."""
        capture = monotonic()
        with self._changed:
            self._sent += 1
            key, self._key = self._key, False
            sequence = self._sent
        encoded = self._encoder.encode(pixels, key)
        packet = Packet(self._codec, encoded.key, sequence, capture * 1000, 0, encoded.payload)
        with explained():
            self._line.send(pack(packet))

    def _ask(self, type: str, timeout: float = TIMEOUT, **fields: Any) -> dict[str, Any]:
        with self._changed:
            self._asked += 1
            number = self._asked
        self.say(type, id=number, **fields)
        with self._changed:
            self._changed.wait_for(lambda: self._over or number in self._answers, timeout)
            answer = self._answers.pop(number, None)
            if answer is None:
                self._raise()
                raise MillstreamError(f"{type}: the server has not answered in time; look at its own messages")
        if answer["type"] == "error":
            raise BadInputError(answer["message"])
        return answer

    def _listen(self) -> None:
        try:
            with suppress(ConnectionClosed):  # its reason is told below
                for message in self._line:
                    if isinstance(message, bytes):
                        self._picture(unpack(message))
                    else:
                        self._heed(json.loads(message))
        finally:
            with self._changed:
                self._over = self._line.close_reason or "the connection was lost"
                self._changed.notify_all()

    def _picture(self, packet: Packet) -> None:
        try:
            pixels = self._decoder.decode(packet.payload)
        except BadInputError:
            self.say("key")
            return
        with self._changed:
            self._result = Frame(packet.sequence, pixels, packet.capture / 1000, packet.revision)
            self._changed.notify_all()

    def _heed(self, message: dict[str, Any]) -> None:
        with self._changed:
            match message["type"]:
                case "credit":
                    self._upto = message["upto"]
                case "key":
                    self._key = True
                case "stats":
                    self.stats = message
                case "ack" | "error" | "file" if "id" in message:
                    self._answers[message["id"]] = message
                case _:
                    self.events.append(message)
            self._changed.notify_all()

    def _raise(self) -> None:
        if self._over is not None:
            raise MillstreamError(f"{self._over}; open the session again")


class _Sender:
    """Sends an iterable's pictures in a thread of its own, for taking the next one may block."""

    def __init__(self, stream: LiveStream, frames: Iterable[Frame | Pixels]) -> None:
        self._stream, self._frames = stream, frames
        self._stopping = False
        self._error: BaseException | None = None
        self.done: float | None = None
        self._thread = Thread(target=self._work, name="millstream-client-send", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """Send no more."""
        self._stopping = True
        self._thread.join()

    def raise_error(self) -> None:
        """Raise what ended the frames, if it was not their end."""
        if self._error is not None:
            raise self._error

    def _work(self) -> None:
        try:
            frames = iter(self._frames)
            while self._granted() and (frame := next(frames, None)) is not None:
                self._stream.send(rgb_of_array(frame.pixels if isinstance(frame, Frame) else frame))
        except BaseException as error:  # raised again where the results are taken
            self._error = error
        self.done = monotonic()

    def _granted(self) -> bool:
        """Wait for the server to want a picture; False where nobody wants results any more."""
        while not self._stopping:
            if self._stream.granted(0.1):
                return True
        return False
