"""Download one file over HTTP(S), with limits on its size and on the total time."""

import time
from concurrent.futures import Future, wait
from http.client import HTTPException, HTTPResponse
from threading import Thread
from typing import NoReturn
from urllib import request
from urllib.error import HTTPError, URLError

from dive.errors import DataError

TOTAL_TIMEOUT_FACTOR = 20  # a whole file may take this many times the timeout
CHUNK_BYTES = 2**16


class _HTTPOnly(request.BaseHandler):
    # urllib also reads local files, and follows redirects to ftp.
    handler_order = 0  # before the default handlers

    def file_open(self, req: request.Request) -> NoReturn:
        raise URLError(f"unknown url type: {req.type}")

    ftp_open = data_open = file_open


def download(url: str, timeout: float, max_bytes: int) -> bytes:
    """Download a file over http or https, following redirects.

    requests and pooch have no limit on the size or the total time, so a slow server could hold a run forever.

    Args:
        url: address of the file.
        timeout: seconds to wait for the next byte. The whole download may take `TOTAL_TIMEOUT_FACTOR` times as
            long, which also stops servers that send a byte now and then.
        max_bytes: size limit.

    Raises:
        DataError: the server cannot be reached or fails, or the file is incomplete, too slow or too large.
    """
    limit = TOTAL_TIMEOUT_FACTOR * timeout
    too_slow = DataError(f"{url}: not finished within {limit:g} s ({TOTAL_TIMEOUT_FACTOR} times data.timeout)")
    deadline = time.monotonic() + limit
    result: Future[bytes] = Future()

    def read_body(response: HTTPResponse) -> bytes:
        content, length = bytearray(), response.length
        while chunk := response.read1(CHUNK_BYTES):
            content += chunk
            if len(content) > max_bytes:
                raise DataError(f"{url}: larger than {max_bytes} bytes, the size of the largest archive")
            if time.monotonic() > deadline:  # the caller has given up: end this thread too
                raise too_slow
        if length is not None and len(content) < length:
            raise DataError(f"{url}: connection closed after {len(content)} of {length} bytes")
        return bytes(content)

    def fetch() -> None:
        try:
            with request.build_opener(_HTTPOnly).open(url, timeout=timeout) as response:
                result.set_result(read_body(response))
        except Exception as error:
            result.set_exception(error)

    # In a thread, because name resolution and reading the headers have no total time limit.
    Thread(target=fetch, name="download", daemon=True).start()
    if not wait([result], limit).done:
        raise too_slow
    try:
        return result.result()
    except (OSError, HTTPException, ValueError) as error:
        raise DataError(f"{url}: {_reason(error, timeout)}") from error


def _reason(error: Exception, timeout: float) -> str:
    if isinstance(error, HTTPError):
        error.close()
    cause = error.reason if isinstance(error, URLError) and not isinstance(error, HTTPError) else error
    if isinstance(cause, TimeoutError):
        return f"no data received for {timeout:g} s (data.timeout)"
    return " ".join((getattr(cause, "strerror", None) or str(cause) or type(cause).__name__).split())
