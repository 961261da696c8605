"""Reading a study file: YAML to `Study`, with the line of every mistake."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from scan2gene.core.errors import StudyError
from scan2gene.core.section import Section, unknown_name
from scan2gene.core.study import Study
from scan2gene.core.study_cohort import label_files
from scan2gene.core.study_runs import Run
from scan2gene.core.yaml_text import MAX_DEPTH, Bounds, doubled_key, read_yaml

QUOTED = 160  # a longer line is not quoted
_KIND = re.compile(r"(str|int|float|bool|list|dict|function-\w+)(\[.*\])?")  # of a key, as pydantic names it
_TEXT, _LIST = "takes a text", "takes a list, in square brackets"
_KEYS = "takes keys with values, {{key: value}}, or {{}}"
_WORDS = {  # pydantic's kind of error -> words
    "string_type": _TEXT, "list_type": _LIST, "tuple_type": _LIST, "dict_type": _KEYS, "model_type": _KEYS,
    "too_short": "takes {min_length} at least", "too_long": "takes {max_length} at most",
    "finite_number": "takes a finite number", "int_parsing_size": "takes a whole number of a few digits",
    "int_type": "takes a whole number", "int_parsing": "takes a whole number", "int_from_float": "takes a whole number",
    "float_type": "takes a number", "float_parsing": "takes a number", "bool_type": "takes true or false",
    "bool_parsing": "takes true or false", "literal_error": "takes {expected}",
    "greater_than_equal": "takes {ge} or more", "greater_than": "takes more than {gt}",
    "less_than_equal": "takes {le} or less", "less_than": "takes less than {lt}",
    "string_pattern_mismatch": "takes letters, digits, dots, dashes and underscores, and begins with a letter or digit",
}  # fmt: skip


def load_study(path: Path | str, changes: Sequence[str] = ()) -> Study:
    """Read and check a study file; relative paths in it are taken from its folder.

    Args:
        path: The YAML file.
        changes: Each "key=value", such as "train.epochs=3" or "runs.light.train.epochs=3";
            entries of lists go by their name or position, values are YAML.

    Raises:
        StudyError: Not YAML, an unknown key, a bad value; each with its line and the mend.
    """
    path = Path(path)
    if path.is_dir():
        raise StudyError(f"{path} is a folder; name the study file in it.")
    if not path.is_file():
        raise StudyError(f"there is no study file {path}. `scan2gene new RECIPE` writes one.")
    try:
        values, node = read_yaml(path.read_text(encoding="utf-8"))
    except Bounds as error:
        raise StudyError(f"{path} {error}. Is it a study file?") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        said = " ".join(str(error).replace('in "<unicode string>", ', "at ").split())
        mend = " Save it as UTF-8." if isinstance(error, UnicodeDecodeError) else ""
        raise StudyError(f"{path} is not readable YAML: {said}.{mend}") from None
    if not isinstance(values, dict):
        raise StudyError(f"{path} holds no study: expected keys such as name, cohort, targets, runs.")
    lines: dict[tuple, int] = {}
    _collect_lines(node, (), lines, path)
    changed = {_change(values, change): change[:QUOTED] for change in changes}
    try:
        study = Study.model_validate(values)
    except ValidationError as error:
        raise StudyError(_told(error, lines, path, changed)) from None
    return _anchored(study, path.parent)


def study_text(study: Study) -> str:
    """A study as a study file: every setting, paths from the root of the disk."""
    anchored = _anchored(study, Path.cwd())
    return "# Every setting of this run.\n" + yaml.safe_dump(
        anchored.model_dump(mode="json"), sort_keys=False, allow_unicode=True, width=100
    )


def _change(values: dict[str, Any], change: str) -> tuple:
    """Make one change in the file's values; returns its place."""
    key, mark, text = change.partition("=")
    if not mark or not key.strip():
        raise StudyError(f"--set takes KEY=VALUE, such as train.epochs=3; got {change[:QUOTED]!r}")
    shown = change if len(change) <= QUOTED else f"{change[:QUOTED]}..."
    try:
        value, node = read_yaml(text)
    except Bounds as error:
        raise StudyError(f"--set {shown}: the value {error}") from None
    except yaml.YAMLError:
        raise StudyError(f"--set {shown}: the value is not readable YAML") from None
    if twice := doubled_key(node):
        raise StudyError(f"--set {shown}: the key {twice.value!r} is given twice")
    here: Any = values
    place: list[str | int] = []
    parts = key.strip().split(".")
    if len(parts) > MAX_DEPTH:
        raise StudyError(f"--set {shown}: the key has {len(parts)} parts; {MAX_DEPTH} are the most")
    for n, part in enumerate(parts):
        if isinstance(here, list):
            names = [e.get("name") if isinstance(e, dict) else None for e in here]
            if part not in names and not (part.isdigit() and int(part) < len(here)):
                raise StudyError(f"--set {shown}: {unknown_name(part, [n for n in names if n])}")
            step: str | int = names.index(part) if part in names else int(part)
        elif isinstance(here, dict):
            step = part
        else:
            raise StudyError(f"--set {shown}: {'.'.join(parts[:n])} holds a value, no keys")
        place.append(step)
        if n == len(parts) - 1:
            here[step] = value
        elif isinstance(here, dict):
            here[step] = here.get(step) or {}
            here = here[step]
        else:
            here = here[step]
    return tuple(place)


def _anchored(study: Study, folder: Path) -> Study:
    def anchor(p: str | None) -> str | None:
        return None if p is None else str((folder / Path(p).expanduser()).resolve())

    cohort = study.cohort.model_copy(
        update={
            "scans": [anchor(p) for p in study.cohort.scans],
            "labels": _as_written(study.cohort.labels, [str(anchor(p)) for p in label_files(study.cohort)]),
            "mutations": anchor(study.cohort.mutations),
            "sequenced": anchor(study.cohort.sequenced),
            "exclude_file": anchor(study.cohort.exclude_file),
            "pseudonyms": anchor(study.cohort.pseudonyms),
            "roles": {
                n: r.model_copy(update={"boxes": anchor(r.boxes)}) if r.boxes else r
                for n, r in study.cohort.roles.items()
            },
        }
    )
    evaluate = study.evaluate.model_copy(update={"ledger": anchor(study.evaluate.ledger)})
    runs = [
        r.model_copy(update={"weights": r.weights.model_copy(
            update={"file": anchor(r.weights.file), "run": anchor(r.weights.run)})}) if r.weights else r
        for r in study.runs
    ]  # fmt: skip
    features = {n: f.model_copy(update={"table": anchor(f.table)}) for n, f in study.features.items()}
    return study.model_copy(
        update={"cohort": cohort, "features": features, "evaluate": evaluate, "runs": runs,
                "weights_dir": anchor(study.weights_dir)}
    )  # fmt: skip


def _as_written(labels: str | list[str], files: list[str]) -> str | list[str]:
    return files if isinstance(labels, list) else "".join(files)


def _collect_lines(node: yaml.Node | None, where: tuple, lines: dict[tuple, int], path: Path) -> None:
    """Fill `lines` with the line of every key; a key given twice is an error, YAML would keep the last."""
    if node is None:
        return
    lines.setdefault(where, node.start_mark.line + 1)
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            here = (*where, key.value)
            if here in lines:
                raise StudyError(f"{path}:{key.start_mark.line + 1}: the key {key.value!r} is given twice.")
            lines[here] = key.start_mark.line + 1
            _collect_lines(value, here, lines, path)
    elif isinstance(node, yaml.SequenceNode):
        for index, value in enumerate(node.value):
            _collect_lines(value, (*where, index), lines, path)


def _told(error: ValidationError, lines: dict[tuple, int], path: Path, changed: dict[tuple, str]) -> str:
    """Every mistake, and once below the mistakes of a line that line itself."""
    text = path.read_text(encoding="utf-8").splitlines()
    told: dict[str, list[str]] = {}
    for e in _whole_keys(error.errors(include_url=False)):
        message = _explain(e, lines, path, changed)
        place = message.removeprefix(f"{path}:").partition(":")[0] if message.startswith(f"{path}:") else ""
        told.setdefault(place, []).append(message)
    said = []
    for place, messages in told.items():
        said += messages
        if place.isdigit() and len(text[int(place) - 1].strip()) <= QUOTED:
            said.append(f"  {place} | {text[int(place) - 1].rstrip()}")
    return "\n".join(said)


def _whole_keys(errors: Sequence[Any]) -> list[dict[str, Any]]:
    """One mistake for each key: of a key that may be of several kinds pydantic tells one for each."""
    found: dict[tuple, dict[str, Any]] = {}
    for e in errors:
        loc = tuple(e["loc"])
        while loc and isinstance(loc[-1], str) and _KIND.fullmatch(loc[-1]):
            loc = loc[:-1]
        words = _in_words(e)
        if loc != tuple(e["loc"]) and loc in found:
            words = f"{found[loc]['words']} or {words.removeprefix('takes ')}"
        key = loc if loc != tuple(e["loc"]) else (*loc, e["type"], words)
        found[key] = {**e, "loc": loc, "words": words}
    return list(found.values())


def _explain(error: Any, lines: dict[tuple, int], path: Path, changed: dict[tuple, str]) -> str:
    loc = tuple(error["loc"])
    known = loc
    while known not in lines:
        known = known[:-1]
    where = ".".join(str(part) for part in loc) or "study"
    exact = [c for place, c in changed.items() if loc[: len(place)] == place]
    by_hand = exact[:1] or [c for place, c in changed.items() if place[: len(loc)] == loc]
    set_here = ("one of " if len(by_hand) > 1 else "") + ", ".join(f"--set {c}" for c in by_hand)
    head = f"{set_here}: {where}" if by_hand else f"{path}:{lines[known]}: {where}"
    if error["type"] == "extra_forbidden":
        return f"{head}: unknown key. {unknown_name(str(loc[-1]), _valid_keys(loc[:-1]))}"
    if error["type"] == "missing":
        return f"{head} is missing."
    given = error["input"]
    got = (
        f" (got {given if isinstance(given, int) else repr(given)[:QUOTED]})"
        if isinstance(given, str | int | float)
        else ""
    )
    return f"{head}: {error['words']}{got}" + (", and nothing stands here" if error["input"] is None else "")


def _in_words(error: Any) -> str:
    """What is wrong with a value, without the words of the library that found it."""
    limits = {name: str(limit) for name, limit in error.get("ctx", {}).items()}
    words = _WORDS.get(error["type"])
    if words is None:
        return str(error["msg"]).removeprefix("Value error, ")
    return words.format(**limits)


def _valid_keys(loc: tuple) -> list[str]:
    """Keys of the section at `loc`, walked through the model's fields."""
    model: Any = Study
    for part in loc:
        if isinstance(part, int) or not hasattr(model, "model_fields") or part not in model.model_fields:
            continue  # a list position or the name of a role or target: the section class stays
        holder = Study if model is Run and part in ("data", "train") else model  # a run's overrides are plain dicts
        annotation = holder.model_fields[part].annotation
        found = [c for c in _classes(annotation) if issubclass(c, Section)]
        model = found[0] if found else model
    return list(model.model_fields)


def _classes(annotation: Any) -> list[type]:
    if isinstance(annotation, type) and not hasattr(annotation, "__origin__"):
        return [annotation]
    return [c for a in getattr(annotation, "__args__", ()) for c in _classes(a)]
