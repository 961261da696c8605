"""The mLSTM cell against its recurrence, written out step by step; the blocks of ViL against the paper's flips."""

from __future__ import annotations

import math

import pytest
import torch

from scan2gene.core.errors import StudyError
from scan2gene.models import MODELS
from scan2gene.models.mlstm import EPSILON, mlstm
from scan2gene.models.vil import Gates, Grouped, Mixer


def _recurrent(q, k, v, input_gate, forget_gate, epsilon=EPSILON):
    """Equations 19 to 27 of the xLSTM paper with its stabiliser, one step after the other."""
    batch, heads, steps, width = q.shape
    memory = q.new_zeros(batch, heads, width, width)
    normaliser = q.new_zeros(batch, heads, width)
    top = q.new_full((batch, heads), -math.inf)
    out = []
    for t in range(steps):
        forget = torch.nn.functional.logsigmoid(forget_gate[..., t])
        before, top = top, torch.maximum(forget + top, input_gate[..., t])
        keep, write = torch.exp(forget + before - top), torch.exp(input_gate[..., t] - top)
        key = k[..., t, :] / math.sqrt(width)
        memory = keep[..., None, None] * memory + write[..., None, None] * v[..., t, :, None] * key[..., None, :]
        normaliser = keep[..., None] * normaliser + write[..., None] * key
        read = torch.einsum("bhij,bhj->bhi", memory, q[..., t, :])
        total = (normaliser * q[..., t, :]).sum(-1).abs()
        out.append(read / (torch.maximum(total, torch.exp(-top)) + epsilon)[..., None])
    return torch.stack(out, dim=2)


def _inputs(steps=37, scale=1.0, seed=0, dtype=torch.float64):
    torch.manual_seed(seed)
    q, k, v = (torch.randn(2, 3, steps, 5, dtype=dtype) for _ in range(3))
    input_gate, forget_gate = (scale * torch.randn(2, 3, steps, dtype=dtype) for _ in range(2))
    return [t.requires_grad_() for t in (q, k, v, input_gate, forget_gate + 2)]


def _leaves(inputs):
    return [t.detach().clone().requires_grad_() for t in inputs]


@pytest.mark.parametrize("scale", [0.1, 1.0, 12.0])
@pytest.mark.parametrize("backwards", [False, True])
@pytest.mark.parametrize("epsilon", [EPSILON, 0.0])
def test_all_steps_at_once_equal_one_after_the_other(scale, backwards, epsilon, monkeypatch):
    monkeypatch.setattr("scan2gene.models.mlstm.EPSILON", epsilon)
    ours = _leaves(_inputs(scale=scale))
    theirs = _leaves(ours)
    turned = [t.flip(2) for t in theirs] if backwards else theirs
    wanted = _recurrent(*turned, epsilon)
    wanted = wanted.flip(2) if backwards else wanted
    found = mlstm(*ours, backwards)
    torch.testing.assert_close(found, wanted, rtol=1e-9, atol=1e-11)
    weight = torch.randn_like(found)
    (found * weight).sum().backward()
    (wanted * weight).sum().backward()
    for name, a, b in zip(["q", "k", "v", "input", "forget"], ours, theirs, strict=True):
        largest = float(b.grad.abs().max())
        assert largest > 0, name
        # With the constant beside the normaliser the stabiliser has a gradient of that size; it is left out.
        allowed = 1e-9 if epsilon == 0 else 1e-2 if scale > 1 else 1e-5
        assert float((a.grad - b.grad).abs().max()) < allowed * largest, name


def test_a_step_sees_what_was_read_before_and_nothing_else():
    inputs = _inputs(steps=9)
    for backwards, unseen in ((False, slice(6, 9)), (True, slice(0, 6))):
        before = mlstm(*inputs, backwards)[:, :, 5 if not backwards else 6]
        changed = [t.detach().clone() for t in inputs]
        for t in changed:
            t[:, :, unseen] += 1
        torch.testing.assert_close(mlstm(*changed, backwards)[:, :, 5 if not backwards else 6], before)


@pytest.mark.parametrize("gate", [-200.0, 200.0])
def test_extreme_gates_stay_finite(gate):
    inputs = _leaves(_inputs(dtype=torch.float32))
    with torch.no_grad():
        inputs[3][..., ::3] = gate
        inputs[4][..., ::4] = -gate
    found = mlstm(*inputs)
    found.square().sum().backward()
    assert found.isfinite().all()
    assert all(t.grad.isfinite().all() for t in inputs)


def test_half_precision_stays_near():
    inputs = _inputs(steps=60)
    wanted = mlstm(*inputs)
    found = mlstm(*(t.detach().to(torch.bfloat16) for t in inputs))
    assert found.dtype == torch.bfloat16
    assert float((found - wanted).detach().abs().mean()) < 0.03 * float(wanted.detach().abs().mean())


def test_mixed_precision_trains_as_well():
    torch.manual_seed(0)
    model = MODELS["vil"](1, 1, image=(64, 64), width=32, depth=4)
    x = torch.randn(2, 1, 64, 64)
    model(x).sum().backward()
    wanted = {n: p.grad.clone() for n, p in model.named_parameters()}
    model.zero_grad()
    with torch.autocast("cpu", torch.bfloat16):
        loss = model(x).float().sum()
    loss.backward()
    for name, parameter in model.named_parameters():
        allowed = 0.1 * wanted[name].norm() + 0.05
        assert (parameter.grad - wanted[name]).norm() < allowed, name


def test_groups_mix_four_neighbours_only():
    layer = Grouped(32).double()
    torch.nn.init.normal_(layer.bias)
    x = torch.randn(2, 5, 32, dtype=torch.float64)
    dense = torch.block_diag(*layer.weight)  # (32 out, 32 in)
    torch.testing.assert_close(layer(x), x @ dense.T + layer.bias)


def test_gates_are_one_layer_over_all_three():
    layer = Gates(16)
    assert layer.bias[4:].tolist() == pytest.approx([3, 4, 5, 6])
    assert not layer.weight.any()
    torch.nn.init.normal_(layer.weight)
    q, k, v = torch.randn(3, 2, 7, 16)
    wanted = torch.nn.functional.linear(torch.cat([q, k, v], dim=2), layer.weight, layer.bias)
    torch.testing.assert_close(layer(q, k, v), wanted, rtol=1e-4, atol=1e-5)


def test_reading_back_is_reading_the_turned_image():
    """The paper turns the tokens round for every other block; here nothing is copied, but the kernel lies turned."""
    torch.manual_seed(1)
    on, back = Mixer(16, 4, backwards=False).double(), Mixer(16, 4, backwards=True).double()
    for parameter in on.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    back.load_state_dict(on.state_dict())
    with torch.no_grad():
        back.conv.weight.copy_(on.conv.weight.flip(2, 3))
    x = torch.randn(2, 5 * 7, 16, dtype=torch.float64)
    torch.testing.assert_close(back(x, (5, 7)), on(x.flip(1), (5, 7)).flip(1))


def test_no_gradient_is_lost_in_what_is_computed_again():
    """Numerically, through a whole network."""
    torch.manual_seed(0)
    model = MODELS["vil"](1, 1, image=(32, 32), width=8, depth=2).double()
    x = torch.randn(1, 1, 32, 32, dtype=torch.float64, requires_grad=True)
    model(x).sum().backward()
    way = torch.randn_like(x)
    with torch.no_grad():
        slope = (model(x + 1e-5 * way) - model(x - 1e-5 * way)).sum() / 2e-5
    assert float((x.grad * way).sum()) == pytest.approx(float(slope), rel=1e-4)


def test_positions_are_interpolated_and_both_ends_read():
    model = MODELS["vil"](1, 1, image=(64, 64), width=16, depth=2).eval()
    with torch.no_grad():
        features = model.forward_features(torch.randn(1, 1, 50, 96))
    assert features.shape == (1, 16, 4, 6)
    assert torch.equal(model.pool(features)[0], torch.cat([features[0, :, 0, 0], features[0, :, 3, 5]]))


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"size": "tny"}, "Did you mean 'tiny'"),
        ({"image": (224, 220)}, "multiples of patch 16"),
        ({"width": 12}, "multiple of 8"),
        ({"depth": 1}, "at least 2"),
    ],
)
def test_sizes_that_cannot_be_are_explained(options, said):
    with pytest.raises(StudyError, match=said):
        MODELS["vil"](1, 1, **options)
