"""What a network answers: an output per target, or two where a target is known per side.

Each output has one column of logits, or several for a target of several classes. The column of target `malignant` for
the left side is called `malignant.L`; those of `subtype` are called `subtype:luminal_a`, `subtype:her2` and so on, of
a side `subtype:her2.L`. No target's name holds a colon or ends like a side, so a column's name tells all.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from scan2gene.core.study import SIDES, Study, is_sided
from scan2gene.core.study_cohort import Target
from scan2gene.tasks import TASKS, Task
from scan2gene.tasks.binary import POSITIVE


@dataclass(frozen=True)
class Output:
    """One target of a patient, or of one side.

    Args:
        target: Its name.
        side: "L", "R", or "" for the whole patient.
        task: A key of `TASKS`.
        classes: Names of its classes where it has several.
    """

    target: str
    side: str = ""
    task: str = "binary"
    classes: tuple[str, ...] = ()

    @property
    def kind(self) -> Task:
        """The task itself."""
        return TASKS[self.task]

    @property
    def names(self) -> list[str]:
        """Names of its columns of logits."""
        return [output_name(self.target, self.side, column) for column in self.kind.columns(self.classes)]

    @property
    def labels(self) -> tuple[str, ...]:
        """Labels of its rows in the prediction table."""
        return self.kind.labels(self.classes)

    def truth_of(self, value: float | None, place: int) -> float | None:
        """1 or 0, whether a value of the label table is the label in this place; None where it is unknown."""
        if value is None or not self.classes:
            return value
        return float(value == place)


def outputs(study: Study) -> list[Output]:
    """What a network answers, in order."""
    return [
        Output(name, side, target.task, tuple(target.classes))
        for name, target in study.targets.items()
        for side in (SIDES if is_sided(study, name) else ("",))
    ]


def output_name(target: str, side: str, column: str = "") -> str:
    """How a column of logits is called: "IDH", "malignant.L", "subtype:her2", "subtype:her2.L"."""
    name = f"{target}:{column}" if column else target
    return f"{name}.{side}" if side else name


def names_of(answers: Iterable[Output]) -> list[str]:
    """Names of the columns of logits of some outputs, in order."""
    return [name for output in answers for name in output.names]


def softmax_columns(answers: Iterable[Output]) -> list[list[int]]:
    """Columns of logits that share a softmax, one list for each output of several classes."""
    groups, start = [], 0
    for output in answers:
        end = start + len(output.names)
        groups += [list(range(start, end))] if output.kind.loss == "cross_entropy" else []
        start = end
    return groups


def stem_of(name: str) -> str:
    """A column's name without its side: "malignant.L" -> "malignant", "subtype:her2.L" -> "subtype:her2"."""
    stem, _, side = name.rpartition(".")
    return stem if side in SIDES else name


def target_of(name: str) -> str:
    """The target of a column: "malignant.L" -> "malignant", "subtype:her2.L" -> "subtype", "IDH" -> "IDH"."""
    return stem_of(name).partition(":")[0]


def column_of(names: Sequence[str], name: str) -> tuple[int, int]:
    """The column of logits that speaks for a target or one of its classes, and the sign with which it does.

    A class without a column of its own, such as the lowest of an order, is what its target's first column denies.
    """
    if name in names:
        return list(names).index(name), 1
    side = name[len(stem_of(name)) :]
    return next(n for n, x in enumerate(names) if target_of(x) == target_of(name) and x.endswith(side)), -1


def mirrored(names: Sequence[str], pairs: Iterable[Sequence[str]] = ()) -> list[int]:
    """Where each column's value stands after the exam was mirrored from left to right.

    Args:
        names: Columns, in order; `x.L` and `x.R` change places.
        pairs: Targets without a side that change places too.
    """
    partner = {a: b for pair in pairs for a, b in (tuple(pair), tuple(pair)[::-1])}
    turned = []
    for name in names:
        stem, side = stem_of(name), name[len(stem_of(name)) :]
        target = target_of(name)
        if side:
            turned.append(f"{stem}.{SIDES[1 - SIDES.index(side[1:])]}")
        else:
            turned.append(partner.get(target, target) + name[len(target) :])
    return [list(names).index(name) for name in turned]


def output_values(labels: pd.DataFrame, patients: Iterable[str], answers: Sequence[Output]) -> np.ndarray:
    """What the outputs should say, in the order of patients and columns.

    Args:
        labels: Long label table.
        patients: N ids; one may occur several times.
        answers: Outputs with T columns of logits together.

    Returns:
        (N, T) from 0 to 1, or NaN where unknown; of several classes a column for each.
    """
    named = [output_name(t, s) for t, s in zip(labels["target"], labels["side"].fillna(""), strict=True)]
    wide = labels.assign(output=named).pivot(index="patient_id", columns="output", values="value")
    values = wide.reindex(index=list(patients), columns=[output_name(a.target, a.side) for a in answers])
    columns = [a.kind.encode(v, len(a.classes)) for a, v in zip(answers, values.to_numpy(float).T, strict=True)]
    return np.concatenate(columns, axis=1) if columns else np.empty((len(values), 0))


def output_log_odds(logits: np.ndarray, answers: Sequence[Output]) -> list[np.ndarray]:
    """Logits (N, T) of a network -> for each output the log odds of its labels, (N, L)."""
    ends = np.cumsum([len(a.names) for a in answers])[:-1]
    return [a.kind.log_odds(own) for a, own in zip(answers, np.split(logits, ends, axis=1), strict=True)]


def question(target: str, label: str) -> str:
    """How one class of a target against the rest is called, as a target of its own."""
    return f"{target}:{label}"


def displayed(name: str) -> str:
    """A target, or one class of it against the rest, as texts and tables name it: "subtype:her2" -> "subtype: her2"."""
    return name.replace(":", ": ", 1)


def displayed_in(text: str, targets: dict[str, Target]) -> str:
    """A text, which may be escaped for LaTeX or Markdown, with every class of a target named as `displayed` has it."""
    for name in (n for n, target in targets.items() if target.classes):
        pattern = re.escape(name).replace("_", r"\\?_")
        text = re.sub(rf"(?<![\w-])({pattern}):(?=\w)", r"\1: ", text)
    return text


def question_names(targets: dict[str, Target]) -> list[str]:
    """Targets with two classes as they are, of those with several each class against the rest."""
    return [q for n, t in targets.items() for q in ([question(n, c) for c in t.classes] if t.classes else [n])]


def one_vs_rest(labels: pd.DataFrame, targets: dict[str, Target]) -> pd.DataFrame:
    """The label table with two classes everywhere.

    Args:
        labels: Long label table.
        targets: Of the study.

    Returns:
        The same columns. Of a target of several classes there is a row for each class, whose target is "subtype:her2"
        and whose value is 1 for patients of that class and 0 for others.
    """
    several = {name: tuple(target.classes) for name, target in targets.items() if target.classes}
    if not several:
        return labels
    tables = [labels[~labels["target"].isin(several)]]
    for name, classes in several.items():
        own = labels[labels["target"] == name]
        tables += [
            own.assign(target=question(name, label), value=(own["value"] == number).astype(float))
            for number, label in enumerate(classes)
        ]
    return pd.concat(tables, ignore_index=True)


def by_question(predictions: pd.DataFrame) -> pd.DataFrame:
    """The prediction table with two classes everywhere: target "subtype:her2" in place of "subtype" with label "her2".

    Rows of binary targets stay; all rows keep their label.
    """
    several = predictions["label"] != POSITIVE
    if not several.any():
        return predictions
    named = predictions["target"].astype(str) + ":" + predictions["label"].astype(str)
    return predictions.assign(target=predictions["target"].where(~several, named))


def patient_classes(labels: pd.DataFrame) -> pd.DataFrame:
    """patient_id x target: 1 where any side is positive, 0 where those that are known are negative, else null.

    Args:
        labels: Long label table with two classes everywhere.
    """
    return labels.pivot_table(index="patient_id", columns="target", values="value", aggfunc="max")
