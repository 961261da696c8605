"""Finding released files in a folder, fetching them, and holding them to their sha256."""

from __future__ import annotations

import hashlib
import json
import re
from functools import lru_cache
from pathlib import Path

from scan2gene.core.download import NotDownloaded, download, forget, note_of
from scan2gene.core.errors import StudyError, WeightsError
from scan2gene.core.files import write_json
from scan2gene.core.section import unknown_name
from scan2gene.core.text import file_size
from scan2gene.models.weights import WEIGHTS, Card

DEFAULT_DIR = Path("~/.cache/scan2gene/weights")
HELD = "files.json"  # file name -> sha256, of files whose hash no page states
_DIGITS = re.compile(r"-([0-9a-f]{8})\.pth$")  # begin of the sha256, as torch.hub names files


def weights_folder(given: str | Path | None) -> Path:
    """The folder of released weights."""
    return Path(given or DEFAULT_DIR).expanduser()


def card_of(name: str) -> Card:
    """The card of a name.

    Raises:
        StudyError: Unknown; the message lists the names.
    """
    if name not in WEIGHTS:
        raise StudyError(f"weights {unknown_name(name, WEIGHTS)} Details: scan2gene weights list")
    return WEIGHTS[name]


def locate(name: str, folder: Path) -> Path | None:
    """A released file in the folder, or in a folder of the card's name there; None where it is not."""
    card = card_of(name)
    names = (card.file, *card.names)
    return next((p for f in (folder, folder / name) for n in names if (p := f / n).is_file()), None)


def located(name: str, folder: Path) -> Path:
    """A released file in the folder.

    Raises:
        WeightsError: It is not there; the message says how to get it.
    """
    path = locate(name, folder)
    if path is None:
        raise WeightsError(f"{card_of(name).file} is not in {folder}. {_how(name, folder)}")
    return path


def _how(name: str, folder: Path) -> str:
    card = card_of(name)
    by_hand = (
        f"open {card.page} in a browser, download {card.names[0] if card.names else card.file}, put it in {folder}"
    )
    if not card.url:
        return f"It has no direct link: {by_hand}, then: scan2gene weights check FILE"
    return f"With a network: scan2gene weights fetch {name} --weights-dir {folder}. Without: {by_hand}."


def sha256(path: Path) -> str:
    """SHA-256 of a file, 64 hex digits; hashed once per process while the file stays as it is."""
    stat = path.stat()
    return _sha256(path, stat.st_size, stat.st_mtime_ns)


@lru_cache(maxsize=64)
def _sha256(path: Path, size: int, changed: int) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def held_to(name: str, path: Path) -> str:
    """The file's sha256, after comparing it with the one stated or the one it had at first.

    Raises:
        WeightsError: It differs.
    """
    card, found = card_of(name), sha256(path)
    if card.sha256:
        if found != card.sha256:
            raise WeightsError(
                f"{path} is not the released {card.file}: its sha256 is {found[:16]}..., {card.sha256_source} states "
                f"{card.sha256[:16]}.... Get it again, or name it by file: with its geometry:."
            )
        return found
    digits = _DIGITS.search(card.file)
    if digits and not found.startswith(digits[1]):
        raise WeightsError(
            f"{path} is not the released {card.file}: its name says that its sha256 begins with {digits[1]}, it is "
            f"{found[:16]}.... Get it again."
        )
    held = _held(path.parent)
    before = held.get(path.name)
    if before is None:
        try:
            write_json(path.parent / HELD, held | {path.name: found})
        except OSError:  # a folder that others look after; the run keeps the hash
            return found
    elif before != found:
        raise WeightsError(
            f"{path} changed: its sha256 was {before[:16]}... when it was first used, and is {found[:16]}.... "
            f"Restore it, or take it out of {path.parent / HELD} if the new one is right."
        )
    return found


def _held(folder: Path) -> dict[str, str]:
    try:
        values = json.loads((folder / HELD).read_text())
    except (OSError, ValueError):
        return {}
    return values if isinstance(values, dict) else {}


def fetch(name: str, folder: Path, url: str | None = None) -> Path:
    """Download a released file, going on where an earlier attempt stopped, unless it is there.

    Args:
        name: A key of `WEIGHTS`.
        folder: Where it is looked for and put.
        url: In place of the card's.

    Raises:
        WeightsError: No direct link, no network, a web page in place of the file, another sha256.
    """
    card = card_of(name)
    there = locate(name, folder)
    if there is not None:
        held_to(name, there)
        return there
    link = url or card.url
    if not link:
        raise WeightsError(f"{card.file} cannot be fetched. {_how(name, folder)}")
    folder.mkdir(parents=True, exist_ok=True)
    part = folder / f"{card.file}.part"
    _download(link, part, name, folder)
    found = sha256(part)
    if card.sha256 and found != card.sha256:
        forget(part)
        raise WeightsError(
            f"what {link} gave is not {card.file}: its sha256 is {found[:16]}... and not {card.sha256[:16]}.... "
            f"It was deleted. {_how(name, folder)}"
        )
    path = folder / card.file
    part.replace(path)
    note_of(part).unlink(missing_ok=True)
    held_to(name, path)
    return path


def _download(url: str, part: Path, name: str, folder: Path) -> None:
    """Fill `part`, or say what is to be done."""
    try:
        download(url, part)
    except NotDownloaded as stop:
        if stop.page:
            raise WeightsError(f"{url} is a web page, not a file. Use the page's download link.") from None
        if stop.refused:
            raise WeightsError(f"{url} answers {stop.reason}. {_how(name, folder)}") from None
        if stop.so_far:
            raise WeightsError(
                f"the download of {part.name.removesuffix('.part')} stopped at {file_size(stop.so_far)} "
                f"({stop.reason}). The same command goes on from there."
            ) from None
        raise WeightsError(f"{url} cannot be reached ({stop.reason}). {_how(name, folder)}") from None
