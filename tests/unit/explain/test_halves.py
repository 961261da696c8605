"""Maps of networks that see the sides apart: in the right half, and mirrored with the exam."""

from __future__ import annotations

import pytest
import torch

from scan2gene.core.section import Plugin
from scan2gene.explain import METHODS
from scan2gene.explain.asked import Asked
from scan2gene.explain.halves import region, sided_map
from scan2gene.models import MODELS
from scan2gene.models.sides import TwoSides

OUTPUTS = [("lesion", "L"), ("lesion", "R"), ("whole", "")]


def _model(axis="i", grows_to="L"):
    torch.manual_seed(0)
    return TwoSides(MODELS["light_cnn"](1, 2, dropout=0.0), OUTPUTS, axis, grows_to).eval()


def _map(model, x, target, method="integrated_gradients", **options):
    background = torch.rand(3, *x.shape[1:], generator=torch.Generator().manual_seed(2))
    asked = Asked(model, x, torch.ones(1, 1), target, torch.ones(1), (5,), background)
    return sided_map(asked, Plugin(name=method, options=options))


@pytest.mark.parametrize("method", sorted(METHODS))
@pytest.mark.parametrize("size", [24, 25])
def test_a_mirrored_exam_has_the_mirrored_map_of_the_other_side(method, size):
    model = _model()
    x = torch.rand(1, 1, 8, 10, size, generator=torch.Generator().manual_seed(1))
    others = torch.rand(3, 1, 8, 10, size, generator=torch.Generator().manual_seed(2))
    asked = Asked(model, x, torch.ones(1, 1), 0, torch.ones(1), (5,), others)
    left = sided_map(asked, Plugin(name=method))
    other = Asked(model, x.flip(4), torch.ones(1, 1), 1, torch.ones(1), (5,), others.flip(4))
    right = sided_map(other, Plugin(name=method))
    torch.testing.assert_close(right.flip(3), left)
    assert not left[..., : size // 2].any()  # i grows to the left, so the right side lies low
    assert left.any()


@pytest.mark.parametrize(("axis", "grows_to"), [("i", "L"), ("i", "R"), ("j", "R"), ("k", "L")])
def test_the_map_of_a_side_is_zero_where_a_change_moves_no_answer(axis, grows_to):
    model = _model(axis, grows_to)
    x = torch.rand(1, 1, 12, 12, 12, generator=torch.Generator().manual_seed(3))
    for target in (0, 1):
        seen = region(model, (12, 12, 12), target)
        assert seen.float().mean() == 0.5
        assert not _map(model, x, target)[0][~seen].any()
        outside = x + (~seen) * torch.rand(12, 12, 12)
        with torch.no_grad():
            answers = [model(v, torch.ones(1, 1))[0, target] for v in (x, outside)]
        torch.testing.assert_close(*answers)
    assert region(model, (12, 12, 12), 2).all()


def test_shares_of_the_whole_patient_add_up_over_both_halves():
    model = _model()
    x = torch.rand(1, 1, 8, 10, 24, generator=torch.Generator().manual_seed(4))
    whole = _map(model, x, 2, "smooth_grad")
    halves = [_map(model, part, 2, "smooth_grad") for part in (x, x)]
    torch.testing.assert_close(whole, halves[0])
    assert whole[..., :12].any()
    assert whole[..., 12:].any()


def test_a_layer_is_named_with_or_without_the_network_that_holds_it():
    model = _model()
    x = torch.rand(1, 1, 8, 10, 24, generator=torch.Generator().manual_seed(4))
    one, two = (_map(model, x, 0, "hires_cam", layer=name) for name in ("network.blocks.1", "blocks.1"))
    torch.testing.assert_close(one, two)
