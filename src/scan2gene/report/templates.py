"""The templates of pages, with the filters that they use."""

from __future__ import annotations

import math
from functools import cache
from typing import Any

from scan2gene.core.text import counted, difference_text, estimate_text, interval_text, number_text
from scan2gene.report.models_table import parameter_count


@cache
def environment() -> Any:
    """All templates; a value that is missing is said in words."""
    import jinja2

    found = jinja2.Environment(
        loader=jinja2.PackageLoader("scan2gene", "report"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_printable,
    )
    found.filters |= {"number": number_text, "thousands": lambda n: f"{n:,}"}
    found.filters |= {"parameters": parameter_count}
    found.globals |= {
        "interval": interval_text,
        "difference": difference_text,
        "counted": counted,
        "estimate_text": estimate_text,
    }
    return found


def _printable(value: Any) -> Any:
    """A missing value is said in words, whatever a section forgot."""
    missing = value is None or (isinstance(value, float) and not math.isfinite(value))
    return "not known" if missing else value
