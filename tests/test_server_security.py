"""Who may talk to the server: Host, Origin and token, and the headers of every answer."""

import base64
import hashlib
import re
from pathlib import Path
from typing import Any

import pytest
from starlette.responses import PlainTextResponse
from starlette.types import Receive, Scope, Send
from starlette.websockets import WebSocket

from millstream.server.app import PAGE
from millstream.server.security import Guard, inline_scripts, is_loopback, new_token, viewer_token
from tests.asgi import ask

TOKEN = "correct-horse"


async def behind(scope: Scope, receive: Receive, send: Send) -> None:
    if scope["type"] == "websocket":
        await WebSocket(scope, receive, send).accept()
    else:
        await PlainTextResponse("served")(scope, receive, send)


def guarded(token: str | None = None, **options: Any) -> Guard:
    return Guard(behind, options.get("names", ()), token, options.get("scripts", ()))


@pytest.mark.parametrize("host", ["localhost", "localhost:7860", "127.0.0.1:1", "[::1]:7860", "192.168.1.20:7860"])
def test_addresses_and_localhost_are_answered(host: str) -> None:
    assert ask(guarded(), host=host)[0] == 200


@pytest.mark.parametrize("host", ["", "evil.example", "localhost.evil.example:7860", "a b", "127.0.0.1@evil", "x\r\ny"])
@pytest.mark.parametrize("kind", ["http", "websocket"])
def test_names_of_others_are_not(host: str, kind: str) -> None:
    assert ask(guarded(), kind=kind, host=host)[0] == 403


def test_a_name_given_to_the_server_is_answered() -> None:
    assert ask(guarded(names=["studio.example"]), host="Studio.example:80")[0] == 200


@pytest.mark.parametrize(
    ("origin", "status"),
    [
        ("http://localhost:7860", 101),
        ("https://localhost:7860", 101),
        ("http://localhost:7861", 403),
        ("http://evil.example", 403),
        ("null", 403),
        ("", 403),
        ("file://localhost:7860", 403),
    ],
)
def test_a_websocket_is_for_the_own_page(origin: str, status: int) -> None:
    assert ask(guarded(), kind="websocket", origin=origin)[0] == status


def test_a_script_has_no_origin() -> None:
    assert ask(guarded(), kind="websocket")[0] == 101


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE"])
def test_changes_are_for_the_own_page(method: str) -> None:
    assert ask(guarded(), method=method, origin="http://evil.example")[0] == 403
    assert ask(guarded(), method=method, origin="http://localhost:7860")[0] == 200
    assert ask(guarded(), method="GET", origin="http://evil.example")[0] == 200


@pytest.mark.parametrize("kind", ["http", "websocket"])
@pytest.mark.parametrize(
    ("target", "headers", "fine"),
    [
        ("/", {}, False),
        ("/?token=wrong", {}, False),
        ("/?token=", {}, False),
        (f"/?token={TOKEN}", {}, True),
        ("/", {"authorization": f"Bearer {TOKEN}"}, True),
        ("/", {"authorization": f"Basic {TOKEN}"}, False),
        ("/", {"authorization": f"Bearer {TOKEN}x"}, False),
        ("/", {"cookie": f"millstream_token={TOKEN}"}, True),
        ("/", {"cookie": "millstream_token=\xff"}, False),
    ],
)
def test_the_token_opens(kind: str, target: str, headers: dict[str, str], fine: bool) -> None:
    served = 200 if kind == "http" else 101
    assert ask(guarded(TOKEN), target, kind=kind, **headers)[0] == (served if fine else 401)


@pytest.mark.parametrize("path", ["/healthz", "/view", "/css/page.css", "/js/view.js", "/vendor/x.js", "/icon.svg"])
def test_what_tells_nothing_needs_no_token(path: str) -> None:
    assert ask(guarded(TOKEN), path)[0] == 200
    assert "set-cookie" not in ask(guarded(TOKEN), f"{path}?token={TOKEN}")[1]


@pytest.mark.parametrize("path", ["/metrics", "/index.html", "/js", "/view/", "//view", "/api/v1/models"])
def test_all_else_does(path: str) -> None:
    assert ask(guarded(TOKEN), path)[0] == 401


@pytest.mark.parametrize(
    ("kind", "method", "target", "fine"),
    [
        ("websocket", "GET", "/api/v1/live?session=s&role=view&", True),
        ("websocket", "GET", "/api/v1/live?session=s&role=control&", False),
        ("websocket", "GET", "/api/v1/live?session=s&", False),
        ("websocket", "GET", "/api/v1/live?session=other&role=view&", False),
        ("websocket", "GET", "/api/v1/live?session=new&role=view&", False),
        ("http", "GET", "/api/v1/sessions/s?", True),
        ("http", "GET", "/api/v1/sessions/s/picture.jpg?", True),
        ("http", "GET", "/api/v1/sessions/s/stream.mjpg?", True),
        ("http", "GET", "/api/v1/sessions/other/stream.mjpg?", False),
        ("http", "DELETE", "/api/v1/sessions/s?", False),
        ("http", "POST", "/api/v1/sessions/s/recordings?", False),
        ("http", "GET", "/api/v1/sessions?", False),
        ("http", "GET", "/?", False),
    ],
)
def test_a_viewers_token_shows_its_session_and_does_nothing_else(
    kind: str, method: str, target: str, fine: bool
) -> None:
    status = ask(guarded(TOKEN), f"{target}token={viewer_token(TOKEN, 's')}", method, kind)[0]
    assert status == ((101 if kind == "websocket" else 200) if fine else 401)


def test_viewers_tokens_are_another_for_each_session_and_each_server() -> None:
    made = {viewer_token(token, session) for token in (TOKEN, "other") for session in ("a", "b")}
    assert len(made) == 4
    assert {len(token) for token in made} == {32}
    assert TOKEN not in "".join(made)


def test_a_page_that_was_opened_with_the_token_keeps_it_in_a_cookie() -> None:
    cookie = ask(guarded(TOKEN), f"/?token={TOKEN}")[1]["set-cookie"]
    assert cookie == f"millstream_token={TOKEN}; HttpOnly; SameSite=Strict; Path=/"
    assert "set-cookie" not in ask(guarded(TOKEN), f"/api/v1/models?token={TOKEN}")[1]
    assert "set-cookie" not in ask(guarded(TOKEN), "/")[1]
    assert "set-cookie" not in ask(guarded(), "/")[1]


@pytest.mark.parametrize("target", ["/", "/view", "/api/v1/models"])
def test_every_answer_is_locked_down(target: str) -> None:
    headers = ask(guarded(scripts=["abc="]), target)[1]
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "no-referrer"
    assert "camera=(self)" in headers["permissions-policy"]
    assert "access-control-allow-origin" not in headers
    policy = dict(part.strip().split(" ", 1) for part in headers["content-security-policy"].split(";"))
    assert policy["default-src"] == "'none'"
    assert policy["script-src"] == "'self' 'sha256-abc='"
    assert policy["frame-ancestors"] == ("*" if target == "/view" else "'none'")
    assert "unsafe" not in headers["content-security-policy"]


@pytest.mark.parametrize("kind", ["http", "websocket"])
def test_a_refusal_is_locked_down_too(kind: str) -> None:
    status, headers = ask(guarded(), kind=kind, host="evil.example; script-src *")
    assert status == 403
    assert headers["x-content-type-options"] == "nosniff"
    assert "evil" not in headers["content-security-policy"]


def test_the_scripts_that_stand_in_the_page_are_named_by_their_hash(tmp_path: Path) -> None:
    body = '\n{"imports": {}}\n'
    page = f'<script type="importmap">{body}</script><script type="module" src="js/main.js"></script>'
    (tmp_path / "index.html").write_text(page)
    assert inline_scripts(tmp_path) == [base64.b64encode(hashlib.sha256(body.encode()).digest()).decode()]


def test_the_own_pages_hold_an_import_map_and_nothing_else_that_is_inline() -> None:
    pages = [path.read_text(encoding="utf-8") for path in PAGE.glob("*.html")]
    assert len(inline_scripts(PAGE)) == len(pages) == 2
    for text in pages:
        assert not re.search(r"\son\w+=|\sstyle=|<style", text)


def test_loopback() -> None:
    assert [is_loopback(host) for host in ("127.0.0.1", "localhost", "::1", "127.8.0.1")] == [True] * 4
    assert [is_loopback(host) for host in ("0.0.0.0", "::", "192.168.1.1", "example.org")] == [False] * 4


def test_tokens_differ() -> None:
    assert len({new_token() for _ in range(100)}) == 100
    assert len(new_token()) >= 32
