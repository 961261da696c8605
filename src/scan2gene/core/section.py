"""What every part of a study file is made of: sections, plug-ins, names and patterns."""

from __future__ import annotations

import difflib
import inspect
import math
import re
import sys
from collections.abc import Callable, Mapping
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

from scan2gene.core.errors import StudyError


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


def options_of(function: Callable[..., Any]) -> list[str]:
    """Names of a plug-in's options: the parameters that go by keyword only, or else those with a default."""
    parameters = inspect.signature(function).parameters.values()
    options = [p for p in parameters if p.kind is p.KEYWORD_ONLY] or [p for p in parameters if p.default is not p.empty]
    fixed = getattr(function, "keywords", {})  # of a partial function
    return [p.name for p in options if p.name not in fixed]


def check_plugin(plugin: Plugin, known: Mapping[str, Callable[..., Any]], place: str) -> None:
    """Refuse an unknown plug-in, or an option that it does not have.

    Args:
        plugin: Of a study file.
        known: Name -> function.
        place: Where it stands, such as "train.schedule".

    Raises:
        StudyError: With the valid names.
    """
    if plugin.name not in known:
        raise StudyError(f"{place}: {unknown_name(plugin.name, known)}")
    valid = options_of(known[plugin.name])
    for option in plugin.options:
        if option not in valid:
            raise StudyError(f"{place}, {plugin.name}: option {unknown_name(option, valid or ['none'])}")
