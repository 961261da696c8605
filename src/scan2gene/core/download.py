"""Downloads over HTTP that go on where they broke."""

from __future__ import annotations

import http.client
import json
import re
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

from scan2gene.core.console import live
from scan2gene.core.files import write_json
from scan2gene.core.text import file_size

ATTEMPTS = 4
TIMEOUT_SECONDS = 30
_BLOCK = 1 << 20


class NotDownloaded(Exception):
    """A download that did not end.

    Args:
        reason: What the server or the network said.
        refused: The server answered that it will not give the file.
        page: It gave a web page in place of a file.
        so_far: Bytes that the part holds; the next download goes on from there.
    """

    def __init__(self, reason: str, refused: bool = False, page: bool = False, so_far: int = 0) -> None:
        super().__init__(reason)
        self.reason, self.refused, self.page, self.so_far = reason, refused, page, so_far


def download(url: str, part: Path, version: str = "") -> None:
    """Fill `part`; broken connections are taken up again where they broke.

    Args:
        url: http or https.
        part: File to fill; what an earlier download left in it is kept where the server's file is the same.
        version: The file's ETag, where a list gave it already; else the server's is kept beside the part.

    Raises:
        NotDownloaded: It did not end; the part stays.
    """
    reason = ""
    for attempt in range(ATTEMPTS):
        before = part.stat().st_size if part.exists() else 0
        try:
            _transfer(url, part, version)
            return
        except urllib.error.HTTPError as error:
            reason = f"{error.code} {error.reason}"
            if error.code == 416:  # the part is longer than the file is now
                part.unlink(missing_ok=True)
            elif error.code < 500:
                raise NotDownloaded(reason, refused=True) from None
        except (OSError, http.client.HTTPException) as error:
            reason = str(getattr(error, "reason", "") or error or type(error).__name__)
        if (part.stat().st_size if part.exists() else 0) == before and attempt:
            break  # twice nothing came
        time.sleep(0.2 * attempt)
    raise NotDownloaded(reason, so_far=part.stat().st_size if part.exists() else 0)


def forget(part: Path) -> None:
    """Delete a part and what was noted about it."""
    part.unlink(missing_ok=True)
    note_of(part).unlink(missing_ok=True)


def note_of(part: Path) -> Path:
    """Where the version of a part is noted."""
    return part.with_name(part.name + ".json")


def get_text(url: str) -> str:
    """A small text from a server, such as a listing.

    Raises:
        NotDownloaded: No answer after several attempts, or a refusal.
    """
    reason = ""
    for attempt in range(ATTEMPTS):
        time.sleep(0.2 * attempt)
        request = urllib.request.Request(url, headers={"User-Agent": "scan2gene"})
        try:
            with urllib.request.urlopen(request, timeout=TIMEOUT_SECONDS) as answer:
                return answer.read().decode()
        except urllib.error.HTTPError as error:
            reason = f"{error.code} {error.reason}"
            if error.code < 500:
                raise NotDownloaded(reason, refused=True) from None
        except (OSError, http.client.HTTPException) as error:
            reason = str(getattr(error, "reason", "") or error or type(error).__name__)
    raise NotDownloaded(reason)


def _transfer(url: str, part: Path, version: str) -> None:
    """One connection. A part is only continued when the server's file is still the same."""
    known = {"url": url, "version": version} if version else _note(note_of(part))
    start = part.stat().st_size if part.exists() and known.get("url") == url else 0
    request = urllib.request.Request(url, headers={"User-Agent": "scan2gene"})
    if start:
        request.add_header("Range", f"bytes={start}-")
        if known.get("version"):
            request.add_header("If-Range", known["version"])
    with urllib.request.urlopen(request, timeout=TIMEOUT_SECONDS) as answer:
        if answer.headers.get_content_type() == "text/html":
            raise NotDownloaded("a web page, not a file", page=True)
        goes_on = answer.status == 206
        if goes_on:
            span = re.match(r"bytes (\d+)-\d+/(\d+|\*)", answer.headers.get("Content-Range", ""))
            if not span or int(span[1]) != start:
                raise OSError("the server answered with another part")
            total = int(span[2]) if span[2] != "*" else None
        else:
            length = answer.headers.get("Content-Length")
            total = int(length) if length else None
        if not version:
            given = answer.headers.get("ETag") or answer.headers.get("Last-Modified") or ""
            write_json(note_of(part), {"url": url, "version": "" if given.startswith("W/") else given})
        with part.open("ab" if goes_on else "wb") as stream:
            while block := answer.read(_BLOCK):
                stream.write(block)
                if not version:  # files of a list come many at a time, and their caller counts them
                    live(f"{part.name}: {file_size(stream.tell())}{f' of {file_size(total)}' if total else ''}")
    if not version:
        live("")
    size = part.stat().st_size
    if total is not None and size < total:
        raise OSError(f"the connection broke after {size} of {total} bytes")
    if total is not None and size > total:
        part.unlink()
        raise OSError("more came than was announced")


def _note(path: Path) -> dict[str, Any]:
    try:
        return json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
