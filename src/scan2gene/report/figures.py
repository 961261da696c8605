"""Figures as SVG text drawn by hand: small, the same on every machine, in the page's own font.

Colours are Okabe & Ito's, told apart by colour-blind readers; every figure also has a text
alternative, and shape or position always says what colour says.
"""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from markupsafe import Markup

from scan2gene.core.levels import CHANCE
from scan2gene.core.text import NOT_ESTIMATED, estimate_text
from scan2gene.report.inputs import Scored
from scan2gene.report.svg import BLUE, GREY, INK, RULE, SKY, VERMILLION, square
from scan2gene.report.svg import line as _line
from scan2gene.report.svg import path as _path
from scan2gene.report.svg import short as _short
from scan2gene.report.svg import stroke as _stroke
from scan2gene.report.svg import svg as _svg
from scan2gene.report.svg import text as _text
from scan2gene.report.svg import ticks as _ticks


@dataclass(frozen=True)
class ForestRow:
    """One line of a forest plot; a heading has no `scored` and no `missing`."""

    label: str
    scored: Scored | None = None
    baseline: bool = False
    missing: str = ""


def forest(rows: Sequence[ForestRow], title: str) -> Markup:
    """AUROC and 95 % interval of every run on one scale from 0 to 1, with chance marked."""
    left, right, height = 230, 660, 26
    bottom = 14 + height * len(rows)

    def x(value: float) -> float:
        return left + value * (right - left)

    scale = (0, 0.25, CHANCE, 0.75, 1)
    body = [_line(x(v), 8, x(v), bottom, INK if v == CHANCE else RULE, "4 3" if v == CHANCE else "") for v in scale]
    body += [_text(x(v), bottom + 17, f"{v:g}", "middle", GREY, 12) for v in scale]
    body.append(_text(x(CHANCE), bottom + 34, "chance", "middle", INK, 12))
    for index, row in enumerate(rows):
        y = 14 + height * (index + 0.5)
        if row.scored is None and not row.missing:
            body.append(_text(0, y + 4, _short(row.label, 34), weight=600))
            continue
        body.append(_text(14, y + 4, _short(row.label, 32)))
        body += _estimate(row, x, y, right)
    told = "; ".join(f"{r.label} {_told(r)}" if r.scored or r.missing else f"{r.label}:" for r in rows)
    return _svg(860, bottom + 44, title, told, body)


def _estimate(row: ForestRow, x: Callable[[float], float], y: float, right: float) -> list[str]:
    value = row.scored.estimate if row.scored else None
    if value is None or value.value is None:
        return [_text(right + 20, y + 4, NOT_ESTIMATED, fill=GREY)]
    marks = []
    if value.low is not None and value.high is not None:
        marks.append(_line(x(value.low), y, x(value.high), y, VERMILLION if row.baseline else BLUE, width=2.5))
    if row.baseline:  # a square, so that colour is not needed
        marks.append(
            f'<rect x="{x(value.value) - 5:.1f}" y="{y - 5:.1f}" width="10" height="10" fill="#fff" '
            f'stroke="{VERMILLION}" stroke-width="2.5"/>'
        )
    else:
        marks.append(f'<circle cx="{x(value.value):.1f}" cy="{y:.1f}" r="5.5" fill="{BLUE}"/>')
    return [*marks, _text(right + 20, y + 4, _told(row), cls="num")]


def _told(row: ForestRow) -> str:
    return estimate_text(row.scored.estimate if row.scored else None)


def roc(folds: Sequence[tuple[np.ndarray, np.ndarray]], title: str, told: str) -> Markup:
    """ROC curves: a thin line per fold, and the mean over folds weighted by their pairs.

    Args:
        folds: (y_true, score) of each fold's test patients, both classes present.
        title: Of the figure.
        told: Text alternative.
    """
    low, high, top = 46, 236, 10
    span = high - low

    def points(fpr: np.ndarray, tpr: np.ndarray) -> str:
        return _path(low + fpr * span, top + (1 - tpr) * span)

    body = [*square(low, top, span, "1 − specificity", "sensitivity"), _line(low, top + span, high, top, GREY, "4 3")]
    several = len(folds) > 1
    for y_true, score in folds:
        body.append(_stroke(points(*roc_points(y_true, score)), SKY if several else BLUE, 1 if several else 2.2))
    if several:
        body.append(_stroke(points(*mean_roc(folds)), BLUE, 2.4))
    return _svg(248, top + span + 38, title, told, body)


def roc_points(y_true: np.ndarray, score: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Corners (1 - specificity, sensitivity) of the ROC curve, from (0, 0) to (1, 1)."""
    order = np.argsort(-score, kind="stable")
    last = np.append(np.diff(score[order]) != 0, True)  # ties move together
    positives, negatives = np.cumsum(y_true[order] == 1)[last], np.cumsum(y_true[order] == 0)[last]
    return np.append(0, negatives / negatives[-1]), np.append(0, positives / positives[-1])


def mean_roc(folds: Sequence[tuple[np.ndarray, np.ndarray]]) -> tuple[np.ndarray, np.ndarray]:
    """Mean sensitivity at each specificity; the area below is the AUROC over within-fold pairs.

    Each fold weighs as many (positive, negative) pairs as it holds.
    """
    pairs = np.array([(y == 1).sum() * (y == 0).sum() for y, _ in folds], float)
    curves = [roc_points(y, s) for y, s in folds]
    corners = np.unique(np.concatenate([fpr for fpr, _ in curves]).round(9))
    corners = corners if len(corners) <= 1000 else np.linspace(0, 1, 1001)
    # just left and right of every corner, so that vertical stretches stay vertical
    sides = np.stack([corners - 1e-7, corners + 1e-7], axis=1).ravel()
    tpr = [np.interp(sides, fpr + np.arange(len(fpr)) * 1e-12, tpr, left=0) for fpr, tpr in curves]
    return np.repeat(corners, 2), np.average(tpr, axis=0, weights=pairs)


def histogram(values: np.ndarray, title: str, unit: str, counted: str) -> Markup:
    """Bars of equal width over a range of numbers.

    Args:
        values: Finite numbers, one at least.
        title: Of the figure, and of its horizontal axis.
        unit: Of the numbers.
        counted: What is counted, for the text alternative.
    """
    left, right, top, bottom = 40, 300, 22, 150
    counts, edges = np.histogram(values, bins=min(24, max(5, len(np.unique(values.round(3))))))
    low, high, most = float(edges[0]), float(edges[-1]), int(counts.max())

    def x(value: float) -> float:
        return left + (value - low) / (high - low) * (right - left)

    body = [_text(left, 13, _short(f"{title} ({unit})", 44), weight=600, size=12)]
    for count, one, two in zip(counts, edges[:-1], edges[1:], strict=True):
        height = (bottom - top) * count / most
        width = max(x(two) - x(one) - 1, 1)
        place = f'x="{x(one):.1f}" y="{bottom - height:.1f}" width="{width:.1f}" height="{height:.1f}"'
        body.append(f'<rect {place} fill="{BLUE}"/>')
    body += [_line(left, bottom, right, bottom, GREY), _text(left - 6, top + 5, f"{most:,}", "end", GREY, 11)]
    body += [_text(x(v), bottom + 15, f"{v:g}", "middle", GREY, 11) for v in _ticks(low, high)]
    middle = f"median {np.median(values):.3g} {unit}"
    told = f"{len(values):,} {counted}, from {values.min():.3g} to {values.max():.3g}, {middle}"
    return _svg(316, bottom + 22, title, told, body)


def flow_diagram(steps: Sequence[dict[str, Any]], title: str, splits: Sequence[dict[str, Any]] = ()) -> Markup:
    """Boxes from top to bottom: what was kept; beside each step, what left and why; then parts and who is analysed.

    Args:
        steps: step, kept, unit, left_out (list of (reason, count), already fit to print).
        title: Of the figure.
        splits: Of each split: head, folds, parts (name and lines, the tested last), analysed and not_analysed (lines).
    """
    body: list[str] = []
    told = []
    y = 4.0
    for index, step in enumerate(steps):
        lines = [w for reason, n in step["left_out"] for w in textwrap.wrap(f"{n:,} × {reason}", 64)]
        gone = sum(n for _, n in step["left_out"])
        if index:
            gap = max(26, 20 + 17 * (len(lines) + 1) if lines else 0)
            body.append(_arrow(150, y, 150, y + gap))
            if lines:
                body += _left_out(lines, f"left out: {gone:,}", y + 6, 17 * (len(lines) + 1) + 8)
            y += gap
        label = "in the study" if step["step"] == step["unit"] else step["step"]
        body.append(f'<rect x="10" y="{y:.1f}" width="280" height="46" rx="5" fill="#eef4f9" stroke="{BLUE}"/>')
        body.append(_text(150, y + 20, f"{step['kept']:,} {step['unit']}", "middle", weight=600))
        body.append(_text(150, y + 37, _short(label, 42), "middle", "#4a525e", 12))
        y += 46
        told.append(f"{step['step']}: {step['kept']} {step['unit']}" + (f", {gone} left out" if gone else ""))
    for split in splits:
        drawn, y = _parts(split, y)
        body += drawn
        told.append(f"split {split['head']}: " + ", ".join(name for name, _ in split["parts"]))
        told += [f"analysed {line}" for line in split["analysed"]]
    return _svg(800, y + 6, title, "; ".join(told), body)


def _parts(split: dict[str, Any], y: float) -> tuple[list[str], float]:
    """The parts of a split side by side, and below them who is analysed; where it begins and ends."""
    body = [_arrow(150, y, 150, y + 36), _text(166, y + 24, _short(split["head"], 90), weight=600, size=12)]
    top = y + 40
    wrapped = [[w for line in lines for w in textwrap.wrap(line, 40)] for _, lines in split["parts"]]
    height = 26 + 16 * max(len(lines) for lines in wrapped) + 6
    width = (780 - 12 * (len(wrapped) - 1)) / len(wrapped)
    for place, ((name, _), lines) in enumerate(zip(split["parts"], wrapped, strict=True)):
        body += _box(10 + (width + 12) * place, top, width, height, name, lines)
    bottom = top + height + 24
    body.append(_arrow(790 - width / 2, top + height, 790 - width / 2, bottom))
    gone = [w for line in split["not_analysed"] for w in textwrap.wrap(line, 52)]
    scored = [w for line in split["analysed"] for w in textwrap.wrap(line, 60)]
    wide = 458 if gone else 780
    tall = 26 + 16 * max(len(gone), len(scored)) + 6
    body += _box(
        790 - wide, bottom, wide, tall, "Analysed" + (", all folds together" if split["folds"] > 1 else ""), scored
    )
    if gone:
        body += _box(10, bottom, 300, tall, "Not analysed", gone, dashed=True)
    return body, bottom + tall + 8


def _box(
    x: float, y: float, width: float, height: float, head: str, lines: Sequence[str], dashed: bool = False
) -> list[str]:
    look = f'fill="#fff" stroke="{GREY}" stroke-dasharray="4 3"' if dashed else f'fill="#eef4f9" stroke="{BLUE}"'
    body = [f'<rect x="{x}" y="{y:.1f}" width="{width}" height="{height:.1f}" rx="5" {look}/>']
    body.append(_text(x + 12, y + 19, _short(head, 44), weight=600))
    return body + [_text(x + 12, y + 20 + 16 * (n + 1), line, size=12) for n, line in enumerate(lines)]


def _left_out(lines: Sequence[str], head: str, y: float, height: float) -> list[str]:
    middle = y + height / 2
    body = [_arrow(150, middle, 330, middle)]
    body.append(
        f'<rect x="332" y="{y:.1f}" width="458" height="{height:.1f}" rx="5" fill="#fff" stroke="{GREY}" '
        'stroke-dasharray="4 3"/>'
    )
    body.append(_text(344, y + 18, head, weight=600, size=12))
    return body + [_text(344, y + 18 + 17 * (i + 1), line, size=12) for i, line in enumerate(lines)]


def _arrow(x1: float, y1: float, x2: float, y2: float) -> str:
    dx, dy = np.sign(x2 - x1), np.sign(y2 - y1)
    tip = [(x2, y2), (x2 - 7 * dx - 4 * dy, y2 - 7 * dy - 4 * dx), (x2 - 7 * dx + 4 * dy, y2 - 7 * dy + 4 * dx)]
    head = " ".join(f"{a:.1f},{b:.1f}" for a, b in tip)
    return _line(x1, y1, x2 - 5 * dx, y2 - 5 * dy, GREY, width=1.5) + f'<polygon points="{head}" fill="{GREY}"/>'
