"""Augmentation: reproducible, independent of the batch, and each effect what it says."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.ndimage
import torch

from scan2gene.core.errors import StudyError
from scan2gene.core.section import Plugin
from scan2gene.data.augment import AUGMENTATIONS, Batch, augment, check_augmentation
from scan2gene.data.draws import Draws
from scan2gene.data.images import to_input
from scan2gene.data.warp import along_axes, warp

SHAPE = (4, 2, 9, 12, 11)
SPACING = (0.9, 1.1, 3.0)
# one setting per effect that changes every exam
STRONG = {
    "flip": {"axes": ["i", "j", "k"]},
    "affine": {"rotation_degrees": 20, "translation_mm": 3, "shear": 0.1},
    "cutout": {"probability": 1.0},
}


def batch(seed: int = 0) -> Batch:
    images = torch.from_numpy(np.random.default_rng(seed).normal(size=SHAPE).astype(np.float32))
    images = along_axes(images, [_smoothing(n) for n in SHAPE[2:]])
    return Batch(images, torch.zeros(SHAPE[0], 1), ("gene",), SPACING)


def _smoothing(size: int) -> torch.Tensor:
    at = torch.arange(size, dtype=torch.float32)
    weights = torch.exp(-0.5 * (at[:, None] - at) ** 2)
    return (weights / weights.sum(1, keepdim=True)).expand(SHAPE[0], -1, -1)


def part(whole: Batch, n: int) -> Batch:
    return Batch(whole.images[n : n + 1], whole.targets[n : n + 1], whole.names, whole.spacing_mm)


def step(name: str) -> list[Plugin]:
    return [Plugin(name=name, options=STRONG.get(name, {}))]


@pytest.mark.parametrize("name", AUGMENTATIONS)
def test_a_batch_of_four_equals_four_batches_of_one(name):
    whole = batch()
    together = augment(whole, step(name), 7, 3, [5, 1, 8, 2]).images
    apart = torch.cat([augment(part(whole, n), step(name), 7, 3, [s]).images for n, s in enumerate([5, 1, 8, 2])])
    torch.testing.assert_close(together, apart, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", AUGMENTATIONS)
def test_it_repeats_and_differs_by_seed_epoch_and_exam(name):
    same = Batch(batch().images[:1].expand(20, -1, -1, -1, -1), torch.zeros(20, 1), ("gene",), SPACING)
    rows = list(range(20))
    first = augment(same, step(name), 1, 1, rows).images
    assert torch.equal(first, augment(same, step(name), 1, 1, rows).images)
    assert not torch.equal(first, augment(same, step(name), 2, 1, rows).images)
    assert not torch.equal(first, augment(same, step(name), 1, 2, rows).images)
    assert len({v.numpy().tobytes() for v in first}) >= 5
    assert first.isfinite().all()


@pytest.mark.parametrize("name", AUGMENTATIONS)
def test_input_is_untouched_and_shape_and_type_stay(name):
    whole = batch()
    before = whole.images.clone()
    after = augment(whole, step(name), 1, 1, range(4))
    assert torch.equal(whole.images, before)
    assert (after.images.shape, after.images.dtype) == (before.shape, torch.float32)


@pytest.mark.parametrize("name", sorted(set(AUGMENTATIONS) - {"pad_and_crop"}))
def test_probability_zero_changes_nothing(name):
    whole = batch()
    after = augment(whole, [Plugin(name=name, options={"probability": 0.0})], 1, 1, range(4)).images
    torch.testing.assert_close(after, whole.images, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", AUGMENTATIONS)
def test_constant_and_tiny_images_stay_finite(name):
    for images in (torch.zeros(2, 1, 8, 8, 8), torch.rand(2, 1, 1, 3, 2)):
        assert augment(Batch(images, torch.zeros(2, 0)), step(name), 1, 1, range(2)).images.isfinite().all()


def test_adding_a_step_does_not_change_the_ones_before():
    steps = [*step("noise"), *step("gamma")]
    alone = augment(batch(), steps[:1], 1, 1, range(4))
    torch.testing.assert_close(
        augment(batch(), steps, 1, 1, range(4)).images,
        AUGMENTATIONS["gamma"](alone, Draws(1, 1, range(4), 1)).images,
    )


def test_flip_mirrors_the_named_axis_and_swaps_sides():
    images = torch.rand(64, 1, 3, 4, 5)
    targets = torch.arange(128, dtype=torch.float32).view(64, 2)
    options = {"axes": ["i"], "swap_targets": [["left", "right"]]}
    before = Batch(images, targets, ("left", "right"))
    after = augment(before, [Plugin(name="flip", options=options)], 0, 0, range(64))
    mirrored = torch.tensor([torch.equal(a, b.flip(-1)) for a, b in zip(after.images, images, strict=True)])
    kept = torch.tensor([torch.equal(a, b) for a, b in zip(after.images, images, strict=True)])
    assert (mirrored ^ kept).all()
    assert 16 < mirrored.sum() < 48
    assert torch.equal(after.targets[mirrored], targets[mirrored].flip(1))
    assert torch.equal(after.targets[kept], targets[kept])


def test_sides_of_a_target_change_places_by_themselves():
    images = torch.rand(32, 1, 3, 4, 5)
    targets = torch.arange(96, dtype=torch.float32).view(32, 3)
    before = Batch(images, targets, ("m.R", "brca", "m.L"))
    after = augment(before, [Plugin(name="flip", options={"axes": ["i"], "probability": 1.0})], 0, 0, range(32))
    assert torch.equal(after.images, images.flip(4))
    assert torch.equal(after.targets, targets[:, [2, 1, 0]])
    others = augment(before, [Plugin(name="flip", options={"axes": ["j", "k"], "probability": 1.0})], 0, 0, range(32))
    assert torch.equal(others.targets, targets)
    along_j = {"axes": ["i", "j"], "probability": 1.0, "swap_axis": "j"}
    assert torch.equal(augment(before, [Plugin(name="flip", options=along_j)], 0, 0, range(32)).targets, after.targets)


def test_a_flip_along_another_axis_swaps_no_sides():
    targets = torch.tensor([[0.0, 1.0]] * 8)
    options = {"axes": ["j", "k"], "probability": 1.0, "swap_targets": [["left", "right"]]}
    before = Batch(torch.rand(8, 1, 3, 3, 3), targets, ("left", "right"))
    assert torch.equal(augment(before, [Plugin(name="flip", options=options)], 0, 0, range(8)).targets, targets)


def test_pad_and_crop_moves_by_whole_voxels_and_repeats_the_edge():
    images = torch.zeros(60, 1, 1, 1, 5)
    images[..., 2] = 1
    moved = augment(
        Batch(images, torch.zeros(60, 0)), [Plugin(name="pad_and_crop", options={"voxels": 1})], 1, 1, range(60)
    )
    assert {tuple(v.flatten().tolist()) for v in moved.images} == {(0, 1, 0, 0, 0), (0, 0, 1, 0, 0), (0, 0, 0, 1, 0)}


def random_places(seed: int):
    rng = np.random.default_rng(seed)
    matrix = np.eye(3, 4) + rng.normal(scale=[[0.1] * 3 + [2.0]] * 3)
    return matrix, rng.normal(size=(3, *SHAPE[2:])) * 2


@pytest.mark.parametrize("seed", range(5))
def test_warp_equals_scipy(seed):
    images = batch(seed).images[:1]
    matrix, moved = random_places(seed)
    index = np.indices(SHAPE[2:]).astype(float)
    places = np.einsum("ij,jdhw->idhw", matrix[:, :3], index) + matrix[:, 3, None, None, None] + moved
    places = [np.clip(p, 0, n - 1) for p, n in zip(places, SHAPE[2:], strict=True)]
    expected = [scipy.ndimage.map_coordinates(c.numpy().astype(float), places, order=1) for c in images[0]]
    found = warp(
        images, torch.tensor(matrix[None], dtype=torch.float32), torch.tensor(moved[None], dtype=torch.float32)
    )
    np.testing.assert_allclose(found[0].numpy(), expected, atol=2e-5)


def test_the_compiled_warp_and_torchs_agree(monkeypatch):
    import scan2gene.data.warp as module

    images = batch().images
    places = [random_places(n) for n in range(4)]
    matrix = torch.tensor(np.stack([p[0] for p in places]), dtype=torch.float32)
    moved = torch.tensor(np.stack([p[1] for p in places]), dtype=torch.float32)
    compiled = warp(images, matrix, moved)
    grid = module._warp_grid(images, matrix, moved)
    torch.testing.assert_close(compiled, grid, atol=2e-5, rtol=1e-4)


def test_affine_turns_rigidly_where_voxels_are_not_cubes():
    """A turned ellipsoid keeps its three widths in millimetres."""
    spacing = (1.0, 1.0, 1.6)  # wider voxels would blur by more than the tolerance
    size = (31, 45, 45)
    place = [(torch.arange(n) - (n - 1) / 2) * s for n, s in zip(size, spacing[::-1], strict=True)]
    z, y, x = torch.meshgrid(*place, indexing="ij")
    rod = torch.exp(-0.5 * ((x / 5) ** 2 + (y / 3) ** 2 + (z / 3.5) ** 2))[None, None]
    options = {"rotation_degrees": 40, "scale": 0.0}
    out = augment(Batch(rod, torch.zeros(1, 0), (), spacing), [Plugin(name="affine", options=options)], 3, 1, [0])
    weights = (out.images[0, 0] / out.images.sum()).numpy()
    points = np.stack([x.numpy(), y.numpy(), z.numpy()]).reshape(3, -1)
    axes = np.sqrt(np.linalg.eigvalsh(np.cov(points, aweights=weights.ravel(), bias=True)))
    before = np.sqrt(np.linalg.eigvalsh(np.cov(points, aweights=(rod / rod.sum()).numpy().ravel(), bias=True)))
    assert not torch.allclose(out.images, rod, atol=0.05)
    np.testing.assert_allclose(axes, before, rtol=0.05)


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("name", ["affine", "elastic"])
def test_slices_of_a_field_too_thin_to_be_true_stay_in_it(axis, name):
    """24 slices whose file says 1 mm and which are 5 mm apart: 10 degrees at 1 mm would move most out of the field."""
    shape, spacing = [96, 96, 96], [2.5, 2.5, 2.5]
    shape[axis], spacing[axis] = 24, 1.0
    along = torch.arange(24.0).view([24 if a == 2 - axis else 1 for a in range(3)]).expand(shape[::-1])
    sample = Batch(along[None, None].contiguous(), torch.zeros(1, 0), (), tuple(spacing))
    options = {"affine": {"rotation_degrees": 10, "scale": 0.0}, "elastic": {"amplitude_mm": 4}}[name]
    moved = torch.zeros(())
    for epoch in range(1, 9):
        out = augment(sample, [Plugin(name=name, options=options)], 0, epoch, [0]).images
        moved = torch.maximum(moved, (out - sample.images).abs().max())
    assert 0.2 < moved < 24 / 4  # slices at the very corner


@pytest.mark.parametrize("name", ["noise", "rician_noise"])
def test_noise_has_the_stated_size(name):
    images = torch.full((200, 1, 8, 16, 16), 0.75)
    images[:, :, 0], images[:, :, 1] = 0.0, 1.0  # grey range 1
    options = {"std": 0.1}
    out = augment(Batch(images, torch.zeros(200, 0)), [Plugin(name=name, options=options)], 1, 1, range(200)).images
    spread = (out - images)[:, :, 2:].flatten(1).std(dim=1)
    assert spread.max() < 0.105
    np.testing.assert_allclose(spread.mean(), 0.05, atol=0.006)  # uniform from 0 to 0.1
    if name == "rician_noise":
        assert (out[:, :, 0] >= 0).all()


def test_noise_of_two_channels_exams_and_epochs_is_uncorrelated():
    fields = (
        torch.cat([torch.stack(Draws(1, e, range(4), 0).fields((2, 8, 32, 32))) for e in range(5)])
        .flatten(0, 1)
        .flatten(1)
    )
    correlation = torch.corrcoef(fields) - torch.eye(len(fields))
    assert correlation.abs().max() < 5 / np.sqrt(fields.shape[1])


def test_a_field_larger_than_the_bank_is_filled():
    (field,) = Draws(1, 1, [0], 0).fields((3, 128, 128, 128))
    assert field.shape == (3, 128, 128, 128)
    assert abs(float(field.std()) - 1) < 0.01


def test_blur_and_low_resolution_keep_the_mean_and_lose_detail():
    for name, options in (("blur", {"sigma_mm": 6}), ("low_resolution", {"factor": 4, "axes": ["i", "j", "k"]})):
        noise = torch.randn(8, 1, 24, 24, 24)
        out = augment(Batch(noise, torch.zeros(8, 0)), [Plugin(name=name, options=options)], 1, 1, range(8)).images
        assert (out.flatten(1).std(dim=1) <= noise.flatten(1).std(dim=1)).all()
        assert out.std() < 0.8 * noise.std()
        torch.testing.assert_close(out.mean(), noise.mean(), atol=0.02, rtol=0)


def test_gamma_keeps_the_ends_and_the_order():
    images = torch.linspace(-1, 1, 216).view(1, 1, 6, 6, 6)
    out = augment(Batch(images, torch.zeros(1, 0)), step("gamma"), 1, 1, [3]).images.flatten()
    assert torch.isclose(out[0], torch.tensor(-1.0))
    assert torch.isclose(out[-1], torch.tensor(1.0))
    assert (out.diff() >= 0).all()
    assert not torch.allclose(out, images.flatten(), atol=0.01)


def test_ghosts_lie_where_they_should():
    images = torch.zeros(1, 1, 1, 40, 1)
    images[0, 0, 0, 10, 0] = 1
    options = {"strength": 0.5, "ghosts": 4}
    out = augment(
        Batch(images, torch.zeros(1, 0)), [Plugin(name="ghosting", options=options)], 1, 1, [0]
    ).images.flatten()
    ghosts = out.abs().clone()
    ghosts[10] = 0
    top = set(ghosts.topk(3).indices.tolist())
    assert top == {0, 20, 30}  # a quarter of the field apart


def test_unknown_names_and_options_are_refused_with_the_valid_ones():
    for steps, words in (
        ([Plugin(name="flp")], "Did you mean 'flip'"),
        ([Plugin(name="flip", options={"axs": []})], "Did you mean 'axes'"),
        ([Plugin(name="flip", options={"swap_targets": [["left", "gene"]]})], "'left' is not known"),
    ):
        with pytest.raises(StudyError, match=words):
            check_augmentation(steps, ["gene"])
    check_augmentation([Plugin(name=n) for n in AUGMENTATIONS], ["gene"])


def test_network_input_is_centred_and_absent_roles_are_zero():
    images = torch.tensor([0, 255], dtype=torch.uint8).reshape(1, 2, 1, 1, 1)
    assert to_input(images, torch.tensor([[1.0, 1.0]])).flatten().tolist() == [-1.0, 1.0]
    assert to_input(images, torch.tensor([[0.0, 1.0]])).flatten().tolist() == [0.0, 1.0]
