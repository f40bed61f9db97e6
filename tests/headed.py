"""Chromium with a window, on a virtual screen, over its own debugging protocol.

Playwright keeps every page it knows visible, so that a tab behind another one is not to be had through it.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from subprocess import DEVNULL, Popen
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from websockets.sync.client import ClientConnection, connect

from tests.page_browser import CHROMIUM, FLAGS, PATIENCE
from tests.virtual import screen, wait_until


class Headed:
    """A running browser. Tabs are named by their sessions of the protocol."""

    def __init__(self, line: ClientConnection) -> None:
        self._line, self._asked = line, 0

    def open(self, address: str) -> str:
        """A new tab, in front of the others."""
        target = self._call("Target.createTarget", url="about:blank")["targetId"]
        tab = str(self._call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"])
        self._call("Page.navigate", tab, url=address)
        return tab

    def evaluate(self, tab: str, expression: str) -> Any:
        """The value of an expression, of a promise what it comes to."""
        answer = self._call("Runtime.evaluate", tab, expression=expression, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    def until(self, tab: str, condition: str) -> None:
        """Wait until an expression is true; it may fail until then."""
        wait_until(lambda: self.evaluate(tab, f"(() => {{ try {{ return {condition} }} catch {{}} }})()"))

    def _call(self, method: str, tab: str | None = None, **params: Any) -> Any:
        self._asked += 1
        message = {"id": self._asked, "method": method, "params": params} | ({"sessionId": tab} if tab else {})
        self._line.send(json.dumps(message))
        while True:
            answer = json.loads(self._line.recv(timeout=PATIENCE / 1000))
            if answer.get("id") == self._asked:
                assert "error" not in answer, answer
                return answer["result"]


@contextmanager
def headed() -> Iterator[Headed]:
    if CHROMIUM is None:
        pytest.skip("no Chromium: install the system's chromium package")
    with screen(), TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        command = [CHROMIUM, *FLAGS, "--remote-debugging-port=0", f"--user-data-dir={profile}", "about:blank"]
        with Popen(command, stdout=DEVNULL, stderr=DEVNULL) as process:
            try:
                with connect(_address(Path(profile) / "DevToolsActivePort"), max_size=None) as line:
                    yield Headed(line)
            finally:
                process.terminate()


def _address(file: Path) -> str:
    wait_until(lambda: file.exists() and len(file.read_text().split()) == 2)
    port, path = file.read_text().split()
    return f"ws://127.0.0.1:{port}{path}"
