"""Any text survives LaTeX's escapes, and no row can be taken for an option or a comment."""

from __future__ import annotations

import re

import pandas as pd
from hypothesis import given
from hypothesis import strategies as st

from scan2gene.report.latex import booktabs, escaped

COMMANDS = {
    "textbackslash": "\\", "textasciitilde": "~", "textasciicircum": "^", "textless": "<", "textgreater": ">",
    "textbar": "|", "textasciigrave": "`", "ldots": "…", "textdegree": "°", "textmu": "µ",
}  # fmt: skip
MATHS = {"$-$": "−", r"$\times$": "×", r"$\pm$": "±", r"$\geq$": "≥", r"$\leq$": "≤", "$^2$": "²", "$^3$": "³"}
TOKEN = re.compile(
    r"\\(?P<command>[a-z]+)\{\}|\\(?P<symbol>[{}$&#_%])|(?P<maths>\$[^$]+\$)|\{(?P<held>[\[\]*])\}"
    r"|(?P<empty>\{\})|(?P<dash>---|--)|(?P<plain>[^\\{}$&#_%~^<>|`\[\]*])"
)


def read(tex: str) -> str:
    """What LaTeX prints; fails on whatever it would take for a command."""
    found, at = "", 0
    while at < len(tex):
        match = TOKEN.match(tex, at)
        assert match, f"LaTeX would not print {tex[at : at + 20]!r}"
        kind, token = match.lastgroup, match[match.lastgroup]
        if kind == "dash":
            found += {"--": "–", "---": "—"}[token]
        elif kind != "empty":
            found += {"command": COMMANDS, "maths": MATHS}.get(kind, {token: token})[token]
        at = match.end()
    return found


@given(st.text(st.one_of(st.sampled_from("\\{}$&#_%~^<>|`[]*-–—−×±≥≤…²a1 "), st.characters()), max_size=30))
def test_text_is_printed_as_it_is(words):
    shown = "".join(" " if c in "\n\r\t" or not c.isprintable() else c for c in words)
    if "–-" in words or "-–" in words or "—-" in words or "-—" in words or re.search("[–—]{2}", words):
        return  # dashes side by side: nobody writes them
    assert read(escaped(words)) == shown


def test_a_table_by_hand():
    table = pd.DataFrame({"run_id": ["a_b", "[path]"], "AUROC %": ["0.7 ± 0.1", "0.612 (0.500–0.700)"], "n": [3, 40]})
    text = booktabs(table, "50 % & more", "auroc-cv")
    body = text[text.index("\\toprule") :].splitlines()
    assert body[1] == r"run\_id & AUROC \% & n \\"
    assert body[3] == r"a\_b & 0.7 $\pm$ 0.1 & 3 \\"
    assert body[4] == r"{[}path{]} & 0.612 (0.500--0.700) & 40 \\"
    assert r"\begin{tabular}{llr}" in text and r"\caption{50 \% \& more}" in text and r"\label{tab:auroc-cv}" in text


def test_missing_numbers_are_dashes():
    assert "{--} & {--}" in booktabs(pd.DataFrame({"a": [float("nan")], "b": [None]}), "c", "l")
