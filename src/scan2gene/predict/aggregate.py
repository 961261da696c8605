"""From answers about instances to answers about exams.

A rule takes the logits of a bag's instances and gives one logit: the mean, the highest, and so on. Weights of roles and
attention are learned next to a fit (`train.fusion`), without labels of test exams; here they are read and used. A whole
volume is the only instance of its exam, and its answer stays as it is.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import numpy as np
import pandas as pd
import torch
from scipy.special import log_expit

from scan2gene.core.errors import RunError, StudyError
from scan2gene.core.rundir import FitDirectory
from scan2gene.core.section import Plugin, check_plugin
from scan2gene.evaluate.stacking import weighted
from scan2gene.forward.logits import NetworkOutput
from scan2gene.models.mil import AttentionMIL
from scan2gene.stats.linear import logit, sigmoid
from scan2gene.tasks.fit import Fit
from scan2gene.tasks.multiclass import softmax_log_odds
from scan2gene.tasks.outputs import Output, names_of, softmax_columns
from scan2gene.tasks.run_config import RunConfig

IDENTITY = Plugin(name="identity")  # of volumes
_EDGE = 1e-12  # probabilities stay this far from 0 and 1, so that logits are finite


def mean(logits: np.ndarray) -> float:
    """Logit of the mean probability."""
    return float(logit(sigmoid(logits).mean()))


def maximum(logits: np.ndarray) -> float:
    """The surest slice decides; with many slices one mistake is enough."""
    return float(logits.max())


def top_k(logits: np.ndarray, k: int = 3) -> float:
    """Logit of the mean probability of the k surest slices, or of all where there are fewer."""
    return float(logit(sigmoid(np.sort(logits)[-k:]).mean()))


def noisy_or(logits: np.ndarray) -> float:
    """Positive unless every slice is negative, as if slices erred independently: 1 - prod(1 - p).

    It grows with the number of slices, and with many of them leaves the range of a probability.
    """
    nothing = np.logaddexp(0, logits).sum()  # -log prod(1 - p)
    return float(nothing + np.log(-np.expm1(-nothing))) if nothing > 0 else float(np.log(_EDGE))


RULES: dict[str, Callable[..., float]] = {"mean": mean, "max": maximum, "top_k": top_k, "noisy_or": noisy_or}


def rule_shares(way: Plugin, logits: np.ndarray) -> np.ndarray:
    """How much each slice of one bag counts in its answer.

    Args:
        way: A name of `RULES` with its options.
        logits: (S,) of one target.

    Returns:
        (S,) not negative, 1 in sum: equal for the mean, 1 for the surest slice of max, equal among
        the surest of top_k; for noisy_or by probability, as the answer's logit moves with each slice's.
    """
    count = len(logits)
    if way.name == "mean":
        return np.full(count, 1 / count)
    if way.name == "noisy_or":
        weight = np.exp(-np.logaddexp(0, -np.asarray(logits, float)))  # never overflows, and is never 0
        return weight / weight.sum()
    most = 1 if way.name == "max" else min(count, int(way.options.get("k", 3)))
    found = np.zeros(count)
    found[np.argsort(logits, kind="stable")[-most:]] = 1 / most
    return found


def fuse(way: Plugin, logits: np.ndarray, bags: np.ndarray, groups: Sequence[Sequence[int]] = ()) -> np.ndarray:
    """One logit per bag and target.

    Args:
        way: A name of `RULES` with its options.
        logits: (S, T) of slices.
        bags: (S,) number of each slice's bag, 0 to B - 1, each occurring.
        groups: Columns that share a softmax. The rule joins the probabilities of each class.

    Returns:
        (B, T) float64; of a group the logarithms of the joined probabilities, which its softmax makes add up to 1.
    """
    logits = _log_odds(logits, groups)
    order = np.argsort(bags, kind="stable")
    parts = np.split(logits[order], np.flatnonzero(np.diff(bags[order])) + 1)
    function = RULES[way.name]
    fused = np.array([[function(column, **way.options) for column in part.T] for part in parts], float)
    for columns in groups:
        fused[:, columns] = log_expit(fused[:, columns])
    return fused


def _log_odds(logits: np.ndarray, groups: Sequence[Sequence[int]]) -> np.ndarray:
    """Logits (S, T) with log odds of each class against the others in place of columns that share a softmax."""
    odds = logits.astype(float) if groups else logits
    for columns in groups:
        odds[:, columns] = softmax_log_odds(odds[:, columns])
    return odds


def check_fusion(fusion: Sequence[Plugin], learned: Mapping[str, Callable[..., Any]]) -> None:
    """Refuse unknown ways and options before any work.

    Args:
        fusion: Of a study file.
        learned: Name -> function, of ways that are trained.

    Raises:
        StudyError: With the valid names.
    """
    for way in fusion:
        check_plugin(way, RULES | dict(learned), "data.slices.fusion")
        k = way.options.get("k", 1)
        if way.name == "top_k" and not (isinstance(k, int) and k >= 1):
            raise StudyError(f"data.slices.fusion, top_k: k is a whole number, 1 at least; got {k!r}")


def aggregation(config: RunConfig) -> list[Plugin]:
    """How a run's answers about instances become answers about exams; the first way is the run's own answer."""
    return [IDENTITY] if config.data.slices is None else config.data.slices.fusion


def variant_name(number: int, way: Plugin, variant: str) -> str:
    """The variant under which a way stands in tables: the first one is the run's answer, the others have their names.

    Args:
        number: Of the way in `aggregation`.
        way: The same.
        variant: Of the instances' logits, "original" or "tta".
    """
    return variant if number == 0 else way.name + ("" if variant == "original" else f", {variant}")


@dataclass(frozen=True)
class Bags:
    """Which instances belong together: those of one exam that are in one part.

    Args:
        table: One row per bag: patient_id, exam_id, part.
        number: (S,) row of `table` for each instance.
    """

    table: pd.DataFrame
    number: np.ndarray


def bags_of(table: pd.DataFrame, part: np.ndarray) -> Bags:
    """Bags of instances.

    Args:
        table: A row per instance, with patient_id and exam_id.
        part: (S,) train, validation or test.
    """
    keyed = table[["patient_id", "exam_id"]].reset_index(drop=True).assign(part=part)
    number = keyed.groupby(["exam_id", "part"], sort=False).ngroup().to_numpy(copy=True)
    return Bags(keyed.drop_duplicates(["exam_id", "part"]).reset_index(drop=True), number)


@dataclass(frozen=True)
class Aggregate:
    """One way from instances to exams, with what it learned.

    Args:
        way: `IDENTITY`, a name of `RULES`, "late", or an attention, with its options.
        attention: Of an attention.
        role_weights: Of "late": output -> role -> weight.
        groups: Columns of logits that share a softmax.
    """

    way: Plugin
    attention: AttentionMIL | None = None
    role_weights: Mapping[str, pd.Series] = field(default_factory=dict)
    groups: Sequence[Sequence[int]] = ()

    def __call__(
        self, output: NetworkOutput, table: pd.DataFrame, number: np.ndarray | None = None, variant: str = "original"
    ) -> np.ndarray | None:
        """Logits of bags.

        Args:
            output: Of a network on S instances.
            table: Their S rows, with exam_id and, of slices, role.
            number: (S,) number of each instance's bag, 0 to B - 1; default: exams in order of appearance.
            variant: Of `output.logits`.

        Returns:
            (B, T); None for an attention on a variant that has no embeddings.
        """
        logits = output.logits[variant]
        number = pd.factorize(table["exam_id"])[0] if number is None else number
        if self.way == IDENTITY:
            return logits
        if self.way.name in RULES:
            return fuse(self.way, logits, number, self.groups)
        if not self.role_weights:
            if variant != "original" or output.embeddings is None or self.attention is None:
                return None
            return attended(self.attention, output.embeddings, number)
        role = table["role"].to_numpy()
        roles = sorted({*role, *(name for known in self.role_weights.values() for name in known.index)})
        means = by_role(role, roles, logits, number, self.groups)
        # a role that no training exam had weighs nothing beside those that were weighed
        weights = [known.reindex(roles).fillna(0.0).to_numpy() for known in self.role_weights.values()]
        return np.stack([weighted(means[:, :, n], own) for n, own in enumerate(weights)], axis=1)

    def shares(self, scores: np.ndarray, role: np.ndarray, output: int) -> np.ndarray:
        """How much each instance of one exam counts in its answer.

        Args:
            scores: (S, T) logits; of an attention its scores (S, 1).
            role: (S,).
            output: Which of the T.

        Returns:
            (S,) not negative, 1 in sum.
        """
        if self.way == IDENTITY:
            return np.ones(len(scores))
        if self.attention is not None:
            risen = np.exp(scores[:, 0] - scores.max())
            return risen / risen.sum()
        if self.way.name in RULES:
            return rule_shares(self.way, _log_odds(scores, self.groups)[:, output])
        names, number, count = np.unique(role, return_inverse=True, return_counts=True)
        weights = np.maximum(list(self.role_weights.values())[output].reindex(names).fillna(0.0).to_numpy(), 1e-12)
        return (weights / count / weights.sum())[number]


def by_role(
    role: np.ndarray, roles: Sequence[str], logits: np.ndarray, number: np.ndarray, groups: Sequence[Sequence[int]] = ()
) -> np.ndarray:  # fmt: skip
    """(B, R, T) mean over the instances of each role, NaN where a bag has none.

    Args:
        role: (S,) of each instance.
        roles: R names.
        logits: (S, T).
        number: (S,) number of each instance's bag, 0 to B - 1.
        groups: As in `fuse`.
    """
    found = np.full((number.max() + 1, len(roles), logits.shape[1]), np.nan)
    for n, name in enumerate(roles):
        mine = role == name
        if mine.any():
            there, own = np.unique(number[mine], return_inverse=True)
            found[there, n] = fuse(Plugin(name="mean"), logits[mine], own, groups)
    return found


@torch.inference_mode()
def attended(model: AttentionMIL, embeddings: np.ndarray, number: np.ndarray) -> np.ndarray:
    """Logits (B, T) float64 of bags by an attention: embeddings (S, F), number (S,) of each instance's bag."""
    x = torch.from_numpy(np.asarray(embeddings, np.float32))
    return model(x, torch.from_numpy(number), int(number.max()) + 1).double().numpy()


def load_aggregate(way: Plugin, answers: Sequence[Output], folder: Path) -> Aggregate:
    """A fit's way from instances to exams, for any instances: what it learned is read, and nothing is learned.

    Args:
        way: One of `aggregation`.
        answers: Of the network.
        folder: Of the fit.

    Raises:
        RunError: What the way learned is not there, or not whole.
    """
    groups = softmax_columns(answers)
    if way == IDENTITY or way.name in RULES:
        return Aggregate(way, groups=groups)
    lacking = "{}, which says how slices are fused, is not there or not whole. Run the study to its end first."
    if way.name == "late":
        file = FitDirectory(folder).fusion_weights
        if not file.exists():
            raise RunError(lacking.format(file.path))
        table = file.read()
        of_name = {
            n: table[table["target"] == n].set_index("member")["weight"].astype(float) for n in names_of(answers)
        }
        return Aggregate(way, role_weights=of_name, groups=groups)
    path = folder / f"{way.name}.pt"
    try:
        return Aggregate(way, AttentionMIL.of_state(torch.load(path, map_location="cpu", weights_only=True)).eval())
    except (OSError, RuntimeError, EOFError, UnpicklingError, KeyError):
        raise RunError(lacking.format(path)) from None


def exam_answers(fit: Fit, output: NetworkOutput, table: pd.DataFrame) -> dict[str, dict[str, np.ndarray]]:
    """Answers about new exams, aggregated as the fit did its own.

    Args:
        fit: The fit.
        output: Of its network on S instances.
        table: Their rows.

    Returns:
        Variant -> exam_id -> (T,) logits.

    Raises:
        RunError: What a way learned is not there.
    """
    found = {}
    aggregates = [load_aggregate(way, fit.config.outputs, fit.folder.path) for way in aggregation(fit.config)]
    for variant in output.logits:
        for number, aggregate in enumerate(aggregates):
            logits = aggregate(output, table, variant=variant)
            if logits is not None:
                exams = table["exam_id"].unique()
                found[variant_name(number, aggregate.way, variant)] = dict(zip(exams, logits, strict=True))
    return found


def mean_embeddings(embeddings: np.ndarray, table: pd.DataFrame) -> tuple[pd.DataFrame, np.ndarray]:
    """Exams in order of appearance, and the mean over the instances of each, (E, F) float32."""
    number, _ = pd.factorize(table["exam_id"])
    total = np.zeros((number.max() + 1, embeddings.shape[1]))
    np.add.at(total, number, embeddings)
    first = table.drop_duplicates("exam_id").reset_index(drop=True)
    return first, (total / np.bincount(number)[:, None]).astype(np.float32)
