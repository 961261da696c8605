"""Each flag is raised by the one volume that is odd, and by no other."""

from __future__ import annotations

import pandas as pd
import pytest

from scan2gene.report.flags import FLAGS, flag

USUAL = {
    "role": "t1", "kind": "intensity", "burned_in": "", "reason": "", "orientation": "LPS",
    "spacing_mm": (1.0, 1.0, 3.0), "shape": (256, 256, 40), "high": 800.0, "at_max": 1e-6, "constant": False,
}  # fmt: skip


def flags_of(odd: dict, n: int = 12, **usual: object) -> list[str]:
    """Flags of one odd volume among `n` usual ones, which must have none."""
    found = flag(pd.DataFrame([USUAL | usual] * n + [USUAL | usual | odd]))
    assert found[:n] == [[]] * n
    return found[n]


@pytest.mark.parametrize(
    ("odd", "expected"),
    [
        ({}, []),
        ({"reason": "cut short"}, ["unreadable"]),
        ({"burned_in": "possible"}, ["burned-in"]),
        ({"burned_in": "yes"}, ["burned-in"]),
        ({"constant": True, "at_max": 1.0, "high": 0.0}, ["empty"]),
        ({"shape": (256, 256, 19)}, ["few slices"]),
        ({"shape": (256, 256, 20)}, []),
        ({"spacing_mm": (1.0, 1.0, 4.6)}, ["odd spacing"]),
        ({"spacing_mm": (1.0, 1.0, 1.9)}, ["odd spacing"]),
        ({"spacing_mm": (0.6, 0.6, 3.0)}, ["odd spacing"]),
        ({"spacing_mm": (3.0, 1.0, 1.0)}, []),  # the same voxel, another plane
        ({"orientation": "RAS"}, ["odd orientation"]),
        ({"high": 8001.0}, ["odd intensity"]),
        ({"high": 79.0}, ["odd intensity"]),
        ({"at_max": 0.02}, ["clipped"]),
        ({"reason": "gone", "burned_in": "yes"}, ["unreadable", "burned-in"]),
    ],
)
def test_an_odd_volume_is_flagged(odd, expected):
    assert flags_of(odd) == expected


def test_what_all_have_is_not_odd():
    assert flags_of({}, orientation="PIR", spacing_mm=(4.0, 4.0, 9.0), at_max=0.03) == []


def test_masks_have_no_intensity():
    assert flags_of({"high": 1.0, "at_max": 0.4}, kind="label", high=0.0) == []
    assert flags_of({"constant": True}, kind="label") == ["empty"]


def test_volumes_are_held_against_their_own_role():
    rows = [USUAL | {"role": "t2", "spacing_mm": (0.5, 0.5, 6.0), "high": 80_000.0}] * 5 + [USUAL] * 5
    assert flag(pd.DataFrame(rows)) == [[]] * 10


def test_two_orientations_that_are_both_common_are_not_odd():
    rows = [USUAL] * 6 + [USUAL | {"orientation": "RAS"}] * 5
    assert flag(pd.DataFrame(rows)) == [[]] * 11


def test_a_single_volume_has_nothing_to_differ_from():
    assert flag(pd.DataFrame([USUAL])) == [[]]


def test_every_flag_is_explained():
    assert all(FLAGS.values())
