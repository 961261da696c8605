"""Decision curves and abstention, drawn by hand. Colours as in `svg`."""

from __future__ import annotations

import numpy as np
from markupsafe import Markup

from scan2gene.report.svg import BLUE, GREY, INK, RULE, SKY, VERMILLION, line, path, stroke, svg, text, ticks, upright
from scan2gene.stats.decision import NetBenefit

LEFT, TOP, ACROSS, DOWN = 52, 12, 250, 170


def decision_curve(curve: NetBenefit, title: str, told: str) -> Markup:
    """Net benefit by threshold: the model with its interval, acting on everybody, acting on nobody.

    Args:
        curve: Of one run.
        title: Of the figure.
        told: Text alternative.
    """
    roof = max(float(curve.all_treated.max()), float(curve.high.max()), 0.01)
    floor = -0.25 * roof

    def points(y: np.ndarray, x: np.ndarray = curve.threshold) -> str:
        return path(LEFT + x * ACROSS, _down(np.clip(y, floor, roof), floor, roof))

    body = _axes((0.0, 1.0), (floor, roof), "threshold probability", "net benefit")
    around = np.r_[curve.low, curve.high[::-1]]
    band = points(around, np.r_[curve.threshold, curve.threshold[::-1]])
    body.append(f'<polygon points="{band}" fill="{SKY}" fill-opacity="0.3"/>')
    at_all = curve.all_treated >= floor
    body.append(stroke(points(curve.all_treated[at_all], curve.threshold[at_all]), VERMILLION, 1.6, "5 2"))
    body.append(line(LEFT, float(_down(0.0, floor, roof)), LEFT + ACROSS, float(_down(0.0, floor, roof)), INK, "2 2"))
    body.append(stroke(points(curve.model), BLUE, 2.2))
    words = ((BLUE, "", "the model"), (VERMILLION, "5 2", "act on everybody"), (INK, "2 2", "act on nobody"))
    return svg(LEFT + ACROSS + 12, TOP + DOWN + 92, title, told, [*body, *_legend(words)])


def abstention(
    coverage: np.ndarray, error: np.ndarray, low: np.ndarray, high: np.ndarray, title: str, told: str
) -> Markup:
    """Share of wrong decisions by the share of patients about whom the surest decisions are kept.

    Args:
        coverage: (C,).
        error: (C,).
        low: (C,) lower ends of 95 % intervals, NaN where there is none.
        high: (C,).
        title: Of the figure.
        told: Text alternative.
    """
    known = np.concatenate([error, high[np.isfinite(high)]])
    roof = max(0.1, float(known.max()))
    body = _axes((0.0, 1.0), (0.0, roof), "share decided, the surest first", "share wrong")
    for x, below, above in zip(coverage, low, high, strict=True):
        if np.isfinite(below) and np.isfinite(above):
            at = float(LEFT + x * ACROSS)
            body.append(line(at, float(_down(below, 0, roof)), at, float(_down(above, 0, roof)), SKY, width=3))
    body.append(stroke(path(LEFT + coverage * ACROSS, _down(error, 0, roof)), BLUE, 2))
    for x, y in zip(coverage, error, strict=True):
        body.append(f'<circle cx="{LEFT + x * ACROSS:.1f}" cy="{_down(y, 0, roof):.1f}" r="3.4" fill="{BLUE}"/>')
    everybody = float(_down(error[np.argmax(coverage)], 0, roof))
    body.append(line(LEFT, everybody, LEFT + ACROSS, everybody, GREY, "4 3"))
    words = ((BLUE, "", "wrong, with 95 % interval"), (GREY, "4 3", "wrong where all are decided"))
    return svg(LEFT + ACROSS + 12, TOP + DOWN + 92, title, told, [*body, *_legend(words)])


def _down(value: np.ndarray | float, low: float, high: float) -> np.ndarray:
    return np.asarray(TOP + DOWN - (np.asarray(value, float) - low) / (high - low) * DOWN)


def _axes(across: tuple[float, float], up: tuple[float, float], below: str, beside: str) -> list[str]:
    body = []
    for v in ticks(*up):
        y = float(_down(v, *up))
        body += [line(LEFT, y, LEFT + ACROSS, y, RULE), text(LEFT - 6, y + 4, f"{v + 0.0:g}", "end", GREY, 11)]
    for v in (0.0, 0.5, 1.0):
        x = LEFT + (v - across[0]) / (across[1] - across[0]) * ACROSS
        body.append(text(x, TOP + DOWN + 15, f"{v:g}", "middle", GREY, 11))
    body.append(text(LEFT + ACROSS / 2, TOP + DOWN + 31, below, "middle", GREY, 11))
    return [*body, upright(11, TOP + DOWN / 2, beside)]


def _legend(words: tuple[tuple[str, str, str], ...]) -> list[str]:
    body = []
    for number, (colour, dash, said) in enumerate(words):
        y = TOP + DOWN + 48 + 15 * number
        body += [line(LEFT, y - 4, LEFT + 22, y - 4, colour, dash, 2), text(LEFT + 28, y, said, size=11)]
    return body
