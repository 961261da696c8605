"""Texts that look the same and are encoded differently: one form of them, and what differs in words.

Source: Unicode Standard Annex 15 (normalisation forms) and Technical Standard 39 (confusable characters).
"""

from __future__ import annotations

import re
import unicodedata

# zero-width and direction marks, soft hyphen, byte order mark, fillers and variation selectors: never seen
_INVISIBLE = re.compile(
    "[\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180e\u200b-\u200f\u202a-\u202e\u2060-\u206f\u3164"
    "\ufe00-\ufe0f\ufeff\uffa0]"
)
_SPACES = re.compile("[\u00a0\u1680\u2000-\u200a\u202f\u205f\u3000]")
_DASHES = re.compile("[\u2010-\u2015\u2043\u2212\ufe58\ufe63\uff0d]")
_LATIN = str.maketrans(
    "\u0410\u0412\u0415\u0405\u0406\u0408\u041a\u041c\u041d\u041e\u0420\u0421\u0422\u0425\u0430\u0435\u0455\u0456\u0458\u043e\u0440\u0441\u0443\u0445"
    "\u0391\u0392\u0395\u0396\u0397\u0399\u039a\u039c\u039d\u039f\u03a1\u03a4\u03a5\u03a7\u03bf\u2044\u2019",
    "ABESIJKMHOPCTXaesijopcyxABEZHIKMNOPTYXo/'",
)


def plain_text(text: str) -> str:
    """The text composed (NFC), without characters that nobody sees, its spaces plain, stripped.

    Two texts that agree so cannot be told apart by eye.
    """
    if text.isascii():
        return text.strip()
    return _SPACES.sub(" ", _INVISIBLE.sub("", unicodedata.normalize("NFC", text))).strip()


def plain_dashes(text: str) -> str:
    """Every dash and minus sign as the hyphen of the keyboard."""
    return text if text.isascii() else _DASHES.sub("-", text)


def latin(text: str) -> str:
    """As `plain_text`, with look-alike dashes, wide forms, and Cyrillic or Greek letters as the Latin ones."""
    plain = plain_dashes(plain_text(text))
    return plain if plain.isascii() else unicodedata.normalize("NFKC", plain).translate(_LATIN)
