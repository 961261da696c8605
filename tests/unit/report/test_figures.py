"""Axis ticks for any range of losses."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from scan2gene.report.figures import _ticks


@given(low=st.floats(-10, 10), span=st.floats(1e-6, 1e4))
def test_ticks_lie_between_the_ends_and_are_few(low, span):
    ticks = _ticks(low, low + span)
    assert 2 <= len(ticks) <= 7
    assert ticks == sorted(set(ticks))
    assert all(low - 1e-6 * span - 1e-9 <= t <= low + span * (1 + 1e-6) + 1e-9 for t in ticks)
