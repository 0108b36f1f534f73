"""Downloads one file: resumes where it was cut off, retries, and verifies size and checksums."""

from __future__ import annotations

import random
import re
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.commands.datasets import answers
from harness.commands.datasets.part import DamagedPieceError, Part
from harness.commands.datasets.source import File
from harness.spec import DataError

if TYPE_CHECKING:
    import httpx2

RETRIES = 8  # attempts in a row that bring nothing new
_LONGEST_PAUSE = 60.0  # seconds
_AGAIN = frozenset({408, 425, 429, 500, 502, 503, 504})
_MEANINGS = {
    401: "needs a login",
    403: "refuses access: accept its licence, or get a new link if this one has expired",
    404: "does not have it",
    410: "no longer has it",
}


class StoppedError(Exception):
    """The user interrupted the download."""


class _RetryError(Exception):
    """An attempt failed in a way that another one may not."""

    def __init__(self, message: str, pause: float | None = None) -> None:
        super().__init__(message)
        self.pause = pause


@dataclass
class Transfers:
    """What the transfers of a download share.

    Attributes:
        client: Follows redirects and respects HTTP_PROXY, HTTPS_PROXY, NO_PROXY, SSL_CERT_FILE.
        stopped: Ends all transfers.
    """

    client: httpx2.Client
    stopped: threading.Event = field(default_factory=threading.Event)


def make_client() -> httpx2.Client:
    """An HTTP client for large files."""
    import httpx2

    return httpx2.Client(
        follow_redirects=True,
        timeout=httpx2.Timeout(60.0, connect=30.0),
        headers={"Accept-Encoding": "identity", "User-Agent": "chronograd"},
    )


def fetch(
    shared: Transfers,
    file: File,
    url: str,
    paths: tuple[Path, Path],
    report: Callable[[int], None],
) -> dict[str, Any]:
    """Downloads a file; what an earlier call has left of it is resumed.

    Args:
        shared: What transfers share.
        file: The file.
        url: Where it is.
        paths: Where it is written, and where it is put once it is verified.
        report: Called with the number of bytes that are there.

    Returns:
        url, bytes, sha256 and whether a published checksum was compared with.

    Raises:
        DataError: The source has changed, refuses access, or cannot be reached; what is there of
            the file stays, nothing is put in place.
        StoppedError: The download was stopped.
    """
    part = Part(paths[0], file)
    try:
        report(part.size)
        download = _Download(shared, file, url, part, report)
        download.run()
        try:
            part.put(paths[1])
        except FileExistsError as error:
            raise DataError(f"{error}; move it away to download it again") from None
    finally:
        part.close()
    return {
        "url": url,
        "bytes": part.size,
        "sha256": part.sha256,
        "verified": bool(file.sha256 or file.md5 or download.published),
    }


class _Download:
    """One file's transfer: attempts until it is complete, then the comparison of checksums."""

    def __init__(
        self, shared: Transfers, file: File, url: str, part: Part, report: Callable[[int], None]
    ) -> None:
        self._shared, self._file, self._url, self._part = shared, file, url, part
        self._report = report
        self.published = ""  # the checksum that the source sends with the file
        self._resumed = part.size > 0

    def run(self) -> None:
        """Attempts until the file is complete and verified; raises DataError."""
        failures = 0
        while not self._is_complete():
            before = self._part.size
            try:
                self._attempt()
            except _RetryError as error:
                failures = 1 if self._part.size > before else failures + 1
                if failures >= RETRIES:
                    raise self._error(
                        f"gave up after {RETRIES} attempts in a row ({error}); run the command "
                        "again to resume"
                    ) from None
                self._pause(failures, error.pause)
        self._verify()

    def _is_complete(self) -> bool:
        """Whether all bytes are there, by the size that is known before asking."""
        total = self._part.origin.get("total")
        return total is not None and self._part.size == total

    def _pause(self, failures: int, asked: float | None) -> None:
        """Waits for twice as long after each failure, or for as long as the server asks."""
        longest = min(_LONGEST_PAUSE, 2.0**failures)
        seconds = min(asked, _LONGEST_PAUSE) if asked else longest * random.random()
        self._shared.stopped.wait(seconds)
        self._check_stopped()

    def _check_stopped(self) -> None:
        if self._shared.stopped.is_set():
            raise StoppedError

    def _attempt(self) -> None:
        """Requests what is missing, once; raises _RetryError or DataError."""
        import httpx2

        try:
            with self._shared.client.stream("GET", self._url, headers=self._range()) as response:
                self._check_status(response)
                self._start(response)
                for block in response.iter_raw():  # as it arrives: nothing is lost when cut off
                    self._check_stopped()
                    self._write(block)
                self._end()
        except (httpx2.UnsupportedProtocol, httpx2.InvalidURL, httpx2.TooManyRedirects) as error:
            raise self._error(str(error)) from None
        except httpx2.TransportError as error:
            if answers.is_certificate_fault(error):
                raise self._error(
                    f"its certificate is not accepted ({error}); set SSL_CERT_FILE to the file of "
                    "your certificate authority if it is your own"
                ) from None
            raise _RetryError(f"{type(error).__name__}: {error}".rstrip(": ")) from None
        except DamagedPieceError as error:
            raise _RetryError(str(error)) from None

    def _range(self) -> dict[str, str]:
        """The headers that ask for the rest, of the same version of the file."""
        validator = self._part.origin.get("validator")
        certain = validator or self._file.sha256 or self._file.md5
        if not self._part.size or not certain:
            return {}
        headers = {"Range": f"bytes={self._part.size}-"}
        return headers | ({"If-Range": validator} if validator else {})

    def _check_status(self, response: httpx2.Response) -> None:
        status = response.status_code
        if status in (200, 206):
            return
        if status == 416 and self._part.size:  # there is nothing after what is there
            self._part.restart()
            raise _RetryError("the server does not have the rest of it")
        answer = f"{response.url.host} answered {status} {response.reason_phrase}".rstrip()
        if status in _AGAIN:
            raise _RetryError(answer, answers.seconds(response.headers.get("Retry-After")))
        raise self._error(f"{answer}: it {_MEANINGS.get(status, 'does not send it')}")

    def _start(self, response: httpx2.Response) -> None:
        """Prepares for the bytes of a response: appends to what is there, or starts over."""
        self._check_redirects(response)
        total = answers.total(response)
        expected = self._file.bytes
        if expected is not None and total is not None and total != expected:
            raise self._changed(f"has {total:,} bytes, {expected:,} were expected")
        sums = [r.headers.get("X-Linked-ETag", "") for r in (*response.history, response)]
        found = [s.strip('"') for s in sums if re.fullmatch(r'"?[0-9a-f]{64}"?', s)]
        self.published = found[0] if found else ""
        if self.published and self._file.sha256 not in (None, self.published):
            raise self._changed(f"has the SHA-256 {self.published}, not {self._file.sha256}")
        if response.status_code == 200:
            self._part.restart()
        elif answers.first_byte(response) != self._part.size:
            self._part.restart()
            raise _RetryError("the server sent another range than was asked for")
        headers = response.headers
        tag = headers.get("ETag", "")
        validator = tag if tag and not tag.startswith("W/") else headers.get("Last-Modified")
        known = total if total is not None else expected
        self._part.belongs_to({"url": self._url, "validator": validator, "total": known})
        self._report(self._part.size)

    def _check_redirects(self, response: httpx2.Response) -> None:
        """Refuses an answer without encryption to a question with it, unless it can be verified."""
        schemes = [hop.url.scheme for hop in (*response.history, response)]
        verified = self._file.sha256 or self._file.md5
        if schemes[0] == "https" and "http" in schemes and not verified:
            raise self._error(f"it redirects to {response.url}, which is not encrypted")

    def _write(self, block: bytes) -> None:
        total = self._part.origin["total"]
        if total is not None and self._part.size + len(block) > total:
            self._part.restart()
            raise _RetryError(f"it sends more than {total:,} bytes")
        self._part.write(block)
        self._report(self._part.size)

    def _end(self) -> None:
        origin = self._part.origin
        if origin["total"] is None:  # a chunked answer, which has ended by itself
            self._part.belongs_to({**origin, "total": self._part.size})
        elif self._part.size < origin["total"]:
            raise _RetryError(f"it ended after {self._part.size:,} of {origin['total']:,} bytes")

    def _verify(self) -> None:
        """Compares size and checksums; a file in parts from several attempts is fetched once more.

        Raises:
            DataError: They differ, so the source has changed.
        """
        fault = self._fault()
        if not fault:
            return
        if not self._resumed:
            self._part.discard()
            raise self._changed(fault)
        self._resumed = False
        self._part.restart()
        self._part.belongs_to({})
        self.run()

    def _fault(self) -> str:
        """How the complete file differs from what is known of it; "" if it does not."""
        expected = self._file.bytes
        if expected is not None and self._part.size != expected:
            return f"has {self._part.size:,} bytes, {expected:,} were expected"
        wanted = self._file.sha256 or self.published
        if wanted and self._part.sha256 != wanted:
            return f"has the SHA-256 {self._part.sha256}, not {wanted}"
        if not wanted and self._file.md5 and self._part.md5 != self._file.md5:
            return f"has the MD5 {self._part.md5}, not {self._file.md5}"
        return ""

    def _changed(self, how: str) -> DataError:
        return self._error(
            f"the source has changed: it {how}; nothing was put in place. If this version is the "
            "one you want, or you know a mirror, describe it in a file for --source"
        )

    def _error(self, message: str) -> DataError:
        return DataError(f"{self._file.name}: {message} ({self._url})")
