"""Take out of free text what could tell who a patient is."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import PurePath

MIN_NAME = 3  # letters: shorter parts of names, such as MR or de, are words of every description
_PART = r"[^\s'\":;,()]"
# from whole words down to the pieces of a file name such as P001_t1c.nii
_TOKENS = [re.compile(p) for p in (r"[^\s'\":;,()\[\]/\\]+", r"[\w^.-]+", r"[\w^-]+", r"[A-Za-z0-9^-]+")]
_LETTERS = re.compile(r"[^\W\d_]+")
_UID = re.compile(r"(?<![\w.])\d+(?:\.\d+){4,}(?![\w.])")
_DATE = re.compile(r"(?<![\d.])((?:19|20)\d\d)[-./]?(?:0[1-9]|1[0-2])[-./]?(?:0[1-9]|[12]\d|3[01])(?!\d)")
_SAID_NUMBER = re.compile(r"(?:(?<=patient )|(?<=list )|(?<='))\d{1,3}(?=[\s'.,:]|$)")


@dataclass(frozen=True)
class Scrub:
    """Replaces ids by pseudonyms, and takes out paths, names of persons, UIDs, days and months.

    Args:
        phrases: What is replaced as it stands -> by what; ids with spaces, files that the study names.
        roots: Folders below which a path is never shown.
        paths: Known files and folders below them -> what stands for them.
        tokens: Ids and header values, in lower case -> what stands for them.
        parts: Names of files and folders below the roots, in lower case; not taken out of descriptions.
        names: Words of persons' names, in lower case.
    """

    phrases: Mapping[str, str]
    roots: tuple[str, ...]
    paths: Mapping[str, str]
    tokens: Mapping[str, str]
    parts: frozenset[str]
    names: frozenset[str]

    def __call__(self, text: str) -> str:
        """A message or reason without identities."""
        for root in self.roots:
            if root in text:
                for path in sorted((p for p in self.paths if p in text), key=len, reverse=True):
                    text = re.sub(re.escape(path) + r"(?![\\/])", self.paths[path], text)
                    text = re.sub(re.escape(path) + rf"[\\/]{_PART}+", "[path]", text)
                text = re.sub(re.escape(root) + rf"[\\/]{_PART}+", "[path]", text).replace(root, "[cohort.scans]")
        text = self.description(text)
        text = _SAID_NUMBER.sub(lambda m: self.tokens.get(m[0], m[0]), text)
        for token in _TOKENS:
            text = token.sub(lambda m: "[path]" if m[0].strip(".").lower() in self.parts else m[0], text)
        return text

    def description(self, text: str) -> str:
        """A header's free text without identities; words that only a folder is called are kept."""
        for phrase, instead in self.phrases.items():
            text = text.replace(phrase, instead)
        for token in _TOKENS:
            text = token.sub(self._token, text)
        text = _LETTERS.sub(lambda m: "[name]" if m[0].lower() in self.names else m[0], text)
        return _DATE.sub(r"\1", _UID.sub("[uid]", text))

    def _token(self, match: re.Match[str]) -> str:
        bare = match[0].rstrip(".")
        instead = self.tokens.get(bare.lower()) if telling(bare) else None
        return match[0] if instead is None else instead + match[0][len(bare) :]


def telling(identity: str) -> bool:
    """False for ids such as "12", which in a sentence is more likely a measure than a patient."""
    plain = identity.isdigit() and not identity.startswith("0")
    mixed = any(c.isdigit() for c in identity) and any(c.isalpha() for c in identity)
    return len(identity) >= 4 or (not plain and len(identity) >= 2 and (mixed or identity.startswith("0")))


def name_words(values: Iterable[str]) -> frozenset[str]:
    """Words of names such as DOE^JANE, in lower case."""
    return frozenset(w.lower() for v in values for w in _LETTERS.findall(v) if len(w) >= MIN_NAME)


def path_parts(paths: Iterable[str], roots: Iterable[str]) -> frozenset[str]:
    """Names of the files and folders between the roots and these paths, in lower case, with and without suffix.

    Plain small words such as `scans` are left out: they are words of our own messages too.
    """
    roots = sorted(roots, key=len, reverse=True)
    found: set[str] = set()
    for path in paths:
        below = next((path[len(r) :] for r in roots if path.startswith(r)), path)
        for part in PurePath(below).parts:
            found |= {part, part.partition(".")[0], *part.split()}
    return frozenset(p.lower() for p in found if telling(p) and not (p.isalpha() and p.islower()))
