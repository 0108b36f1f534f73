"""What an HTTP answer, or its failure, says."""

from __future__ import annotations

import re
import ssl
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import httpx2


def is_certificate_fault(error: BaseException | None) -> bool:
    """Whether a connection failed because a certificate was not accepted."""
    while error is not None:
        if isinstance(error, ssl.SSLCertVerificationError) or "CERTIFICATE_VERIFY" in str(error):
            return True
        error = error.__cause__ or error.__context__
    return False


def total(response: httpx2.Response) -> int | None:
    """The size of the complete file, as the server says it; None if it does not."""
    if response.status_code == 206:
        match = re.fullmatch(
            r"bytes \d+-\d+/(\d+)", response.headers.get("Content-Range", "").strip()
        )
        return int(match[1]) if match else None
    length = response.headers.get("Content-Length", "")
    return int(length) if length.isdecimal() else None


def first_byte(response: httpx2.Response) -> int | None:
    """The position at which a partial answer begins."""
    match = re.match(r"bytes (\d+)-", response.headers.get("Content-Range", ""))
    return int(match[1]) if match else None


def seconds(text: str | None) -> float | None:
    """The seconds of a Retry-After header; None if there are none, or it is a date."""
    return float(text) if text and text.strip().isdecimal() else None
