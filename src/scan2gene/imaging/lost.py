"""Files whose header cannot be read: which series may lack slices because of them."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
from itertools import groupby

from scan2gene.imaging.sources import UNFINISHED, Source


def lost_files(unread: Iterable[Source], series: Mapping[str, Iterable[Source]]) -> dict[Source, set[str]]:
    """To which series an unreadable file may belong.

    A file may be a slice of a series when it lies in one folder with files of that series and
    is named as they are, digits apart. Of several such series it is one of the two between
    whose files its name sorts, if the names of each series run on without another between
    them; else any.

    Args:
        unread: Files without a readable header.
        series: Name of a series -> its files.
    """
    bad: dict[str, list[Source]] = defaultdict(list)
    for source in unread:
        bad[source.folder].append(source)
    beside: dict[str, list[tuple[str, str]]] = defaultdict(list)  # folder -> file name, series
    if bad:
        for uid, files in series.items():
            for source in files:
                if source.folder in bad:
                    beside[source.folder].append((source.name, uid))
    found: dict[Source, set[str]] = {}
    for folder, sources in bad.items():
        names = sorted(beside[folder])
        runs = [uid for uid, _ in groupby(uid for _, uid in names)]
        for source in sources:
            found[source] = _possible(_finished(source.name), names, ordered=len(runs) == len(set(runs)))
    return found


def _possible(name: str, names: list[tuple[str, str]], ordered: bool) -> set[str]:
    like = [(other, uid) for other, uid in names if _form(other) == _form(name)]
    if not ordered:
        return {uid for _, uid in like}
    before = [uid for other, uid in like if other <= name]
    after = [uid for other, uid in like if other > name]
    return {*before[-1:], *after[:1]}


def _finished(name: str) -> str:
    """A file's name without what a download program adds."""
    return next((name[: -len(end)] for end in UNFINISHED if name.endswith(end)), name)


def _form(name: str) -> str:
    """A file's name without its numbers, decimal or hexadecimal; without them, whole words are told apart."""
    return re.sub(r"[0-9a-f]*\d[0-9a-f]*", "#", name)
