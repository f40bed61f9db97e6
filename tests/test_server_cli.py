"""`millstream serve`: its options, its address, its token and its end."""

import signal
import socket
import subprocess
import sys
from pathlib import Path
from time import sleep
from urllib.error import HTTPError
from urllib.request import urlopen

import pytest

from millstream.cli import make_parser
from millstream.errors import BadInputError, MillstreamError
from millstream.server.cli import data_folder
from millstream.server.listen import listen
from tests import tiny


def read(*options: str):
    return make_parser().parse_args(["serve", *options])


def test_options() -> None:
    assert (read().host, read().port, read().sessions, read().open) == ("127.0.0.1", 7860, 4, False)
    assert read("--port", "0", "--steps", "3").port == 0
    for wrong in ("--port 70000", "--port x", "--sessions 0", "--sessions 65", "--token a;b=c;d=e"):
        with pytest.raises(BadInputError, match="give"):
            read(*wrong.split())


def test_a_port_that_is_taken_names_the_cure() -> None:
    with listen("127.0.0.1", 0) as first:
        port = first.getsockname()[1]
        with pytest.raises(MillstreamError, match=f"--port {port + 1}") as refused:
            listen("127.0.0.1", port)
        assert refused.value.exit_code == 2
        assert "\n" not in str(refused.value)


def test_an_address_of_another_machine_is_refused() -> None:
    with pytest.raises(MillstreamError, match="address of this machine"):
        listen("192.0.2.1", 0)


def test_the_data_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("MILLSTREAM_DATA", str(tmp_path))
    assert data_folder() == tmp_path
    monkeypatch.delenv("MILLSTREAM_DATA")
    assert data_folder().name == "millstream"


@pytest.mark.timeout(600)
def test_it_serves_with_a_token_beyond_this_machine_and_ends_with_ctrl_c(tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "millstream", "serve", "--host", "0.0.0.0", "--port", str(port)]
    command += ["--data", str(tmp_path), "--model", str(tiny.small()), "--backend", "eager"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None and server.stderr is not None
        line = server.stdout.readline()
        assert line.startswith("millstream: http://")
        token = line.strip().rpartition("?token=")[2]
        assert len(token) >= 32
        address = f"http://127.0.0.1:{port}"
        assert b"ok" in read_patiently(f"{address}/healthz")
        with pytest.raises(HTTPError) as refused:
            urlopen(f"{address}/api/v1/models", timeout=60)
        assert refused.value.code == 401
        with urlopen(f"{address}/?token={token}", timeout=60) as answer:
            assert answer.status == 200
            assert token in answer.headers["set-cookie"]
        server.send_signal(signal.SIGINT)
        assert server.wait(120) in (0, 130, -signal.SIGINT)
        rest = server.stdout.read() + server.stderr.read()
        assert "Traceback" not in rest
        assert token not in rest  # it is printed once


def read_patiently(address: str) -> bytes:
    for _ in range(600):
        try:
            with urlopen(address, timeout=60) as answer:
                found: bytes = answer.read()
                return found
        except OSError:
            sleep(0.2)
    raise AssertionError("it never answered")
