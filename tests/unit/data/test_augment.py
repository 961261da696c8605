"""Augmentation is reproducible and does not depend on the batch."""

from __future__ import annotations

import torch

from scan2gene.data.augment import flip, sample_generators, shift
from scan2gene.data.cohort import to_input

BATCH = torch.arange(4 * 2 * 3 * 4 * 5, dtype=torch.float32).reshape(4, 2, 3, 4, 5)


def _both(batch: torch.Tensor, samples: list[int], epoch: int = 1) -> torch.Tensor:
    generators = sample_generators(7, epoch, samples)
    return shift(flip(batch, ["i", "j", "k"], generators), 1, generators)


def test_a_batch_of_four_equals_four_batches_of_one():
    together = _both(BATCH, [0, 1, 2, 3])
    apart = torch.cat([_both(BATCH[n : n + 1], [n]) for n in range(4)])
    assert torch.equal(together, apart)


def test_epochs_and_samples_differ_and_repeat():
    assert torch.equal(_both(BATCH, [0, 1, 2, 3]), _both(BATCH, [0, 1, 2, 3]))
    same = BATCH[:1].expand(40, -1, -1, -1, -1)
    assert len({tuple(v.flatten().tolist()) for v in _both(same, list(range(40)))}) > 10
    assert any(not torch.equal(_both(BATCH, [0, 1, 2, 3]), _both(BATCH, [0, 1, 2, 3], epoch=e)) for e in (2, 3))


def test_flip_mirrors_the_named_axis_only():
    generators = sample_generators(0, 0, range(64))
    out = flip(BATCH[:1].expand(64, -1, -1, -1, -1), ["i"], generators)
    mirrored = [torch.equal(v, BATCH[0].flip(-1)) for v in out]  # i is the last axis of (B, C, D, H, W)
    kept = [torch.equal(v, BATCH[0]) for v in out]
    assert all(m or k for m, k in zip(mirrored, kept, strict=True))
    assert 16 < sum(mirrored) < 48


def test_shift_moves_by_whole_voxels_and_repeats_the_edge():
    volume = torch.zeros(1, 1, 1, 1, 5)
    volume[..., 2] = 1
    seen = {tuple(shift(volume, 1, sample_generators(1, 1, [n])).flatten().tolist()) for n in range(60)}
    assert seen == {(0, 1, 0, 0, 0), (0, 0, 1, 0, 0), (0, 0, 0, 1, 0)}


def test_network_input_is_centred_and_absent_roles_are_zero():
    images = torch.tensor([0, 255], dtype=torch.uint8).reshape(1, 2, 1, 1, 1)
    assert to_input(images, torch.tensor([[1.0, 1.0]])).flatten().tolist() == [-1.0, 1.0]
    assert to_input(images, torch.tensor([[0.0, 1.0]])).flatten().tolist() == [0.0, 1.0]
