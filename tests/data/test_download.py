"""One file from a web server: whole, or an error in limited time that says why not."""

import http.client
import threading
import time
from collections.abc import Iterable
from typing import Any

import pytest

from dive.data import download
from dive.errors import DataError

CONTENT = bytes(range(256)) * 1000


def head(status: str = "200 OK", **fields: object) -> bytes:
    """What comes before a file."""
    lines = [f"HTTP/1.0 {status}", *(f"{name.replace('_', '-')}: {value}" for name, value in fields.items())]
    return "\r\n".join([*lines, "", ""]).encode()


def whole(name: str, pause: Any) -> Iterable[bytes]:
    yield head(Content_Length=len(CONTENT))
    yield CONTENT


def unannounced(name: str, pause: Any) -> Iterable[bytes]:
    yield head()
    yield CONTENT


def chunked(name: str, pause: Any) -> Iterable[bytes]:
    yield head(Transfer_Encoding="chunked").replace(b"1.0", b"1.1")
    for start in range(0, len(CONTENT), 1000):
        yield b"3e8\r\n" + CONTENT[start : start + 1000] + b"\r\n"
    yield b"0\r\n\r\n"


def elsewhere(name: str, pause: Any) -> Iterable[bytes]:
    return whole(name, pause) if name == "moved" else [head("302 Found", Location="/x/moved")]


@pytest.mark.parametrize("answer", [whole, unannounced, chunked, elsewhere])
def test_a_file_comes_as_it_was_sent(answer: Any, serve: Any) -> None:
    assert download.download(f"{serve(answer).url}file", 5, len(CONTENT)) == CONTENT


def broken_off(name: str, pause: Any) -> Iterable[bytes]:
    yield head(Content_Length=len(CONTENT))
    yield CONTENT[:-1]


def chunks_broken_off(name: str, pause: Any) -> Iterable[bytes]:
    return list(chunked(name, pause))[:100]


def not_found(name: str, pause: Any) -> Iterable[bytes]:
    yield head("404 Not Found", Content_Length=4) + b"nope"


def to_ftp(name: str, pause: Any) -> Iterable[bytes]:
    yield head("302 Found", Location="ftp://127.0.0.1/file")


def to_a_file(name: str, pause: Any) -> Iterable[bytes]:
    yield head("302 Found", Location="file:///etc/passwd")


def in_circles(name: str, pause: Any) -> Iterable[bytes]:
    yield head("302 Found", Location="/file")


def too_large(name: str, pause: Any) -> Iterable[bytes]:
    yield head()
    yield CONTENT
    yield b"x"


def silent(name: str, pause: Any) -> Iterable[bytes]:
    pause(60)
    yield b""


def silent_in_the_middle(name: str, pause: Any) -> Iterable[bytes]:
    yield head(Content_Length=len(CONTENT)) + CONTENT[:10]
    pause(60)


def no_http(name: str, pause: Any) -> Iterable[bytes]:
    yield b"SSH-2.0-OpenSSH_9.2p1\r\n"


CIRCLES = (
    "The HTTP server returned a redirect error that would lead to an infinite loop. "
    "The last 30x error message was: Found"
)


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (broken_off, f"it broke off after {len(CONTENT) - 1} of {len(CONTENT)} bytes"),
        (chunks_broken_off, "IncompleteRead(0 bytes read)"),
        (not_found, "HTTP Error 404: Not Found"),
        (to_ftp, "unknown url type: ftp"),
        (to_a_file, "HTTP Error 302: Found - Redirection to url 'file:///etc/passwd' is not allowed"),
        (in_circles, f"HTTP Error 302: {CIRCLES}"),
        (too_large, f"more than {len(CONTENT)} bytes came, and the largest archive has no more"),
        (silent, "nothing came for 0.3 s (data.timeout)"),
        (silent_in_the_middle, "nothing came for 0.3 s (data.timeout)"),
        (no_http, "SSH-2.0-OpenSSH_9.2p1"),
    ],
)
def test_whatever_goes_wrong_is_told_in_one_line_with_the_address(answer: Any, why: str, serve: Any) -> None:
    url = f"{serve(answer).url}file"
    start = time.monotonic()
    with pytest.raises(DataError) as caught:
        download.download(url, 0.3, len(CONTENT))
    assert str(caught.value) == f"{url}: {why}"
    assert time.monotonic() - start < 5


def drip(name: str, pause: Any) -> Iterable[bytes]:
    yield head(Content_Length=len(CONTENT))
    for i in range(len(CONTENT)):
        yield CONTENT[i : i + 1]
        pause(0.05)


def drip_its_head(name: str, pause: Any) -> Iterable[bytes]:
    for byte in head(X="x" * 10000):
        yield bytes([byte])
        pause(0.05)


@pytest.mark.parametrize("answer", [drip, drip_its_head])
def test_a_server_that_drips_comes_to_an_end_too(answer: Any, serve: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(download, "PATIENCE", 2)
    start = time.monotonic()
    with pytest.raises(DataError, match=r"file: not all of it came within 0\.8 s \(2 times data\.timeout\)$"):
        download.download(f"{serve(answer).url}file", 0.4, len(CONTENT))
    assert 0.7 < time.monotonic() - start < 5


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("http://127.0.0.1:9/file", "Connection refused"),
        ("file:///etc/passwd", "unknown url type: file"),
        ("ftp://127.0.0.1/file", "unknown url type: ftp"),
        ("http://[::1/file", "Invalid IPv6 URL"),
        (f"http://{'a' * 70}/file", "encoding with 'idna' codec failed (UnicodeError: label too long)"),
        ("http://", "no host given"),
    ],
)
def test_an_address_that_leads_nowhere_is_told(url: str, why: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "*")
    with pytest.raises(DataError) as caught:
        download.download(url, 1, 1)
    assert str(caught.value).startswith(f"{url}: {why}")


def test_nothing_more_is_received_once_it_has_been_given_up(serve: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(download, "PATIENCE", 1)
    with pytest.raises(DataError, match="not all of it came"):
        download.download(f"{serve(drip).url}file", 0.2, len(CONTENT))
    for thread in threading.enumerate():
        if thread.name == "fetch":
            thread.join(timeout=5)
            assert not thread.is_alive()


def test_a_bug_is_no_failed_download(serve: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http.client.HTTPResponse, "read1", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        download.download(f"{serve(whole).url}file", 1, 1)
