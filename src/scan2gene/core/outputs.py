"""What a network answers: one output per target, or two where a target is known per side.

The output of target `malignant` for the left side is called `malignant.L`. Names of targets never
end so, which leaves an output's name enough to know its target, its side and its mirror image.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import pandas as pd

from scan2gene.core.study import SIDES, Study, is_sided


def outputs(study: Study) -> list[tuple[str, str]]:
    """(target, side) of every output of a network, in order; the side is "" for the whole patient."""
    return [(name, side) for name in study.targets for side in (SIDES if is_sided(study, name) else ("",))]


def output_name(target: str, side: str) -> str:
    """How an output is called: ("malignant", "L") -> "malignant.L", ("IDH", "") -> "IDH"."""
    return f"{target}.{side}" if side else target


def output_names(study: Study) -> list[str]:
    """Names of a network's outputs, in order."""
    return [output_name(*output) for output in outputs(study)]


def target_of(name: str) -> str:
    """The target of an output: "malignant.L" -> "malignant", "IDH" -> "IDH"."""
    stem, _, side = name.rpartition(".")
    return stem if side in SIDES else name


def mirrored(names: Sequence[str], pairs: Iterable[Sequence[str]] = ()) -> list[int]:
    """Where each output's value stands after the exam was mirrored from left to right.

    Args:
        names: Outputs, in order; `x.L` and `x.R` change places.
        pairs: Names without a side that change places too.
    """
    partner = {a: b for pair in pairs for a, b in (tuple(pair), tuple(pair)[::-1])}
    for name in names:
        stem, _, side = name.rpartition(".")
        if side in SIDES:
            partner[name] = output_name(stem, SIDES[1 - SIDES.index(side)])
    return [list(names).index(partner.get(name, name)) for name in names]


def output_values(labels: pd.DataFrame, patients: Iterable[str], names: Sequence[str]) -> np.ndarray:
    """Labels in the order of patients and outputs.

    Args:
        labels: Long label table.
        patients: N ids; one may occur several times.
        names: T outputs.

    Returns:
        (N, T) 0, 1 or NaN where unknown.
    """
    named = [output_name(t, s) for t, s in zip(labels["target"], labels["side"].fillna(""), strict=True)]
    wide = labels.assign(output=named).pivot(index="patient_id", columns="output", values="value")
    return wide.reindex(index=list(patients), columns=list(names)).to_numpy(float)


def patient_classes(labels: pd.DataFrame) -> pd.DataFrame:
    """patient_id x target: 1 where any side is positive, 0 where those that are known are negative, else null."""
    return labels.pivot_table(index="patient_id", columns="target", values="value", aggfunc="max")
