"""What a few constant places, the border, and the air outside the body of prepared images tell of a label.

Rules are learned on what is not tested of each fold. A few places count as a mark only where they
tell less once every exam is moved by a few pixels at random: what is drawn into pictures lies at the same
pixel, what grows in patients does not.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from scan2gene.core.levels import ALPHA, CHANCE
from scan2gene.core.tables import EXTERNAL
from scan2gene.core.text import capitalised, number_text
from scan2gene.evaluate.baselines import STRENGTH
from scan2gene.evaluate.facts import Cue
from scan2gene.evaluate.shortcuts import Figure, against, baseline_told, measured
from scan2gene.stats.intervals import Estimate
from scan2gene.stats.linear import ridge_logistic, sigmoid, standardised
from scan2gene.stats.multiple_testing import holm
from scan2gene.stats.resampling import PERSON

FEW = 5  # places that a rule may look at
KEPT = 0.8  # of what a network's AUROC has above 0.5
LOCKED = 2.5  # times as far apart as once exams are moved
JITTER = 4  # pixels by which exams are moved at random: about the width of a mark
SURE = 0.01  # P value, corrected; a mark that goes with the label has a much smaller one
EXCHANGES = 399  # of labels, behind the P value of the best place
LEAST_SPREAD = 0.5  # of a pixel's contrast, in units of the grain
_CHUNK = 20_000  # columns that are looked at together
KINDS = {
    "border": "the border of the pictures",
    "air": "what lies outside the body",
    "places": f"{FEW} constant pixels",
}
LOCK = "pixel_lock"
CHANGES = ("erased", "shifted", "noise", "resliced", "every_second", "mirrored")  # copies that should cost something
STILL = 0.01  # of an AUROC


@dataclass(frozen=True)
class Cues:
    """Numbers about images, a row for each exam.

    Args:
        rows: (patient_id, side) -> row; side "" for all of the patient, R for the picture mirrored from left to right.
        places: (N, M, H, W), of single pixels.
        border: (N, F).
        air: (N, G); all 0 where there is none.
        maps: What each of the M maps is about, such as "t1, slice 3".
        edge: Pixels of the prepared picture along an edge of a place.
    """

    rows: Mapping[Hashable, int]
    places: np.ndarray
    border: np.ndarray
    air: np.ndarray
    maps: tuple[str, ...] = ()
    edge: int = 1


def cue_figures(
    cues: Cues, networks: Mapping[str, pd.DataFrame], where: tuple[str, str], labels: pd.DataFrame,
    split: pd.DataFrame, draws: int, permutations: int, seed: int,
) -> Iterator[Figure]:  # fmt: skip
    """What each of `KINDS` tells of a target, and networks that saw these pictures held against it.

    Args:
        cues: Of the pictures.
        networks: Run -> its scores.
        where: Split and target.
        labels: patient_id, side, value of the target.
        split: Rows of the split.
        draws: Bootstrap draws of patients.
        permutations: Behind P values.
        seed: Of all draws.

    Returns:
        A figure for each network and kind; P values are corrected for the number of kinds (Holm). Where places tell
        something, one of the kind `LOCK` too: how much farther apart the best pixel holds the classes than once all
        exams are moved.
    """
    found, tables = [], {}
    for kind, words in KINDS.items():
        values = getattr(cues, kind)
        if not values.any():
            continue
        tables[kind] = scores_of(cues.rows, values.reshape(len(values), -1), labels, split, few=kind == "places")
        if len(tables[kind]):
            found.append(measured(kind, (*where, ""), tables[kind], draws, seed, words, permutations))
    lock = None
    for n, figure in enumerate(found):
        if figure.kind == "places" and figure.p is not None and figure.p < ALPHA:
            at, y = _rows(cues.rows, labels)
            found[n] = replace(figure, p=max(figure.p, p_of_best(cues.places[at], y, seed)))
            lock = _lock(cues, found[n], at, y, seed)
    found = [replace(f, p=p) for f, p in zip(found, holm([f.p for f in found]), strict=True)]
    for run, scores in networks.items():
        for figure in found:
            told = baseline_told(figure, f"{capitalised(figure.of)} alone, as {run} sees it")
            yield replace(against(replace(figure, run=run), scores, tables[figure.kind], draws, seed), told=told)
        if lock is not None:
            yield replace(lock, run=run)


def _lock(cues: Cues, figure: Figure, at: np.ndarray, y: np.ndarray, seed: int) -> Figure:
    """How many times as far apart the classes lie at the best pixel as at the best once exams are moved at random."""
    places = cues.places[at]
    size, best = _best(places, y)
    rng = np.random.default_rng(seed)
    elsewhere = [_best(_moved(places, rng), y)[0] for _ in range(3)]
    ratio = size / max(float(np.mean(elsewhere)), 1e-12)
    m, row, column = np.unravel_index(best, places.shape[1:])
    where = f"{cues.maps[m]}, pixel {column * cues.edge} from the left and {row * cues.edge} from the first row"
    times = number_text(ratio, 1)
    told = (
        f"The pixel that tells most ({where}, of the prepared picture) holds the classes {times} times as far apart as "
        f"once exams are moved at random by up to {JITTER} pixels; {LOCKED:g} and more is what a mark does."
    )
    return Figure(LOCK, figure.split, figure.target, "", where, Estimate(ratio), figure.n, figure.n_positive, told=told)


def _best(places: np.ndarray, y: np.ndarray) -> tuple[float, int]:
    """The largest t of any place, and which it is."""
    size = [np.abs(_t(places[:, m].reshape(len(y), -1).astype(np.float32), y)) for m in range(places.shape[1])]
    flat = np.concatenate(size)
    return float(flat.max()), int(flat.argmax())


def _moved(places: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Every exam moved in the plane by its own steps, round the edges."""
    out = np.empty_like(places)
    for n, steps in enumerate(rng.integers(-JITTER, JITTER + 1, (len(places), 2))):
        out[n] = np.roll(places[n], tuple(steps), axis=(1, 2))
    return out


def _rows(rows: Mapping[Hashable, int], units: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    named = units[["patient_id", "side"]].fillna("").itertuples(index=False, name=None)
    at = np.array([rows.get((patient, side), rows.get((patient, ""), -1)) for patient, side in named], int)
    return at[at >= 0], units["value"].to_numpy(float)[at >= 0]


def p_of_best(values: np.ndarray, y: np.ndarray, seed: int, exchanges: int = EXCHANGES) -> float:
    """P value of the largest correlation of any column with the labels, against that of exchanged labels.

    Args:
        values: (N, ...).
        y: (N,) 0 or 1.
        seed: Of the exchanges.
        exchanges: How many.

    Source: Westfall and Young 1993, the largest statistic over all columns.
    """
    rng = np.random.default_rng(seed)
    labels = np.stack([y, *(rng.permutation(y) for _ in range(exchanges))]).astype(np.float32)
    labels -= labels.mean(axis=1, keepdims=True)
    best = np.zeros(len(labels))
    values = values.reshape(len(values), -1)
    for start in range(0, values.shape[1], _CHUNK):
        x = values[:, start : start + _CHUNK].astype(np.float32)
        x -= x.mean(axis=0)
        size = np.sqrt((x * x).sum(axis=0))
        x /= np.where(size > 1e-6 * np.sqrt(len(x)), size, np.inf)
        best = np.maximum(best, np.abs(labels @ x).max(axis=1))
    return float((best >= best[0] - 1e-6).sum() / len(best))


def scores_of(
    rows: Mapping[Hashable, int], values: np.ndarray, labels: pd.DataFrame, split: pd.DataFrame, few: bool
) -> pd.DataFrame:
    """Scores of tested patients by rules that are learned on what is not tested of each fold.

    Args:
        rows: See `Cues`.
        values: (N, F).
        labels: patient_id, side, value of one target.
        split: Rows of one split.
        few: By the `FEW` columns that tell the classes apart best; otherwise by ridge logistic regression on all.

    Returns:
        repeat, fold, patient_id, side, y_true, prob, as `Sample` takes it.
    """
    units = labels.assign(side=labels["side"].fillna(""))
    at = [rows.get((p, s), rows.get((p, ""), -1)) for p, s in zip(units["patient_id"], units["side"], strict=True)]
    units = units.assign(row=at)[np.array(at, int) >= 0]
    tables = []
    for (repeat, fold), own in split.groupby(["repeat", "fold"], sort=False):
        part = own[own["part"] != EXTERNAL].drop_duplicates("patient_id").set_index("patient_id")["part"]
        here = units[units["patient_id"].isin(part.index)]
        tested = here["patient_id"].map(part) == "test"
        learn, test = here[~tested], here[tested]
        if test.empty:
            continue
        score = np.zeros(len(test))
        if learn["value"].nunique() == 2:
            rule = _by_few if few else _by_all
            y = learn["value"].to_numpy(float)
            score = rule(values, learn["row"].to_numpy(), y, test["row"].to_numpy())
        tables.append(test[list(PERSON)].assign(
            repeat=repeat, fold=fold, y_true=test["value"].to_numpy(float), prob=sigmoid(score),
        ))  # fmt: skip
    columns = ["repeat", "fold", *PERSON, "y_true", "prob"]
    return pd.concat(tables, ignore_index=True)[columns] if tables else pd.DataFrame(columns=columns)


def _by_few(values: np.ndarray, learn: np.ndarray, y: np.ndarray, test: np.ndarray) -> np.ndarray:
    """The few columns that tell classes apart best, weighed by how well they do."""
    starts = range(0, values.shape[1], _CHUNK)
    size = np.concatenate([np.abs(_t(values[learn, s : s + _CHUNK].astype(np.float32), y)) for s in starts])
    best = np.argsort(-size, kind="stable")[:FEW]
    known, asked = values[learn][:, best].astype(float), values[test][:, best].astype(float)
    spread = known.std(axis=0)
    t = _t(known, y)
    weights = t / max(float(np.abs(t).sum()), 1e-12)
    return ((asked - known.mean(axis=0)) / np.where(spread > 0, spread, np.inf)) @ weights


def _t(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Welch's t of each column between the classes, with `LEAST_SPREAD` added to the spread of each.

    Without it, edges that lie alike in all pictures would tell the smallest change of a picture's scale.

    Source: Tusher, Tibshirani and Chu 2001, who add a constant to the spread for the same reason.
    """
    one, two = x[y > 0], x[y <= 0]
    spread = (one.var(axis=0) + LEAST_SPREAD**2) / len(one) + (two.var(axis=0) + LEAST_SPREAD**2) / len(two)
    return np.asarray((one.mean(axis=0) - two.mean(axis=0)) / np.sqrt(spread))


def _by_all(values: np.ndarray, learn: np.ndarray, y: np.ndarray, test: np.ndarray) -> np.ndarray:
    """Ridge logistic regression on standardised columns."""
    known, asked = values[learn].astype(float), values[test].astype(float)
    known, asked = standardised(known, asked)
    weights, level = ridge_logistic(known, y, STRENGTH)
    return asked @ weights + level


def cues_against(figures: Sequence[Figure], network: Figure) -> tuple[Cue, ...]:
    """`marks`, as a verdict takes them.

    Args:
        figures: Of all splits, targets and runs.
        network: Its figure.
    """
    where = (network.split, network.target, network.run)
    own = [f for f in figures if (f.split, f.target, f.run) == where]
    lock = next((f.told for f in own if f.kind == LOCK), "")
    return tuple(Cue(f.of, f.estimate, lock if f.kind == "places" else "") for f in marks(own, network))


def unchanged(figures: Sequence[Figure], network: Figure) -> bool:
    """Whether no altered copy of the scans changes a network's AUROC, though it knows something.

    Args:
        figures: Of one split, target and run.
        network: Its figure on the scans as they are.
    """
    moved = [
        f.difference.value for f in figures if f.kind in CHANGES and f.difference and f.difference.value is not None
    ]
    knows = network.estimate.low is not None and network.estimate.low > CHANCE
    return knows and len(moved) >= 3 and max(map(abs, moved)) < STILL


def marks(figures: Sequence[Figure], network: Figure) -> list[Figure]:
    """Those figures of a network's own pictures that count as a mark: as good as the network, and no accident.

    The rule: better than chance by its interval, and by its P value below `SURE`; at least `KEPT` of what the network
    has above 0.5; not shown to be less than the network (paired interval); of places, that the best is tied to its
    pixel by `LOCKED` at least.

    Args:
        figures: Of one split, target and run; P values corrected.
        network: Its figure on the scans as they are.
    """
    by_kind = {f.kind: f for f in figures}
    found = [by_kind[kind] for kind in KINDS if kind in by_kind and _as_good(by_kind[kind], network)]
    lock = by_kind[LOCK].estimate.value if LOCK in by_kind else None
    return [f for f in found if f.kind != "places" or (lock or 0) >= LOCKED]


def _as_good(figure: Figure, network: Figure) -> bool:
    value, low, whole = figure.estimate.value, figure.estimate.low, network.estimate.value
    if value is None or low is None or low <= CHANCE or figure.p is None or figure.p >= SURE:
        return False
    if whole is not None and value - CHANCE < KEPT * (whole - CHANCE):
        return False
    return figure.difference is None or figure.difference.low is None or figure.difference.low <= 0
