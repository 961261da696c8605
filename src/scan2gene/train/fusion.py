"""Ways from slices to exams that are learned beside a finished fit, without labels of test exams; and used again."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import numpy as np
import pandas as pd
import torch

from scan2gene.core.errors import RunError
from scan2gene.core.files import atomic_path
from scan2gene.core.rundir import FitDirectory
from scan2gene.core.section import Plugin
from scan2gene.core.tables import WEIGHT_COLUMNS
from scan2gene.data.samples import Samples
from scan2gene.evaluate.fusion import FUSIONS, fuse
from scan2gene.evaluate.stacking import late_weights, weighted
from scan2gene.models.mil import AttentionMIL
from scan2gene.predict.forward import Passed
from scan2gene.predict.slices import Bags, bags_of
from scan2gene.tasks.outputs import Output
from scan2gene.train.loss import loss_groups
from scan2gene.train.mil import ATTENTIONS, attended, fit_attention, new_attention


def _no_options() -> dict[str, Any]:
    return {}


LEARNED: dict[str, Callable[..., Any]] = ATTENTIONS | {"late": _no_options}


def fused_logits(
    way: Plugin, variant: str, passed: Passed, data: Samples, bags: Bags, seed: int, folder: Path,
    fold: Mapping[str, object], answers: Sequence[Output] = (),
) -> tuple[np.ndarray | None, pd.DataFrame]:  # fmt: skip
    """Logits of bags by one way.

    Args:
        way: Name and options.
        variant: Of `passed.logits`.
        passed: What the network said of the slices.
        data: The slices.
        bags: Which belong together.
        seed: Of the fit.
        folder: Of the fit; keeps a learned attention.
        fold: split, repeat, fold.
        answers: Of the network; default: all binary.

    Returns:
        (B, T), or None where this way has no such variant; and the weights of roles, columns
        `WEIGHT_COLUMNS` without run_id, empty for ways that have none.
    """
    logits = passed.logits[variant]
    none = pd.DataFrame(columns=list(WEIGHT_COLUMNS[1:]))
    if way.name in FUSIONS:
        return fuse(way, logits, bags.number), none
    first = np.unique(bags.number, return_index=True)[1]
    targets = data.targets.numpy()[first]  # (B, T)
    part = bags.table["part"].to_numpy()
    if way.name == "late":
        return _late(data, logits, passed.logits["original"], bags, targets, part, fold)
    if variant != "original" or passed.embeddings is None:
        return None, none  # embeddings are those of the slices as they are
    model = fit_attention(way, passed.embeddings, bags.number, targets, part, seed, loss_groups(answers))
    with atomic_path(folder / f"{way.name}.pt") as temporary:
        torch.save(model.state_dict(), temporary)
    return attended(model, passed.embeddings, bags.number), none


def _late(
    data: Samples, logits: np.ndarray, original: np.ndarray, bags: Bags, targets: np.ndarray, part: np.ndarray,
    fold: Mapping[str, object],
) -> tuple[np.ndarray, pd.DataFrame]:  # fmt: skip
    """Mean of each role's slices, weighed by role as the slices' original logits ask; a target has its own weights."""
    roles = sorted(data.table["role"].unique())
    by_role = _by_role(data.table["role"].to_numpy(), roles, logits, bags)
    learned = _by_role(data.table["role"].to_numpy(), roles, original, bags)
    chosen = part == "validation"
    out, told = [], []
    for target, name in enumerate(data.names):
        weights, reason = late_weights(learned[chosen, :, target], targets[chosen, target].astype(float))
        out.append(weighted(by_role[:, :, target], weights))
        base = {**fold, "target": name, "side": "", "n": int(chosen.sum()), "reason": reason}
        told += [base | {"member": r, "weight": w} for r, w in zip(roles, weights, strict=True)]
    return np.stack(out, axis=1), pd.DataFrame(told)[list(WEIGHT_COLUMNS[1:])]


def _by_role(role: np.ndarray, roles: Sequence[str], logits: np.ndarray, bags: Bags) -> np.ndarray:
    """(B, R, T) mean of each role's slices, NaN where a bag has none."""
    found = np.full((len(bags.table), len(roles), logits.shape[1]), np.nan)
    for n, name in enumerate(roles):
        mine = role == name
        if mine.any():
            there, number = np.unique(bags.number[mine], return_inverse=True)
            found[there, n] = fuse(Plugin(name="mean"), logits[mine], number)
    return found


def shown_as(number: int, way: Plugin, variant: str) -> str:
    """The variant under which a way stands: the first one is the run's answer, the others have their names.

    Args:
        number: Of the way in `data.slices.fusion`.
        way: The same.
        variant: Of the slices' logits, "original" or "tta".
    """
    return variant if number == 0 else way.name + ("" if variant == "original" else f", {variant}")


def answers(ways: Sequence[Plugin], passed: Passed, data: Samples, folder: Path) -> dict[str, dict[str, np.ndarray]]:
    """Answers about new exams, fused as the fit fused its own: what it learned is read, and nothing is learned.

    Args:
        ways: Of `data.slices.fusion`.
        passed: What the fit's network says of the slices.
        data: The slices.
        folder: Of the fit.

    Returns:
        Variant -> exam_id -> (T,) logits.

    Raises:
        RunError: What a way learned is not there.
    """
    found = {}
    for variant, logits in passed.logits.items():
        own = Passed({"original": logits}, passed.embeddings if variant == "original" else None)
        for number, way in enumerate(ways):
            if way.name in ATTENTIONS and own.embeddings is None:
                continue
            fused = fuser(way, data.names, folder)(own, data.table)
            found[shown_as(number, way, variant)] = dict(zip(data.table["exam_id"].unique(), fused, strict=True))
    return found


def fuser(way: Plugin, names: Sequence[str], folder: Path) -> Callable[[Passed, pd.DataFrame], np.ndarray]:
    """A fit's way from slices to exams, for any slices: what it learned is read once, and nothing is learned.

    Args:
        way: Name and options.
        names: Of the outputs.
        folder: Of the fit.

    Returns:
        What the network says of S slices, as "original", and their rows with patient_id, exam_id and role -> (B, T)
        logits of exams in order of appearance. An attention needs their embeddings.

    Raises:
        RunError: What the way learned is not there.
    """
    if way.name in FUSIONS:
        return partial(_plainly, way)
    if way.name == "late":
        return partial(_late_again, {name: learned_weights(folder, name) for name in names})
    return partial(_attended_again, learned_attention(way, folder))


def _whole_exams(exams: pd.DataFrame) -> Bags:
    return bags_of(exams, np.full(len(exams), ""))


def _plainly(way: Plugin, passed: Passed, exams: pd.DataFrame) -> np.ndarray:
    return fuse(way, passed.logits["original"], _whole_exams(exams).number)


def _attended_again(model: AttentionMIL, passed: Passed, exams: pd.DataFrame) -> np.ndarray:
    assert passed.embeddings is not None  # for the type checker: networks of slices have them
    return attended(model, passed.embeddings, _whole_exams(exams).number)


def _late_again(weights: Mapping[str, pd.Series], passed: Passed, exams: pd.DataFrame) -> np.ndarray:
    columns, bags = [], _whole_exams(exams)
    for target, known in enumerate(weights.values()):
        roles = sorted({*known.index, *exams["role"]})
        by_role = _by_role(exams["role"].to_numpy(), roles, passed.logits["original"][:, [target]], bags)
        # a role that no training exam had weighs nothing beside those that were weighed
        columns.append(weighted(by_role[:, :, 0], known.reindex(roles).fillna(0.0).to_numpy()))
    return np.stack(columns, axis=1)


def learned_attention(way: Plugin, folder: Path) -> AttentionMIL:
    """The attention that was learned beside a fit, in evaluation mode.

    Args:
        way: "attention" or "gated_attention", with options.
        folder: Of the fit.

    Raises:
        RunError: It is not there, or not whole.
    """
    path = folder / f"{way.name}.pt"
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
        outputs, features = state["head.weight"].shape
        model = new_attention(way, features, outputs)
        model.load_state_dict(state)
    except (OSError, RuntimeError, EOFError, UnpicklingError, KeyError):
        raise RunError(_lacking(path)) from None
    return model.eval()


def learned_weights(folder: Path, target: str) -> pd.Series:
    """How much each role weighs in a fit's late fusion: role -> weight.

    Args:
        folder: Of the fit.
        target: Name of the output.

    Raises:
        RunError: They are not there.
    """
    file = FitDirectory(folder).fusion_weights
    if not file.exists():
        raise RunError(_lacking(file.path))
    told = file.read()
    return told[told["target"] == target].set_index("member")["weight"].astype(float)


def _lacking(path: Path) -> str:
    return f"{path}, which says how slices are fused, is not there or not whole. Run the study to its end first."
