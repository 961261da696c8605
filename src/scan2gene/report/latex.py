"""Tables as LaTeX (booktabs)."""

from __future__ import annotations

import re

import pandas as pd

_ESCAPED = {
    "\\": r"\textbackslash{}", "{": r"\{", "}": r"\}", "$": r"\$", "&": r"\&", "#": r"\#", "_": r"\_", "%": r"\%",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": r"\textless{}", ">": r"\textgreater{}",
    "|": r"\textbar{}", "`": r"\textasciigrave{}",
    "[": "{[}", "]": "{]}", "*": "{*}",  # after the end of a row these would be its options
    "–": "--", "—": "---", "−": "$-$", "×": r"$\times$", "±": r"$\pm$", "≥": r"$\geq$", "≤": r"$\leq$",
    "…": r"\ldots{}", "°": r"\textdegree{}", "µ": r"\textmu{}", "²": "$^2$", "³": "$^3$",
    "\n": " ", "\r": " ", "\t": " ",
}  # fmt: skip


class Bold(str):
    """A cell that is set in bold."""


def escaped(words: str) -> str:
    """Text as LaTeX prints it; letters beyond its fonts are left to the document's own packages."""
    pieces = re.split("(?<=-)(?=-)", words)  # two hyphens would become a dash
    return "{}".join("".join(_ESCAPED.get(c, c if c.isprintable() else " ") for c in piece) for piece in pieces)


def booktabs(table: pd.DataFrame, caption: str, label: str) -> str:
    r"""A `table` environment; the document needs \usepackage{booktabs}.

    Args:
        table: As it is to be read; numbers stand right, text left.
        caption: Above the table.
        label: For references, `tab:<label>`.
    """
    sides = "".join("r" if pd.api.types.is_numeric_dtype(table[c]) else "l" for c in table.columns)
    rows = [[_cell(value) for value in row] for row in table.astype(object).to_numpy()]
    lines = [
        "% needs \\usepackage{booktabs}",
        "\\begin{table}",
        "\\centering",
        f"\\caption{{{escaped(caption)}}}",
        f"\\label{{tab:{label}}}",
        f"\\begin{{tabular}}{{{sides}}}",
        "\\toprule",
        " & ".join(escaped(str(c)) for c in table.columns) + r" \\",
        "\\midrule",
        *[" & ".join(row) + r" \\" for row in rows],
        "\\bottomrule",
        "\\end{tabular}",
        "\\end{table}",
    ]
    return "\n".join(lines) + "\n"


def _cell(value: object) -> str:
    if value is None or value != value:  # NaN is no number to print
        return "{--}"
    words = escaped(f"{value:g}" if isinstance(value, float) else str(value))
    return f"\\textbf{{{words}}}" if isinstance(value, Bold) else words
