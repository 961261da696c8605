"""Curves of one run: precision-recall, calibration, decisions, convergence. Colours as in `svg`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from markupsafe import Markup

from scan2gene.core.text import percent
from scan2gene.report.points import Reliability, precision_recall
from scan2gene.report.svg import (
    BLUE,
    GREY,
    INK,
    RULE,
    SKY,
    VERMILLION,
    line,
    path,
    short,
    square,
    stroke,
    svg,
    text,
    ticks,
    upright,
)  # fmt: skip

WIDTH, LOW, TOP, SPAN = 248, 46, 10, 190  # of the square figures, as `roc` has them
PROBABILITY_BINS = 20


def precision_recall_curves(
    repeats: Sequence[tuple[np.ndarray, np.ndarray]], folds: Sequence[tuple[np.ndarray, np.ndarray]], title: str,
    told: str,
) -> Markup:  # fmt: skip
    """Precision by recall: a thin line per fold, a thick one over all test patients of a repeat.

    Args:
        repeats: (y_true, score) of all test patients of each repeat, both classes present.
        folds: The same of each fold; drawn when there are several.
        title: Of the figure.
        told: Text alternative.
    """

    def steps(y_true: np.ndarray, score: np.ndarray) -> str:
        recall, precision = precision_recall(y_true, score)
        x = np.repeat(np.r_[0.0, recall], 2)[1:-1]  # each precision spans the recall that it gained
        return path(LOW + x * SPAN, TOP + (1 - np.repeat(precision, 2)) * SPAN)

    prevalence = float(np.concatenate([y for y, _ in repeats]).mean())
    body = square(LOW, TOP, SPAN, "recall", "precision")
    body.append(line(LOW, TOP + (1 - prevalence) * SPAN, LOW + SPAN, TOP + (1 - prevalence) * SPAN, GREY, "4 3"))
    body += [stroke(steps(y, s), SKY, 1) for y, s in folds if len(folds) > 1]
    body += [stroke(steps(y, s), BLUE, 2.2 if len(repeats) < 4 else 1.2) for y, s in repeats]
    return svg(WIDTH, TOP + SPAN + 38, title, told, body)


def calibration(found: Reliability, y_true: np.ndarray, prob: np.ndarray, title: str, told: str) -> Markup:
    """Reliability diagram, and below it how many patients got which probability.

    Args:
        found: Bins and smoothed curve.
        y_true: (N,) 0 or 1.
        prob: (N,).
        title: Of the figure.
        told: Text alternative.
    """

    def points(x: np.ndarray, y: np.ndarray) -> str:
        return path(LOW + x * SPAN, TOP + (1 - y) * SPAN)

    body = square(LOW, TOP, SPAN, "probability", "share that is positive")
    around = points(np.r_[found.grid, found.grid[::-1]], np.r_[found.low, found.high[::-1]])
    body.append(f'<polygon points="{around}" fill="{SKY}" fill-opacity="0.3"/>')
    body.append(line(LOW, TOP + SPAN, LOW + SPAN, TOP, GREY, "4 3"))
    body.append(stroke(points(found.grid, found.curve), BLUE, 2))
    for x, y in zip(found.probability, found.share, strict=True):
        at = f'cx="{LOW + x * SPAN:.1f}" cy="{TOP + (1 - y) * SPAN:.1f}"'
        body.append(f'<circle {at} r="4" fill="#fff" stroke="{INK}" stroke-width="1.5"/>')
    return svg(WIDTH, TOP + SPAN + 104, title, told, [*body, *_probabilities(y_true, prob, TOP + SPAN + 40)])


def _probabilities(y_true: np.ndarray, prob: np.ndarray, top: float) -> list[str]:
    """Positives upwards and negatives downwards from one line, by probability."""
    counts = [np.histogram(prob[y_true == c], bins=PROBABILITY_BINS, range=(0, 1))[0] for c in (1, 0)]
    most, half, width = max(int(np.max(counts)), 1), 26.0, SPAN / PROBABILITY_BINS
    middle = top + half
    body = []
    for number in range(PROBABILITY_BINS):
        x = LOW + number * width
        for count, colour, up in ((counts[0][number], BLUE, True), (counts[1][number], VERMILLION, False)):
            height = half * count / most
            at = f'x="{x + 0.5:.1f}" y="{middle - height if up else middle:.1f}"'
            if count:
                body.append(f'<rect {at} width="{width - 1:.1f}" height="{height:.1f}" fill="{colour}"/>')
    body += [line(LOW, middle, LOW + SPAN, middle, GREY), text(LOW - 6, top + 9, f"{most:,} +", "end", GREY, 11)]
    return [*body, text(LOW - 6, top + 2 * half, f"{most:,} −", "end", GREY, 11)]


def decisions(counts: Mapping[tuple[int, int], int], title: str, told: str) -> Markup:
    """Confusion matrix: how many of each class were decided to be which, and their share of the class.

    Args:
        counts: (truth, decision) -> patients.
        title: Of the figure.
        told: Text alternative.
    """
    left, top, side = 62, 34, 90
    names = {(1, 1): "found", (1, 0): "missed", (0, 1): "false alarm", (0, 0): "left alone"}
    body = [text(left + side, 12, "decided", "middle", GREY, 11), upright(11, top + side, "truly")]
    for column, decided in enumerate((1, 0)):
        word = ("negative", "positive")[decided]
        body.append(text(left + (column + 0.5) * side, 28, word, "middle", INK, 12))
        body.append(f'<g transform="rotate(-90 48 {top + (column + 0.5) * side:.0f})">'
                    f'{text(48, top + (column + 0.5) * side, word, "middle", INK, 12)}</g>')  # fmt: skip
    for row, truth in enumerate((1, 0)):
        of_class = counts[truth, 0] + counts[truth, 1]
        for column, decided in enumerate((1, 0)):
            x, y, n = left + column * side, top + row * side, counts[truth, decided]
            share = n / of_class if of_class else 0.0
            body.append(
                f'<rect x="{x}" y="{y}" width="{side}" height="{side}" fill="{SKY}" fill-opacity="{0.55 * share:.2f}" '
                f'stroke="{INK}" stroke-width="{2 if truth == decided else 0.8}"/>'
            )
            body.append(text(x + side / 2, y + 38, f"{n:,}", "middle", size=18, weight=600))
            body.append(text(x + side / 2, y + 56, percent(share) if of_class else "none", "middle", size=12))
            body.append(text(x + side / 2, y + 76, names[truth, decided], "middle", "#4a525e", 11))
    return svg(WIDTH, top + 2 * side + 8, title, told, body)


def confusion_matrix(counts: np.ndarray, labels: Sequence[str], title: str, told: str) -> Markup:
    """How many of each class have their largest probability for which, and their share of the class.

    Args:
        counts: (K, K) by true and predicted class; with repeats their mean.
        labels: K names.
        title: Of the figure.
        told: Text alternative.
    """
    left, top, above = 92, 66, 60  # names of columns rise from just above their cells
    side = max(190 / len(labels), 40)
    span = side * len(labels)
    body = [text(left + span / 2, 12, "predicted", "middle", GREY, 11), upright(11, top + span / 2, "truly")]
    for place, label in enumerate(labels):
        x = left + (place + 0.4) * side
        name = text(x, above, short(label, 10), "start", INK, 11)
        body.append(f'<g transform="rotate(-35 {x:.0f} {above})">{name}</g>')
        body.append(text(left - 6, top + (place + 0.5) * side + 4, short(label, 11), "end", INK, 11))
    for row, of_class in enumerate(counts):
        for column, n in enumerate(of_class):
            x, y = left + column * side, top + row * side
            share = n / of_class.sum() if of_class.sum() else 0.0
            body.append(
                f'<rect x="{x:.1f}" y="{y:.1f}" width="{side:.1f}" height="{side:.1f}" fill="{SKY}" '
                f'fill-opacity="{0.55 * share:.2f}" stroke="{INK}" stroke-width="{2 if row == column else 0.8}"/>'
            )
            body.append(text(x + side / 2, y + side / 2, f"{n:,.0f}", "middle", size=14, weight=600))
            body.append(text(x + side / 2, y + side / 2 + 15, percent(share), "middle", size=10))
    return svg(left + span + 40, top + span + 8, title, told, body)


def convergence(fits: Sequence[dict[str, Any]], title: str, told: str) -> Markup:
    """Losses and AUROC by epoch: two lines per fit, a dot at its best epoch, a bar at its last.

    Args:
        fits: epoch, train_loss, validation_loss, train_auroc, validation_auroc (arrays) and best (its epoch) of each.
        title: Of the figure.
        told: Text alternative; its words after the first semicolon stand below the figure.
    """
    x, last, thin = _by_epoch(fits)
    losses = np.concatenate([np.r_[f["train_loss"], f["validation_loss"]] for f in fits])
    losses = losses[np.isfinite(losses)]
    floor, roof = float(losses.min()), float(np.quantile(losses, 0.995))  # one wild first epoch must not flatten all
    lines = [("train_loss", SKY, ""), ("validation_loss", VERMILLION, "5 2")]
    body = _panel(fits, lines, x, thin, (10, 160), (floor, max(roof, floor + 1e-6)), "loss")
    bottom = 160.0
    both = [("train_auroc", SKY, ""), ("validation_auroc", VERMILLION, "5 2")]
    shown = both if all("train_auroc" in f for f in fits) else both[1:]  # older fits kept none of training
    aurocs = np.concatenate([f[name] for f in fits for name, *_ in shown])
    if np.isfinite(aurocs).any():
        bottom = 256.0
        least = min(0.5, float(np.nanmin(aurocs)))
        body += _panel(fits, shown, x, thin, (178, bottom), (least, 1.0), "AUROC")
    body += _epochs(x, last, bottom)
    for n, words in enumerate(told.split("; ")[1:]):
        body.append(text(LOW, bottom + 50 + 15 * n, words, size=11))
    return svg(344, bottom + 42 + 15 * told.count("; "), title, told, body)


def accuracies(fits: Sequence[dict[str, Any]], names: Sequence[str], title: str, told: str) -> Markup:
    """Accuracy in training and in validation by epoch: a panel for the mean over targets, and one for each target.

    Args:
        fits: epoch, best, and `train_accuracy:NAME` and `validation_accuracy:NAME` (arrays) of each fit.
        names: Panels; "" is the mean, whose columns have no name.
        title: Of the figure.
        told: Text alternative.
    """
    x, last, thin = _by_epoch(fits)
    body, top = [], 10.0
    for name in names:
        ending = f":{name}" if name else ""
        lines = [(f"train_accuracy{ending}", SKY, ""), (f"validation_accuracy{ending}", VERMILLION, "5 2")]
        body += _panel(fits, lines, x, thin, (top + 16, top + 92), (0.0, 1.0), "accuracy")
        body.append(text(LOW, top + 8, short(name, 44) if name else "mean over targets", size=12, weight=600))
        top += 112
    body += _epochs(x, last, top - 20)
    return svg(344, top + 22, title, told, body)


def _by_epoch(fits: Sequence[dict[str, Any]]) -> tuple[Any, int, float]:
    """Place of an epoch on the figure, the last one of any fit, and how wide lines are."""
    last = max(int(f["epoch"][-1]) for f in fits)

    def x(epoch: Any) -> Any:
        return LOW + (np.asarray(epoch, float) - 1) / max(last - 1, 1) * (330 - LOW)

    return x, last, 1.6 if len(fits) < 4 else 1.0


def _epochs(x: Any, last: int, bottom: float) -> list[str]:
    marks = [text(x(e), bottom + 16, str(e), "middle", GREY, 11) for e in sorted({1, (last + 1) // 2, last})]
    return [*marks, text((x(1) + 330) / 2, bottom + 32, "epoch", "middle", GREY, 11)]


def _panel(
    fits: Sequence[dict[str, Any]], lines: Sequence[tuple[str, str, str]], x: Any, thin: float,
    place: tuple[float, float], values: tuple[float, float], name: str,
) -> list[str]:  # fmt: skip
    """One quantity by epoch; `lines` are column, colour and dash, the last one carries the marks."""
    (top, bottom), (low, high) = place, values
    left, right = x(1), 330
    # without a validation part only training has values
    lines = [one for one in lines if any(np.isfinite(fit[one[0]]).any() for fit in fits)] or lines[-1:]

    def y(value: Any) -> Any:
        return bottom - np.clip((np.asarray(value, float) - low) / (high - low), 0, 1) * (bottom - top)

    body = [line(left, bottom, right, bottom, GREY), line(left, top, left, bottom, GREY)]
    for v in ticks(low, high):
        body += [line(left, y(v), right, y(v), RULE), text(left - 6, y(v) + 4, f"{v:g}", "end", GREY, 11)]
    body.append(upright(11, (top + bottom) / 2, name))
    for fit in fits:
        body += [stroke(path(x(fit["epoch"]), y(fit[column])), colour, thin, dash) for column, colour, dash in lines]
    column, colour, _ = lines[-1]
    for fit in fits:
        best, end = (float(fit[column][fit["epoch"] == e][0]) for e in (fit["best"], fit["epoch"][-1]))
        if np.isfinite(end):
            at = float(x(fit["epoch"][-1]))
            body.append(line(at, float(y(end)) - 5, at, float(y(end)) + 5, INK, width=1.6))
        if np.isfinite(best):
            body.append(f'<circle cx="{x(fit["best"]):.1f}" cy="{y(best):.1f}" r="3.4" fill="{colour}" stroke="#fff"/>')
    return body
