"""Downloads return the complete file, or raise a one-line error within the time limit."""

import http.client
import threading
import time
from collections.abc import Iterable
from typing import Any

import pytest

from dive.data import download
from dive.errors import DataError

CONTENT = bytes(range(256)) * 1000


def response_header(status: str = "200 OK", **fields: object) -> bytes:
    """Status line and headers of a response."""
    lines = [f"HTTP/1.0 {status}", *(f"{name.replace('_', '-')}: {value}" for name, value in fields.items())]
    return "\r\n".join([*lines, "", ""]).encode()


def complete(name: str, pause: Any) -> Iterable[bytes]:
    yield response_header(Content_Length=len(CONTENT))
    yield CONTENT


def without_length(name: str, pause: Any) -> Iterable[bytes]:
    yield response_header()
    yield CONTENT


def chunked(name: str, pause: Any) -> Iterable[bytes]:
    yield response_header(Transfer_Encoding="chunked").replace(b"1.0", b"1.1")
    for start in range(0, len(CONTENT), 1000):
        yield b"3e8\r\n" + CONTENT[start : start + 1000] + b"\r\n"
    yield b"0\r\n\r\n"


def redirected(name: str, pause: Any) -> Iterable[bytes]:
    return complete(name, pause) if name == "moved" else [response_header("302 Found", Location="/x/moved")]


@pytest.mark.parametrize("response", [complete, without_length, chunked, redirected])
def test_download_returns_the_content(response: Any, serve: Any) -> None:
    assert download.download(f"{serve(response).url}file", 5, len(CONTENT)) == CONTENT


def closed_early(name: str, pause: Any) -> Iterable[bytes]:
    yield response_header(Content_Length=len(CONTENT))
    yield CONTENT[:-1]


def chunks_closed_early(name: str, pause: Any) -> Iterable[bytes]:
    return list(chunked(name, pause))[:100]


def not_found(name: str, pause: Any) -> Iterable[bytes]:
    yield response_header("404 Not Found", Content_Length=4) + b"nope"


def redirect_to_ftp(name: str, pause: Any) -> Iterable[bytes]:
    yield response_header("302 Found", Location="ftp://127.0.0.1/file")


def redirect_to_file(name: str, pause: Any) -> Iterable[bytes]:
    yield response_header("302 Found", Location="file:///etc/passwd")


def redirect_loop(name: str, pause: Any) -> Iterable[bytes]:
    yield response_header("302 Found", Location="/file")


def too_large(name: str, pause: Any) -> Iterable[bytes]:
    yield response_header()
    yield CONTENT
    yield b"x"


def silent(name: str, pause: Any) -> Iterable[bytes]:
    pause(60)
    yield b""


def silent_after_some_bytes(name: str, pause: Any) -> Iterable[bytes]:
    yield response_header(Content_Length=len(CONTENT)) + CONTENT[:10]
    pause(60)


def not_http(name: str, pause: Any) -> Iterable[bytes]:
    yield b"SSH-2.0-OpenSSH_9.2p1\r\n"


REDIRECT_LOOP = (
    "The HTTP server returned a redirect error that would lead to an infinite loop. "
    "The last 30x error message was: Found"
)


@pytest.mark.parametrize(
    ("response", "reason"),
    [
        (closed_early, f"connection closed after {len(CONTENT) - 1} of {len(CONTENT)} bytes"),
        (chunks_closed_early, "IncompleteRead(0 bytes read)"),
        (not_found, "HTTP Error 404: Not Found"),
        (redirect_to_ftp, "unknown url type: ftp"),
        (redirect_to_file, "HTTP Error 302: Found - Redirection to url 'file:///etc/passwd' is not allowed"),
        (redirect_loop, f"HTTP Error 302: {REDIRECT_LOOP}"),
        (too_large, f"larger than {len(CONTENT)} bytes, the size of the largest archive"),
        (silent, "no data received for 0.3 s (data.timeout)"),
        (silent_after_some_bytes, "no data received for 0.3 s (data.timeout)"),
        (not_http, "SSH-2.0-OpenSSH_9.2p1"),
    ],
)
def test_failures_raise_one_line_errors_with_the_url(response: Any, reason: str, serve: Any) -> None:
    url = f"{serve(response).url}file"
    start = time.monotonic()
    with pytest.raises(DataError) as caught:
        download.download(url, 0.3, len(CONTENT))
    assert str(caught.value) == f"{url}: {reason}"
    assert time.monotonic() - start < 5


def slow_body(name: str, pause: Any) -> Iterable[bytes]:
    yield response_header(Content_Length=len(CONTENT))
    for i in range(len(CONTENT)):
        yield CONTENT[i : i + 1]
        pause(0.05)


def slow_header(name: str, pause: Any) -> Iterable[bytes]:
    for byte in response_header(X="x" * 10000):
        yield bytes([byte])
        pause(0.05)


@pytest.mark.parametrize("response", [slow_body, slow_header])
def test_slow_servers_hit_the_total_timeout(response: Any, serve: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(download, "TOTAL_TIMEOUT_FACTOR", 2)
    start = time.monotonic()
    with pytest.raises(DataError, match=r"file: not finished within 0\.8 s \(2 times data\.timeout\)$"):
        download.download(f"{serve(response).url}file", 0.4, len(CONTENT))
    assert 0.7 < time.monotonic() - start < 5


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("http://127.0.0.1:9/file", "Connection refused"),
        ("file:///etc/passwd", "unknown url type: file"),
        ("ftp://127.0.0.1/file", "unknown url type: ftp"),
        ("http://[::1/file", "Invalid IPv6 URL"),
        (f"http://{'a' * 70}/file", "label too long"),
        ("http://", "no host given"),
    ],
)
def test_unreachable_and_invalid_urls_raise_errors(url: str, reason: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "*")
    with pytest.raises(DataError) as caught:
        download.download(url, 1, 1)
    assert str(caught.value).startswith(f"{url}: ")
    assert reason in str(caught.value)


def test_the_download_thread_ends_after_the_timeout(serve: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(download, "TOTAL_TIMEOUT_FACTOR", 1)
    with pytest.raises(DataError, match="not finished within"):
        download.download(f"{serve(slow_body).url}file", 0.2, len(CONTENT))
    for thread in threading.enumerate():
        if thread.name == "download":
            thread.join(timeout=5)
            assert not thread.is_alive()


def test_programming_errors_are_not_converted(serve: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http.client.HTTPResponse, "read1", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        download.download(f"{serve(complete).url}file", 1, 1)
