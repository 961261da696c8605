"""Registration finds movements that were planted, and moves nothing that lies right already."""

from __future__ import annotations

import numpy as np
import pytest
from heads import head
from scipy.spatial.transform import Rotation

from scan2gene.core.errors import ScanError
from scan2gene.core.section import Plugin
from scan2gene.core.volume import Volume
from scan2gene.imaging.index import index, read_volume
from scan2gene.preprocess import STEPS
from scan2gene.preprocess.notes import collected
from scan2gene.preprocess.recipe import apply_recipe

register = STEPS["register"]
# of the brain's box; the corners are 126 mm from its centre
CORNERS = np.array([[x, y, z, 1] for x in (-66, 66) for y in (-84, 84) for z in (-68, 68)]).T


@pytest.fixture(scope="module")
def reference():
    return head("t1", (76, 84, 40), (2.6, 2.6, 4.4))


@pytest.fixture(scope="module")
def small():
    return head("t1", (46, 52, 28), (4.2, 4.2, 6.2))


def apart(a: np.ndarray, b: np.ndarray) -> tuple[float, float]:
    """Two rigid movements (4, 4): mm between where they take the head's centre, degrees between their turns."""
    turn = np.clip((np.trace(a[:3, :3] @ b[:3, :3].T) - 1) / 2, -1, 1)
    return float(np.linalg.norm((a - b)[:3, 3])), float(np.degrees(np.arccos(turn)))


@pytest.mark.parametrize(
    ("sequence", "shape", "spacing", "degrees", "shift"),
    [
        ("flair", (76, 84, 24), (2.6, 2.6, 6.5), (4, -3, 6), (5, -4, 3)),
        ("t2", (24, 84, 76), (6.5, 2.6, 2.6), (-8, 5, -7), (-8, 6, 7)),
    ],
)
def test_a_planted_movement_is_undone(reference, sequence, shape, spacing, degrees, shift):
    turn = Rotation.from_euler("xyz", degrees, degrees=True).as_matrix()
    moved = head(sequence, shape, spacing, turn, shift)
    before = moved.array.copy()
    with collected() as notes:
        found = register(moved, reference=reference)
    back = np.eye(4)
    back[:3, :3], back[:3, 3] = turn.T, -turn.T @ np.array(shift)
    did = found.affine @ np.linalg.inv(moved.affine)
    millimetres, turned = apart(did, back)
    assert millimetres < 1
    assert turned < 1
    assert np.linalg.norm(((did - back) @ CORNERS)[:3], axis=0).max() < 2  # two slices of the brain's far corners
    np.testing.assert_allclose(did[:3, :3] @ did[:3, :3].T, np.eye(3), atol=1e-9)  # rigid
    assert found.array is moved.array  # no voxel is interpolated
    np.testing.assert_array_equal(moved.array, before)
    assert len(notes) == 1
    assert notes[0].startswith("register: a sequence moved by ")


def test_twice_is_the_same_and_the_reference_stays(small):
    turn = Rotation.from_euler("z", 3, degrees=True).as_matrix()
    moved = head("t1c", (40, 42, 24), (5.0, 5.0, 6.5), turn, (2, 1, -2))
    first, second = (register(moved, reference=small).affine for _ in range(2))
    np.testing.assert_array_equal(first, second)
    assert register(small, reference=small) is small
    copy = Volume(small.array.copy(), small.affine)
    assert register(copy, reference=small) is copy


def test_sessions_without_a_common_frame_begin_at_their_centres(small):
    far = head("t1c", (40, 42, 24), (5.0, 5.0, 6.5))
    affine = far.affine.copy()
    affine[:3, 3] += (150, -40, 90)
    with pytest.raises(ScanError, match="register: "):
        register(Volume(far.array, affine), reference=small)
    found = register(Volume(far.array, affine), reference=small, start="centre").affine
    assert apart(found @ np.linalg.inv(far.affine), np.eye(4))[0] < 1


@pytest.mark.parametrize("wrong", ["flat", "thin"])
def test_what_holds_nothing_to_align_is_refused(small, wrong):
    array = np.full((20, 20, 20), 5, np.float32) if wrong == "flat" else small.array[:, :, :3]
    with pytest.raises(ScanError, match="register: the volume holds nothing to align"):
        register(Volume(array, small.affine), reference=small)


def test_too_large_a_movement_is_a_failure(small):
    moved = head("flair", (40, 42, 24), (5.0, 5.0, 6.5), None, (9, 0, 0))
    with pytest.raises(ScanError, match=r"would have to move by 9 mm and [01] degrees, beyond limit_mm 4 .* exam\?"):
        register(moved, reference=small, limit_mm=4)


def test_in_a_recipe_the_masks_stay_and_the_sequences_end_on_one_grid(small):
    moved = head("flair", (40, 42, 24), (5.0, 5.0, 6.5), None, (6, 0, 0))
    mask = Volume((small.array > 800).astype(np.uint8), small.affine, "label")
    recipe = [Plugin(name=n, options={"reference": "t1"}) for n in ("register", "match_grid")]
    done = apply_recipe({"t1": small, "flair": moved, "mask": mask}, recipe)
    assert {v.shape for v in done.values()} == {small.shape}
    np.testing.assert_array_equal(done["mask"].array, mask.array)
    still = apply_recipe({"t1": small, "flair": moved}, recipe[1:])["flair"]
    truth = head("flair", small.shape, small.spacing_mm).array
    inside = truth > 300

    def off(volume: Volume) -> float:
        return float(np.abs(volume.array - truth)[inside].mean())

    assert off(done["flair"]) < 0.5 * off(still)


def test_a_real_exam_that_was_registered_by_others_hardly_moves(shared_data):
    series = index([shared_data / "tcia_brain_tumor_progression_dicom"]).set_index("SeriesDescription")["path"]
    reference, flair = (read_volume(series[name]) for name in ("T1post", "FLAIR_reg"))
    did = register(flair, reference=reference).affine @ np.linalg.inv(flair.affine)
    centre = reference.affine @ [*(np.array(reference.shape) / 2), 1]
    assert np.linalg.norm((did @ centre - centre)[:3]) < 1.5
    assert apart(did, np.eye(4))[1] < 1
