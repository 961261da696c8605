"""One test list over every network, of volumes and of slices; the residual networks against MONAI's."""

from __future__ import annotations

import pytest
import torch
from monai.networks.nets import resnet10, resnet18, resnet34, resnet50

from scan2gene.models import MODELS
from scan2gene.models.head import RoleAwareHead
from scan2gene.models.memory_format import channels_last
from scan2gene.models.sides import TwoSides

SHAPE = (16, 24, 32)  # D, H, W all different, so that a transposed axis shows
SLICE = (64, 80)  # H, W of networks of slices
SMALL = {
    "vit3d": {"size": (8, 16, 16), "patch": (4, 8, 8), "width": 48, "depth": 3, "heads": 3},
    "swin3d": {"size": "micro", "window": (4, 3, 3)},
    "alexnet2d": {"hidden": 16, "dropout": 0.0},
    "vision_lstm": {"width": 32, "hidden": 16, "depth": 2},
    "vil": {"image": (64, 64), "width": 32, "depth": 4},
    "vit2d": {"image": (64, 64), "width": 48, "depth": 3, "heads": 3},
}
OF_SLICES = {"light_cnn2d", "alexnet2d", "se_resnet50", "convnextv2", "convnextv2_plain", "vision_lstm", "vil", "vit2d"}


@pytest.fixture(params=sorted(MODELS))
def name(request):
    return request.param


def _network(name: str, roles: int = 2, outputs: int = 3) -> torch.nn.Module:
    torch.manual_seed(0)
    return MODELS[name](roles, outputs, **SMALL.get(name, {}))


def _space(model: torch.nn.Module) -> tuple[int, ...]:
    return SLICE if model.spatial_dims == 2 else SHAPE


def test_logits_features_and_head_fit_together(name):
    model = _network(name).eval()
    assert model.spatial_dims == (2 if name in OF_SLICES else 3)
    x = torch.randn(2, 2, *_space(model))
    logits = model(x)
    assert logits.shape == (2, 3)
    torch.testing.assert_close(model.forward_head(model.forward_features(x)), logits)
    assert sum(isinstance(m, RoleAwareHead) for m in model.modules()) == 1  # whose input are the embeddings
    seen = []
    model.get_submodule(model.cam_layer).register_forward_hook(lambda _, __, out: seen.append(out.shape))
    model(x)
    assert [len(shape) for shape in seen] == [x.ndim]  # a map (B, F, d, h, w) or (B, F, h, w)
    assert model.pool(model.forward_features(x)).shape == (2, model.head.linear.in_features - 2)


def test_gradients_reach_every_weight(name):
    model = _network(name)
    model(torch.randn(3, 2, *_space(model)), torch.tensor([[1.0, 1], [1, 0], [0, 1]])).square().sum().backward()
    for parameter in model.parameters():
        assert parameter.grad is not None
        assert torch.isfinite(parameter.grad).all()


def test_a_batch_of_two_equals_two_batches_of_one(name):
    model = _network(name).eval()
    x = torch.randn(2, 2, *_space(model))
    apart = torch.cat([model(x[:1]), model(x[1:])])
    torch.testing.assert_close(model(x), apart, rtol=1e-4, atol=1e-5)


def test_an_absent_role_is_not_a_dark_one(name):
    model = _network(name).eval()
    x = torch.zeros(1, 2, *_space(model))
    assert not torch.equal(model(x, torch.tensor([[1.0, 0.0]])), model(x, torch.tensor([[1.0, 1.0]])))
    torch.testing.assert_close(model(x), model(x, torch.ones(1, 2)))


def test_learns_four_cases_by_heart(name):
    model = _network(name, roles=1, outputs=1)
    x = torch.randn(4, 1, *_space(model))
    y = torch.tensor([[0.0], [1], [0], [1]])
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    for _ in range(60):
        loss = torch.nn.functional.binary_cross_entropy_with_logits(model(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if loss < 0.1:
            break
    assert loss < 0.1


def test_weights_can_lie_with_channels_last(name):
    """As they do on a GPU."""
    model = _network(name).eval()
    x = torch.randn(2, 2, *_space(model))
    before = model(x)
    channels_last(model)
    for module in model.modules():
        if isinstance(module, torch.nn.Conv2d | torch.nn.Conv3d):
            flat = isinstance(module, torch.nn.Conv2d)
            order = torch.channels_last if flat else torch.channels_last_3d
            assert module.weight.is_contiguous(memory_format=order)
    torch.testing.assert_close(model(x), before, rtol=1e-3, atol=1e-4)


def test_weights_survive_saving(name, tmp_path):
    model = _network(name).eval()
    torch.save(model.state_dict(), tmp_path / "w.pt")
    other = _network(name).eval()
    for parameter in other.parameters():
        torch.nn.init.normal_(parameter)
    other.load_state_dict(torch.load(tmp_path / "w.pt", weights_only=True))
    x = torch.randn(1, 2, *_space(model))
    assert torch.equal(model(x), other(x))


@pytest.mark.parametrize("sides", [False, True])
def test_a_head_normalises_what_all_exams_have_in_common(sides):
    """Features far from zero with little between exams reach the linear layer with mean 0 and deviation 1."""
    head = RoleAwareHead(4, 1, 2, norm="batch")
    torch.manual_seed(1)
    features = 50 + 0.1 * torch.randn(200, 4)
    seen = []
    head.dropout.register_forward_hook(lambda _, __, out: seen.append(out.detach()))
    head(features)  # a single batch is enough
    head.eval()
    head(features)
    for out in (seen[0], seen[-1]):
        torch.testing.assert_close(out.mean(dim=0), torch.zeros(4), atol=1e-2, rtol=0)
        torch.testing.assert_close(out.std(dim=0), torch.ones(4), atol=2e-2, rtol=0)
    model = _two_sides() if sides else MODELS["light_cnn"](2, 1)
    model.train()
    assert model(torch.randn(1, 2, 16, 16, 16)).isfinite().all()  # one exam, in training


def test_light_cnn_has_under_half_a_million_parameters():
    assert sum(p.numel() for p in MODELS["light_cnn"](3, 4).parameters()) < 500_000


@pytest.mark.parametrize(
    ("name", "monai"), [("resnet10", resnet10), ("resnet18", resnet18), ("resnet34", resnet34), ("resnet50", resnet50)]
)
def test_residual_features_equal_monai_with_the_same_weights(name, monai):
    ours = _network(name).eval()
    theirs = monai(
        spatial_dims=3, n_input_channels=2, num_classes=3, conv1_t_stride=2, feed_forward=False, bias_downsample=False
    ).eval()
    weights = {k: v for k, v in ours.state_dict().items() if not k.startswith("head.")}
    theirs.load_state_dict(weights)
    x = torch.randn(1, 2, 32, 40, 48)
    torch.testing.assert_close(ours.forward_features(x).mean(dim=(2, 3, 4)), theirs(x), rtol=0, atol=1e-6)


SIDED = [("m", "L"), ("m", "R"), ("brca", ""), ("t", "L"), ("t", "R")]


def _two_sides(name: str = "light_cnn", axis: str = "i", grows_to: str = "L") -> TwoSides:
    return TwoSides(_network(name), SIDED, axis, grows_to).eval()


@pytest.mark.parametrize("name", ["light_cnn", "resnet10"])
@pytest.mark.parametrize(("axis", "dim"), [("i", 4), ("j", 3), ("k", 2)])
@pytest.mark.parametrize("grows_to", ["L", "R"])
def test_a_mirrored_exam_gets_the_same_answers_with_sides_exchanged(name, axis, dim, grows_to):
    model = _two_sides(name, axis, grows_to)
    shape = [17 if n == dim else 16 for n in (2, 3, 4)]  # an odd middle
    x, present = torch.randn(2, 2, *shape), torch.tensor([[1.0, 0], [1, 1]])
    with torch.no_grad():
        logits, mirrored = model(x, present), model(x.flip(dim), present)
    torch.testing.assert_close(mirrored, logits[:, [1, 0, 2, 4, 3]], rtol=1e-4, atol=1e-5)
    assert (logits[:, 0] - logits[:, 1]).abs().min() > 1e-4


@pytest.mark.parametrize(("grows_to", "moved"), [("L", "R"), ("R", "L")])
def test_what_lies_on_a_side_moves_the_answer_of_that_side(grows_to, moved):
    model = _two_sides(grows_to=grows_to)
    empty, lesion = torch.zeros(1, 2, 16, 16, 48), torch.zeros(1, 2, 16, 16, 48)
    lesion[..., 8:12] = 3  # low along i: the side away from which the axis grows
    with torch.no_grad():
        change = (model(lesion) - model(empty))[0].abs()
    for number, (_, side) in enumerate(SIDED):
        assert (change[number] > 1e-4) == (side in (moved, ""))


def test_a_network_of_two_sides_keeps_the_contract():
    model = _two_sides()
    x, present = torch.randn(2, 2, *SHAPE), torch.tensor([[1.0, 0], [1, 1]])
    torch.testing.assert_close(model.forward_head(model.forward_features(x), present), model(x, present))
    assert isinstance(model.get_submodule(model.cam_layer), torch.nn.Module)
    assert model.spatial_dims == 3
    whole = model.forward_features(x)
    assert whole.shape[-1] == 2 * MODELS["light_cnn"](2, 1).forward_features(x[..., :16]).shape[-1]


@pytest.mark.parametrize("axis", ["i", "j"])
def test_sides_of_a_slice_are_told_apart(axis):
    model = _two_sides("convnextv2_plain", axis)
    x = torch.randn(2, 2, 32, 41) if axis == "i" else torch.randn(2, 2, 41, 32)
    with torch.no_grad():
        logits, mirrored = model(x), model(x.flip(3 if axis == "i" else 2))
    torch.testing.assert_close(mirrored, logits[:, [1, 0, 2, 4, 3]], rtol=1e-4, atol=1e-5)
    assert (logits[:, 0] - logits[:, 1]).abs().min() > 1e-4
