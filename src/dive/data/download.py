"""One file from a web server: whole and in limited time, or an error that says why not."""

import time
from collections.abc import Callable
from concurrent.futures import Future, wait
from http.client import HTTPException
from threading import Thread
from urllib import request
from urllib.error import HTTPError, URLError

from dive.errors import DataError

TIMEOUT_S = 20  # times the timeout: how long a whole file may take
CHUNK_BYTES = 2**16


def download(url: str, timeout: float, most: int) -> bytes:
    """What a server sends for an address, over http or https alone; redirects are followed.

    Args:
        url: the address.
        timeout: seconds to wait for the next byte. All in all `TIMEOUT_S` times that are allowed, so that a server
            that sends a byte now and then comes to an end too.
        most: bytes that the file may have.

    Raises:
        DataError: it cannot be had, breaks off, takes too long or is too large.
    """
    limit = TIMEOUT_S * timeout
    late = DataError(f"{url}: not all of it came within {limit:g} s ({TIMEOUT_S} times data.timeout)")
    deadline = time.monotonic() + limit

    def receive() -> bytes:
        content = bytearray()
        with _opener().open(url, timeout=timeout) as response:
            announced = response.length
            while chunk := response.read1(CHUNK_BYTES):
                content += chunk
                if len(content) > most:
                    raise DataError(f"{url}: more than {most} bytes came, and the largest archive has no more")
                if time.monotonic() > deadline:  # nobody waits for it any more
                    raise late
        if announced is not None and len(content) < announced:
            raise DataError(f"{url}: it broke off after {len(content)} of {announced} bytes")
        return bytes(content)

    # In a thread, since looking up the host's name and reading the headers have no time limit as a whole.
    answer = _in_thread(receive)
    if not wait([answer], limit).done:
        raise late
    try:
        return answer.result()
    except (OSError, HTTPException, ValueError) as error:
        raise DataError(f"{url}: {_why(error, timeout)}") from error


def _opener() -> request.OpenerDirector:
    # The usual one would also read local files and follow redirects to ftp.
    opener = request.OpenerDirector()
    for handler in (
        request.ProxyHandler,
        request.HTTPHandler,
        request.HTTPSHandler,
        request.HTTPRedirectHandler,
        request.HTTPDefaultErrorHandler,
        request.HTTPErrorProcessor,
        request.UnknownHandler,
    ):
        opener.add_handler(handler())
    return opener


def _in_thread(work: Callable[[], bytes]) -> Future[bytes]:
    answer: Future[bytes] = Future()

    def settle() -> None:
        try:
            answer.set_result(work())
        except Exception as error:
            answer.set_exception(error)

    Thread(target=settle, name="fetch", daemon=True).start()
    return answer


def _why(error: Exception, timeout: float) -> str:
    if isinstance(error, HTTPError):
        error.close()
    cause = error.reason if isinstance(error, URLError) and not isinstance(error, HTTPError) else error
    if isinstance(cause, TimeoutError):
        return f"nothing came for {timeout:g} s (data.timeout)"
    words = getattr(cause, "strerror", None) or str(cause) or type(cause).__name__
    return " ".join(words.split())
