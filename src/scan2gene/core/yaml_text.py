"""YAML of study files: read with bounds, so that no file hangs, and without numbers that nobody wrote."""

from __future__ import annotations

import re
from typing import Any

import yaml

MAX_LETTERS = 500_000
MAX_VALUES = 20_000  # with every alias written out
MAX_DEPTH = 40
_DIGITS = 1000  # Python turns no more than 4,300 digits into a number


class _Loader(yaml.SafeLoader):
    """Numbers as people write them. 010, 1_0, 0x1F, 1:30 and dates stay texts: YAML 1.1 would read 8, 10, 31, 90."""


_Loader.yaml_implicit_resolvers = {
    letter: [(tag, rule) for tag, rule in rules if tag.rpartition(":")[2] not in ("int", "float", "timestamp")]
    for letter, rules in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(
        r"[-+]?(?:(?:0|[1-9][0-9]*)\.[0-9]*|\.[0-9]+)(?:[eE][-+][0-9]{1,3})?$|[-+]?\.(?:inf|Inf|INF)$|\.(?:nan|NaN|NAN)$"
    ),
    list("-+.0123456789"),
)
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:int", re.compile(rf"[-+]?(?:0|[1-9][0-9]{{0,{_DIGITS - 1}}})$"), list("-+0123456789")
)


class Bounds(ValueError):
    """A text that is too long, too deep, or too large once its aliases are written out."""


def read_yaml(text: str) -> tuple[Any, yaml.Node | None]:
    """Values of a YAML text, no two places sharing one list or mapping, and its nodes with their lines.

    Raises:
        Bounds: Beyond one of `MAX_LETTERS`, `MAX_VALUES` and `MAX_DEPTH`, or an alias inside what it names.
        yaml.YAMLError: Not YAML.
    """
    if len(text) > MAX_LETTERS:
        raise Bounds(f"holds {len(text):,} letters; {MAX_LETTERS:,} are the most")
    _check(text)
    return _unshared(yaml.load(text, Loader=_Loader)), yaml.compose(text, Loader=_Loader)


def doubled_key(node: yaml.Node | None) -> yaml.Node | None:
    """A key that stands twice in one mapping, of which YAML would keep the last; None where there is none."""
    if isinstance(node, yaml.MappingNode):
        seen: set[Any] = set()
        for key, value in node.value:
            if isinstance(key.value, str):
                if key.value in seen:
                    return key
                seen.add(key.value)
            if inner := doubled_key(value):
                return inner
    for item in node.value if isinstance(node, yaml.SequenceNode) else ():
        if inner := doubled_key(item):
            return inner
    return None


def _check(text: str) -> None:
    """Count values and levels from the events, before anything is built."""
    opened: list[tuple[str | None, list[int]]] = []  # anchor, [values, levels]
    anchored: dict[str | None, tuple[int, int]] = {}
    for event in yaml.parse(text, Loader=_Loader):
        line = event.start_mark.line + 1 if event.start_mark else 0
        if isinstance(event, yaml.CollectionStartEvent):
            opened.append((event.anchor, [1, 1]))
            size = (0, len(opened))
        elif isinstance(event, yaml.CollectionEndEvent):
            anchor, (values, levels) = opened.pop()
            anchored[anchor] = size = (values, levels)
        elif isinstance(event, yaml.AliasEvent):
            if any(anchor == event.anchor for anchor, _ in opened):
                raise Bounds(f"the alias *{event.anchor} in line {line} stands inside what it names")
            size = anchored.get(event.anchor, (1, 1))
        elif isinstance(event, yaml.ScalarEvent):
            size = (1, 1)
            anchored[event.anchor] = size
        else:
            continue
        if opened and not isinstance(event, yaml.CollectionStartEvent):
            outer = opened[-1][1]
            outer[0], outer[1] = outer[0] + size[0], max(outer[1], size[1] + 1)
            size = (outer[0], len(opened) - 1 + outer[1])
        if size[1] > MAX_DEPTH:
            raise Bounds(f"is nested more than {MAX_DEPTH} levels deep in line {line}")
        if size[0] > MAX_VALUES:
            raise Bounds(f"holds more than {MAX_VALUES:,} values in line {line}, every alias written out")


def _unshared(value: Any) -> Any:
    """A copy in which aliases have become values of their own: a change of one must not change the other."""
    if isinstance(value, dict):
        return {key: _unshared(inner) for key, inner in value.items()}
    return [_unshared(inner) for inner in value] if isinstance(value, list) else value
