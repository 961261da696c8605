"""Numbers, intervals, P values, counts, lists and sizes as text: one way for console, messages, tables and pages."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from typing import Protocol

from scan2gene.core.levels import ALPHA

NOT_ESTIMATED, NO_INTERVAL = "not estimated", "no interval"


class Estimated(Protocol):
    """A value with the two ends of its interval; each may be missing."""

    @property
    def value(self) -> float | None: ...  # noqa: D102
    @property
    def low(self) -> float | None: ...  # noqa: D102
    @property
    def high(self) -> float | None: ...  # noqa: D102


def number_text(value: float | None, digits: int = 3) -> str:
    """Fixed decimals, so that an interval which just misses 0.5 shows it; never NaN and never -0.000."""
    return _fixed(value, f".{digits}f")


def signed_text(value: float | None, digits: int = 3) -> str:
    """As `number_text`, with the sign of a difference: +0.012, -0.034, 0.000."""
    return _fixed(value, f"+.{digits}f")


def _fixed(value: float | None, form: str) -> str:
    value = _finite(value)
    if value is None:
        return NOT_ESTIMATED
    text = f"{value:{form}}"
    return text if float(text) else text.lstrip("+-")


def _finite(value: float | None) -> float | None:
    return float(value) if value is not None and math.isfinite(value) else None


def interval_text(low: float | None, high: float | None, digits: int = 3) -> str:
    """0.601–0.823; with "to" where a dash could be read as another minus sign."""
    low, high = _finite(low), _finite(high)
    if low is None or high is None:
        return NO_INTERVAL
    return f"{number_text(low, digits)}{' to ' if low < 0 else '–'}{number_text(high, digits)}"


def estimate_text(found: Estimated | None, digits: int = 3) -> str:
    """0.712 (0.601–0.823); 0.712 (no interval); not estimated."""
    if found is None or _finite(found.value) is None:
        return NOT_ESTIMATED
    return f"{number_text(found.value, digits)} ({interval_text(found.low, found.high, digits)})"


def difference_text(found: Estimated | None) -> str:
    """As `estimate_text`, with signs: +0.034 (-0.010 to +0.078)."""
    if found is None or _finite(found.value) is None:
        return NOT_ESTIMATED
    if _finite(found.low) is None or _finite(found.high) is None:
        return f"{signed_text(found.value)} ({NO_INTERVAL})"
    return f"{signed_text(found.value)} ({signed_text(found.low)} to {signed_text(found.high)})"


def p_number(p: float | None) -> str:
    """0.012; < 0.001; more digits where three would hide on which side of 0.05 it lies."""
    p = _finite(p)
    if p is None:
        return NOT_ESTIMATED
    if p < 0.001:
        return "< 0.001"
    texts = (f"{p:.{digits}f}" for digits in (3, 4, 5))
    return next((text for text in texts if (float(text) < ALPHA) == (p < ALPHA)), str(p))


def p_text(p: float | None) -> str:
    """P = 0.012; P < 0.001; P not estimated."""
    text = p_number(p)
    return f"P = {text}" if text[0].isdigit() else f"P {text}"


def percent(share: float | None, exact: bool = False) -> str:
    """A share of 0 to 1: 71 %; `exact` for one that was set, such as 12.5 %."""
    share = _finite(share)
    if share is None:
        return NOT_ESTIMATED
    return f"{100 * share:.3g} %" if exact else f"{100 * min(max(share, 0), 1):.0f} %"


def quartiles(values: Iterable[float]) -> str:
    """Median with quartiles, 54.5 (41–63); empty without values."""
    import numpy as np

    known = np.asarray(list(values), float)
    if not len(known):
        return ""
    low, middle, high = np.percentile(known, [25, 50, 75])
    return f"{middle:.4g} ({low:.4g}–{high:.4g})"


def count_range(counts: Iterable[int]) -> str:
    """Smallest and largest of some counts: 11–13, or 12 where they are equal; empty without counts."""
    known = list(counts)
    if not known:
        return ""
    low, high = min(known), max(known)
    return f"{low:,}" if low == high else f"{low:,}–{high:,}"


def counted(count: int, noun: str, plural: str = "") -> str:
    """A count with its noun: 1 exam, 1,200 exams."""
    return f"{count:,} {noun if count == 1 else plural or noun + 's'}"


def listed(items: Iterable[object], last: str = "and", most: int | None = None, noun: str = "") -> str:
    """a; a and b; a, b and c; or as many as `most` and how many more: a, b and 7 more exams."""
    shown, more = _first(items, most, noun)
    texts = [*shown, *more]
    return f"{', '.join(texts[:-1])} {last} {texts[-1]}" if len(texts) > 1 else "".join(texts)


def clauses(items: Iterable[object], most: int | None = None, noun: str = "") -> str:
    """Longer items, which may hold commas: a; b; and 7 more figures."""
    shown, more = _first(items, most, noun)
    return "; ".join([*shown, *(f"and {text}" for text in more)])


def _first(items: Iterable[object], most: int | None, noun: str) -> tuple[list[str], list[str]]:
    """As many texts as `most`, and how many more there are; nothing where these are all."""
    texts = [str(item) for item in items]
    rest = 0 if most is None else len(texts) - most
    if rest <= 0:
        return texts, []
    return texts[:most], [counted(rest, f"more {noun}") if noun else f"{rest:,} more"]


def capitalised(text: str) -> str:
    """The text with a capital first letter; the rest stays as it is."""
    return text[:1].upper() + text[1:]


def sentences(parts: Iterable[str]) -> str:
    """Parts without a full stop as sentences but for the last stop: "A is b. C is d"."""
    return ". ".join(capitalised(part) for part in parts)


def dimensions(values: Iterable[float], times: str = " x ") -> str:
    """Sizes along the axes: 0.9375 x 0.9375 x 5."""
    return times.join(f"{v:.4g}" if v < 1e4 else f"{v:.0f}" for v in map(float, values))


def duration(seconds: float) -> str:
    """0.4 s, 35 s, 12 min, 1.6 h."""
    if seconds < 0.05:
        return "less than 0.1 s"
    if seconds < 90:
        return f"{seconds:.1f} s" if seconds < 9.95 else f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def file_size(count: float) -> str:
    """Bytes in units of a thousand, a million or a billion: 12.3 kB, 4.5 MB, 120.0 GB."""
    for unit, size, least in (("GB", 1e9, 0.95e9), ("MB", 1e6, 5e4), ("kB", 1e3, 50)):
        if count >= least:
            return f"{count / size:.1f} {unit}"
    return counted(round(count), "byte")


def magnitude(count: int) -> str:
    """A large number in short, such as parameters of a network: 46.2 M, 7.7 k, 12."""
    for unit, size in (("M", 1e6), ("k", 1e3)):
        if count >= 0.9995 * size:
            return f"{count / size:.3g} {unit}"
    return str(count)


def slug(text: str, allowed: str = ".-") -> str:
    """The text as part of a file name: a hyphen for whatever is no plain letter or digit and not `allowed`."""
    return re.sub(f"[^A-Za-z0-9{re.escape(allowed)}]+", "-", text)
