"""Marks that go with the label are found wherever they lie; honest lesions and plain pictures are not flagged."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest
from scipy.ndimage import gaussian_filter

from scan2gene.evaluate.places import cue_figures, marks, p_of_best
from scan2gene.evaluate.shortcuts import Figure
from scan2gene.predict.pixels import Picture, air_of, cues_of
from scan2gene.stats.intervals import Estimate

SHAPE, PATIENTS, FOLDS = (6, 24, 24), 40, 4
GRID = np.stack(np.meshgrid(*map(np.arange, SHAPE), indexing="ij"), axis=-1)
Draw = Callable[[np.ndarray, np.random.Generator], None]


def head(rng: np.random.Generator, lesion: float) -> tuple[np.ndarray, np.ndarray]:
    """A body in quiet air, each of its own size and place, with a lesion somewhere in it; and where that is."""
    far = np.linalg.norm((GRID[..., 1:] - 11.5 - rng.normal(0, 0.5, 2)) / rng.uniform((9, 8), (10, 9)), axis=-1)
    scan = np.where(far < 1, 1 + 0.8 * gaussian_filter(rng.normal(size=SHAPE), 1.0), 0)
    scan += np.abs(rng.normal(0, 0.05, SHAPE))
    seat = np.linalg.norm((GRID - rng.uniform((1, 7, 7), (4, 16, 16))) * (1.5, 1, 1), axis=-1) < rng.uniform(1.5, 3.5)
    scan[seat] += lesion
    return scan, seat


def _flagged(
    draw: Draw | None = None, lesion: float = 0.0, network: float = 1.0, masks: bool = False, slices: bool = False,
    seed: int = 0,
) -> list[str]:  # fmt: skip
    """What is called a mark in a cohort where `draw` marks positives and their lesions are brighter by `lesion`."""
    rng = np.random.default_rng(seed)
    y = np.arange(PATIENTS) % 2
    pictures = []
    for label in y:
        scan, seat = head(rng, 0.3 + lesion * label)
        if draw is not None and label:
            draw(scan, rng)
        scan = (scan - scan.mean()) / scan.std()  # a bright lesion darkens all the rest
        if slices:
            scan, seat = (v[: int(rng.integers(4, 7))] for v in (scan, seat))
        pictures.append(Picture(scan, seat if masks else None, not slices, "t1"))
    people = [f"P{n}" for n in range(PATIENTS)]
    fold = rng.permutation(PATIENTS // 2).repeat(2) % FOLDS
    split = pd.DataFrame([
        {"repeat": 0, "fold": k, "patient_id": p, "part": "test" if fold[n] == k else "train"}
        for k in range(FOLDS) for n, p in enumerate(people)
    ])  # fmt: skip
    labels = pd.DataFrame({"patient_id": people, "side": "", "value": y.astype(float)})
    scores = pd.DataFrame({"repeat": 0, "fold": fold, "patient_id": people, "side": "", "y_true": y.astype(float),
                           "prob": y + rng.normal(0, 0.3, PATIENTS)})  # fmt: skip
    cues = cues_of(lambda n: [pictures[n]], [(p, "") for p in people])
    figures = list(cue_figures(cues, {"net": scores}, ("cv", "gene"), labels, split, 200, 999, 1))
    whole = Figure("network", "cv", "gene", "net", "", Estimate(network, network, network), PATIENTS, PATIENTS // 2)
    return [f.kind for f in marks(figures, whole)]


def _put(where: tuple, value: float) -> Draw:
    return lambda scan, _: scan.__setitem__(where, value)


def _faint(scan: np.ndarray, _: np.random.Generator) -> None:
    scan[:, 2:6, 2:6] += 0.1


def _letter(scan: np.ndarray, _: np.random.Generator) -> None:
    scan[:, 1:7, 20], scan[:, 6, 20:23] = 2.0, 2.0


def _somewhere_outside(scan: np.ndarray, rng: np.random.Generator) -> None:
    i, j = rng.integers(0, 2, 2)
    scan[:, i : i + 3, j : j + 3] = 1.5


MARKS: dict[str, tuple[Draw, str]] = {
    "bright corner": (_put(np.s_[:, :4, :4], 4.0), "border"),
    "corner of one slice": (_put(np.s_[3, :4, :4], 2.0), "border"),
    "middle of an edge": (_put(np.s_[:, 11:13, :3], 1.2), "border"),
    "faint": (_faint, "air"),
    "letter": (_letter, "border"),
    "not quite at one place": (_somewhere_outside, "air"),
    "bright inside": (_put(np.s_[:, 10:14, 10:14], 3.0), "places"),
    "dark inside": (_put(np.s_[:, 10:14, 10:14], 0.0), "places"),
    "inside one slice": (_put(np.s_[2, 10:14, 10:14], 3.0), "places"),
}


QUICK = ("bright corner", "corner of one slice", "faint", "dark inside")


def _slow(name: str, quick: tuple[str, ...]):
    return pytest.param(name, marks=[] if name in quick else pytest.mark.slow)


@pytest.mark.parametrize("what", [_slow(name, QUICK) for name in MARKS])
def test_a_mark_is_found(what):
    draw, kind = MARKS[what]
    assert kind in _flagged(draw)


@pytest.mark.parametrize(
    "draw", [_slow(n, ("corner of one slice",)) for n in ("bright corner", "corner of one slice", "dark inside")]
)
def test_a_mark_is_found_in_chosen_slices(draw):
    corner = _put(np.s_[2, :4, :4], 2.0)  # in a slice that all have
    assert _flagged(corner if draw == "corner of one slice" else MARKS[draw][0], slices=True)


HONEST: dict[str, dict] = {
    "nothing": {},
    "bright lesion": {"lesion": 1.2},
    "dark lesion": {"lesion": -1.0},
    "lesion with mask": {"lesion": 1.2, "masks": True},
    "lesion in slices": {"lesion": 1.2, "slices": True},
}


@pytest.mark.parametrize("what", [_slow(n, ("bright lesion", "lesion in slices")) for n in HONEST])
def test_lesions_and_nothing_are_no_marks(what):
    assert _flagged(**HONEST[what]) == []


@pytest.mark.slow
@pytest.mark.parametrize("what", HONEST)
def test_false_alarms_are_rare(what):
    assert sum(bool(_flagged(seed=seed, network=0.8, **HONEST[what])) for seed in range(1, 16)) <= 1


def test_a_lesion_that_always_lies_at_one_place_is_no_mark_where_its_mask_is_known():
    def drawn(masks: bool) -> list[str]:
        rng = np.random.default_rng(3)
        seat = np.zeros(SHAPE, bool)
        seat[2:4, 10:14, 10:14] = True
        pictures = []
        for n in range(PATIENTS):
            scan = 1 + 0.3 * rng.standard_normal(SHAPE)
            scan[seat] += 2.0 * (n % 2)
            pictures.append(Picture(scan, seat if masks else None, True, "t1"))
        people = [f"P{n}" for n in range(PATIENTS)]
        labels = pd.DataFrame({"patient_id": people, "side": "", "value": np.arange(PATIENTS) % 2.0})
        split = pd.DataFrame({"repeat": 0, "fold": 0, "patient_id": people, "part": ["train"] * 20 + ["test"] * 20})
        scores = pd.DataFrame({"repeat": 0, "fold": 0, "patient_id": people[20:], "side": "",
                               "y_true": labels["value"][20:], "prob": labels["value"][20:]})  # fmt: skip
        cues = cues_of(lambda n: [pictures[n]], [(p, "") for p in people])
        figures = list(cue_figures(cues, {"net": scores}, ("cv", "gene"), labels, split, 200, 999, 1))
        whole = Figure("network", "cv", "gene", "net", "", Estimate(1.0, 0.9, 1.0), 20, 10)
        return [f.kind for f in marks(figures, whole)]

    assert drawn(masks=False) == ["places"]  # nothing tells it from a mark
    assert drawn(masks=True) == []


def test_a_network_that_knows_more_than_the_mark_is_not_called_by_it():
    def half(scan: np.ndarray, rng: np.random.Generator) -> None:
        if rng.random() < 0.3:
            scan[:, :4, :4] = 3.0

    assert _flagged(half, network=1.0) == []


def test_the_best_of_many_places_is_no_finding_by_itself():
    rng = np.random.default_rng(0)
    y = np.arange(30) % 2.0
    p = [p_of_best(rng.normal(size=(30, 3000)), y, seed, 99) for seed in range(40)]
    assert np.mean(np.array(p) <= 0.1) < 0.25  # 0.1 but for luck
    assert p_of_best(np.c_[rng.normal(size=(30, 3000)), 5 * y + rng.normal(size=30)], y, 0, 99) == 0.01


def test_air_is_what_lies_around_the_body_whatever_is_drawn_into_it():
    rng = np.random.default_rng(1)
    scan, _ = head(rng, 0.0)
    body = np.linalg.norm((GRID[..., 1:] - 11.5) / 6, axis=-1) < 1
    around = np.linalg.norm((GRID[..., 1:] - 11.5) / 13, axis=-1) > 1
    for value in (0.0, 50.0):
        scan[:, :4, :4] = value
        air = air_of(scan)
        assert air[around].all() and not air[body].any()
    assert not air_of(rng.normal(size=SHAPE)).any()  # where there is none
    assert not air_of(np.ones(SHAPE)).any()
