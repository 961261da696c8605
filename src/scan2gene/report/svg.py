"""Figures as SVG text: the pieces that every figure is drawn with, and figures as files of their own."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
from markupsafe import Markup, escape

# Okabe & Ito's, told apart by colour-blind readers
BLUE, VERMILLION, SKY, GREY, INK = "#0072B2", "#D55E00", "#56B4E9", "#6b7280", "#1d2430"
RULE = "#d9dde3"
FONT = "Arial, Helvetica, sans-serif"
_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def ticks(low: float, high: float) -> list[float]:
    """Round values between two different ends, two to seven of them."""
    step = 10 ** np.floor(np.log10(high - low))
    step *= next(f for f in (0.2, 0.25, 0.5, 1, 2) if (high - low) / (step * f) <= 6)
    first, last = np.ceil(low / step - 1e-9), np.floor(high / step + 1e-9)
    return [float(round(v * step, 10)) + 0.0 for v in np.arange(first, last + 1)]  # no -0


def svg(width: float, height: float, title: str, told: str, body: Sequence[str]) -> Markup:
    """A figure for the page.

    Args:
        width: In pixels.
        height: In pixels.
        title: Of the figure.
        told: What it shows, for readers who do not see it.
        body: Its elements.
    """
    label = escaped(f"{title}. {told}")
    return Markup(
        f'<svg viewBox="0 0 {width:.0f} {height:.0f}" width="{width:.0f}" height="{height:.0f}" role="img" '
        f'aria-label="{label}"><title>{escaped(title)}</title>{"".join(body)}</svg>'
    )


def standalone(figure: str, stamp: str = "") -> str:
    """A figure of the page as the text of an SVG file: own namespace, generic fonts, white ground.

    Args:
        figure: As on the page.
        stamp: A word across it, such as LEAKY.
    """
    head = f'<svg xmlns="http://www.w3.org/2000/svg" font-family="{FONT}" '
    start, _, rest = str(figure).removeprefix("<svg ").partition(">")
    ground = '<rect width="100%" height="100%" fill="#fff"/>'
    if stamp:
        place = 'x="50%" y="50%" font-size="48" fill="#d55e00" fill-opacity=".35" text-anchor="middle"'
        rest = f"{rest.rpartition('</svg>')[0]}<text {place}>{stamp}</text></svg>"
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{head}{start}>{ground}{rest}\n'


def picture(uri: str, width: int, height: int, title: str) -> Markup:
    """A picture as a figure of its own."""
    image = f'<image href="{uri}" width="{width}" height="{height}"/>'
    return svg(width, height, title, "A picture of voxels", [image])


def escaped(words: str) -> Markup:
    """Text for an element or attribute; characters that XML has no place for are left out."""
    return escape(_NOT_XML.sub("", words))


def square(low: float, top: float, span: float, across: str, up: str) -> list[str]:
    """Frame, marks and names of two axes from 0 to 1."""
    body = [f'<rect x="{low}" y="{top}" width="{span}" height="{span}" fill="none" stroke="{RULE}"/>']
    for v in (0, 0.5, 1):
        body.append(text(low + v * span, top + span + 15, f"{v:g}", "middle", GREY, 11))
        body.append(text(low - 6, top + (1 - v) * span + 4, f"{v:g}", "end", GREY, 11))
    body.append(text(low + span / 2, top + span + 31, across, "middle", GREY, 11))
    return [*body, upright(11, top + span / 2, up)]


def upright(x: float, y: float, words: str) -> str:
    """Text from bottom to top, around a point."""
    return f'<g transform="rotate(-90 {x:.0f} {y:.0f})">{text(x, y, words, "middle", GREY, 11)}</g>'


def line(x1: float, y1: float, x2: float, y2: float, colour: str, dash: str = "", width: float = 1) -> str:
    """A straight line."""
    dashed = f' stroke-dasharray="{dash}"' if dash else ""
    ends = f'x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"'
    return f'<line {ends} stroke="{colour}" stroke-width="{width:g}"{dashed}/>'


def text(
    x: float,
    y: float,
    words: str,
    anchor: str = "start",
    fill: str = INK,
    size: int = 13,
    weight: int = 400,
    cls: str = "",
) -> str:
    """One line of text; `anchor` is start, middle or end."""
    kind = f' class="{cls}"' if cls else ""
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="{fill}" font-size="{size}" '
        f'font-weight="{weight}"{kind}>{escaped(words)}</text>'
    )


def path(x: np.ndarray, y: np.ndarray) -> str:
    """Points as SVG wants them; points amid a straight level or vertical stretch are dropped."""
    keep = np.ones(len(x), bool)
    if len(x) > 2:
        level = (np.diff(y)[:-1] == 0) & (np.diff(y)[1:] == 0)
        upright = (np.diff(x)[:-1] == 0) & (np.diff(x)[1:] == 0)
        keep[1:-1] = ~(level | upright)
    finite = keep & np.isfinite(x) & np.isfinite(y)
    points = [f"{a:.1f},{b:.1f}" for a, b in zip(x[finite], y[finite], strict=True)]
    return " ".join(p for p, before in zip(points, ["", *points], strict=False) if p != before)


def stroke(points: str, colour: str, width: float, dash: str = "") -> str:
    """A line through the points of `path`."""
    dashed = f' stroke-dasharray="{dash}"' if dash else ""
    return f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="{width:g}"{dashed}/>'


def short(words: str, length: int) -> str:
    """Text cut to a length."""
    return words if len(words) <= length else words[: length - 1] + "…"
