"""What every part of a study file is made of: sections, plug-ins, names and patterns."""

from __future__ import annotations

import difflib
import math
import re
import sys
from collections.abc import Callable
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field


def _compiles(pattern: str) -> str:
    try:
        re.compile(pattern)
    except re.error as error:
        raise ValueError(f"{pattern!r} is no regular expression: {error}") from None
    return pattern


def _no_truth_value(value: Any) -> Any:
    if isinstance(value, bool):
        raise ValueError("YAML reads a bare yes, no, on, off, true or false as a truth value; quote it, such as 'yes'")
    return value


def reasonable(value: Any) -> Any:
    """The value, if every number in it is finite and no whole number is beyond all use."""
    if isinstance(value, dict | list | tuple):
        for inner in value.values() if isinstance(value, dict) else value:
            reasonable(inner)
    elif isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"takes finite numbers (got {value})")
    elif isinstance(value, int) and abs(value) > MAX_WHOLE:
        raise ValueError(f"takes whole numbers up to {MAX_WHOLE:,} (got {value})")
    return value


_ALIKE = 0.7  # of 1: below, two words share letters by chance
MAX_SEED = 2**32 - 1  # the largest that NumPy's older generators and Lightning take
MAX_WHOLE = 10**12
Options = Annotated[dict[str, Any], AfterValidator(reasonable)]
Pattern = Annotated[str, AfterValidator(_compiles)]
LabelValue = Annotated[str | int | float, BeforeValidator(_no_truth_value)]
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")]


class Section(BaseModel):
    """Base of every part of the study file: unknown keys refused, values frozen."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Plugin(Section):
    """A function by its name, with keyword options."""

    name: str
    options: Options = {}


def version_of(function: Callable[..., Any]) -> int:
    """`VERSION` of the module that defines a step, a model or another plug-in; it enters the keys of what is made.

    It is raised when the same input and options give another result, also by a change in a helper that several
    plug-ins share: then in each of them. The golden tables of the tests fail until that is done.
    """
    defined = getattr(function, "func", function)  # `func`: a model may be a partial function
    return int(sys.modules[defined.__module__].VERSION)


def unknown_name(name: str, valid: Any) -> str:
    """'x' is unknown. Valid: ... Did you mean ...?"""
    names = sorted(valid)
    close = difflib.get_close_matches(name, names, n=1, cutoff=_ALIKE) or [n for n in names if name and name in n][:1]
    hint = f" Did you mean {close[0]!r}?" if close else ""
    return f"{name!r} is not known; valid: {', '.join(names)}.{hint}"
