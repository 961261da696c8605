"""Every method against captum's, MONAI's or a network whose answer is known."""

from __future__ import annotations

import captum.attr
import pytest
import torch
from monai.visualize import GradCAMpp
from networks import Linear, ask, small
from torch import nn

from scan2gene.core.errors import StudyError
from scan2gene.core.section import Plugin, check_plugin
from scan2gene.explain import METHODS
from scan2gene.explain.features import activations, enlarge
from scan2gene.explain.gradient_shap import expected_gradients
from scan2gene.explain.integrated_gradients import path_attributions
from scan2gene.explain.occlusion import falls
from scan2gene.models import MODELS

QUICK = {"smooth_grad": {"samples": 2}, "integrated_gradients": {"steps": 3}, "gradient_shap": {"samples": 2}}


@pytest.fixture(params=(2, 3))
def axes(request):
    return request.param


@pytest.fixture(params=(1.0, -1.0))
def sign(request):
    return request.param


def _captum(model, sign):
    return lambda x: sign * model(x)


def test_grad_cam_equals_captum(axes, sign):
    model, x = small(axes)
    asked = ask(model, x, 1, sign)
    theirs = captum.attr.LayerGradCam(_captum(model, sign), model.body).attribute(x, 1, relu_attributions=True)
    _, _, grid = activations(asked, None)
    expected = enlarge(theirs[:, 0], grid, tuple(x.shape[2:]))
    torch.testing.assert_close(METHODS["grad_cam"](asked), expected)
    assert expected.amax() > 0


def test_hires_cam_equals_captum_and_is_grad_cam_below_a_global_mean(axes, sign):
    model, x = small(axes)
    asked = ask(model, x, 1, sign)
    theirs = captum.attr.LayerGradientXActivation(_captum(model, sign), model.body).attribute(x, 1)
    _, _, grid = activations(asked, None)
    expected = enlarge(theirs.sum(1).clamp_min(0), grid, tuple(x.shape[2:]))
    found = METHODS["hires_cam"](asked)
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(found, METHODS["grad_cam"](asked))  # one gradient for the whole field
    assert expected.amax() > 0


def test_grad_cam_pp_equals_monai_up_to_scale(axes):
    """MONAI adds 1e-7 to the denominator and multiplies by exp(logit): weights are scaled up, maps to their maximum."""
    model, x = small(axes)
    with torch.no_grad():
        model.head.weight *= 300
    asked = ask(model, x, 1)
    _, _, grid = activations(asked, None)
    cam = GradCAMpp(model, ["body"])
    for one in range(len(x)):
        theirs = enlarge(cam.compute_map(x[one : one + 1], class_idx=1)[:, 0].detach(), grid, tuple(x.shape[2:]))[0]
        ours = METHODS["grad_cam_pp"](asked)[one]
        torch.testing.assert_close(ours / ours.amax(), theirs / theirs.amax(), rtol=1e-4, atol=1e-5)


def test_grad_cam_pp_follows_the_papers_formula_where_gradients_differ(axes):
    """alpha = g^2 / (2 g^2 + sum(A) g^3), written out, with a gradient that is not the same in every place."""
    model, x = small(axes)
    model.forward = lambda x, present=None: model.head(model.body(model.first(x)).flatten(2).pow(2).amax(2))
    asked = ask(model, x, 1)
    found, gradient, grid = activations(asked, None)
    total = found.flatten(2).sum(2).reshape(*found.shape[:2], *[1] * axes)
    bottom = 2 * gradient**2 + total * gradient**3
    alpha = torch.where(gradient != 0, gradient**2 / torch.where(bottom != 0, bottom, torch.ones(())), 0)
    weights = (alpha * gradient.clamp_min(0)).flatten(2).sum(2).reshape(total.shape)
    expected = enlarge((weights * found).sum(1).clamp_min(0), grid, tuple(x.shape[2:]))
    torch.testing.assert_close(METHODS["grad_cam_pp"](asked), expected)
    assert expected.amax() > 0


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_grad_cam_pp_of_a_layer_without_relu_finds_the_place(sign):
    """A transformer's activations may all be negative; the weights, which are not, would leave nothing of the map."""
    model, x = small(3)
    model.body = torch.nn.Sequential(model.body[0])
    with torch.no_grad():
        model.body[0].bias.fill_(-100)
        model.body[0].weight.zero_()
        model.body[0].weight[:, :, 1, 1, 1] = torch.eye(6, 4, dtype=torch.float64)
        model.head.weight.fill_(sign)
        x[:] = 0
    model.first = torch.nn.Conv3d(2, 4, 1, bias=False).double()
    with torch.no_grad():
        model.first.weight.fill_(1.0)
        x[:, :, 4, 6, 10] = 1
    found = METHODS["grad_cam_pp"](ask(model, x, 1, sign))
    assert (found.flatten(1).argmax(1) == found[0].flatten().argmax()).all() and found.amax() > 0
    assert found[0, 4, 6, 10] == found[0].amax() and (found[0] > 0).sum() == 1


def test_integrated_gradients_equal_captum_and_are_complete(axes, sign):
    model, x = small(axes)
    asked = ask(model, x, 1, sign)
    start = asked.reference("minimum")
    ours = path_attributions(asked, 50, start)
    theirs = captum.attr.IntegratedGradients(_captum(model, sign)).attribute(
        x, start, 1, n_steps=50, method="gausslegendre"
    )
    torch.testing.assert_close(ours, theirs)
    difference = asked.score(x) - asked.score(start)
    torch.testing.assert_close(ours.flatten(1).sum(1), difference, rtol=0.03, atol=1e-4)  # ReLU has corners
    assert difference.abs().min() > 0.01


def test_occlusion_equals_captum(axes, sign):
    model, x = small(axes)
    asked = ask(model, x, 1, sign)
    theirs = captum.attr.Occlusion(_captum(model, sign)).attribute(
        x, (x.shape[1], *[5] * axes), (x.shape[1], *[2] * axes), asked.reference("mean"), 1
    )
    torch.testing.assert_close(falls(asked, 5, 2, "mean").float(), theirs[:, 0])  # captum's are float32


def test_gradient_shap_agrees_with_captum_on_many_draws():
    model, x = small(2)
    background = torch.randn(3, *x.shape[1:], dtype=torch.float64)
    asked = ask(model, x[:1], 1, background=background)
    ours = expected_gradients(asked, 600)
    torch.manual_seed(0)
    theirs = captum.attr.GradientShap(model).attribute(x[:1], background, n_samples=600, stdevs=0.0, target=1)
    assert torch.corrcoef(torch.stack([ours.flatten(), theirs.flatten()]))[0, 1] > 0.98
    expected = model(x[:1])[0, 1] - model(background)[:, 1].mean()
    torch.testing.assert_close(ours.sum(), expected, rtol=0.1, atol=0.01)


def test_without_noise_smooth_grad_is_captums_saliency(axes, sign):
    model, x = small(axes)
    ours = METHODS["smooth_grad"](ask(model, x, 1, sign), samples=2, noise=0.0)
    theirs = captum.attr.Saliency(_captum(model, sign)).attribute(x, 1, abs=True)
    torch.testing.assert_close(ours, theirs.sum(1))


def test_a_linear_network_has_known_maps(axes, sign):
    torch.manual_seed(3)
    shape = (2, *(4, 6, 5)[:axes])
    model, x = Linear(shape), torch.randn(2, *shape, dtype=torch.float64)
    asked = ask(model, x, 0, sign, background=torch.zeros(1, *shape, dtype=torch.float64))
    w, lowest = sign * model.weight.detach(), x.flatten(2).amin(2).reshape(2, 2, *[1] * axes)
    found = {n: METHODS[n](asked, **QUICK.get(n, {})) for n in METHODS if "cam" not in n}
    torch.testing.assert_close(found["smooth_grad"], w.abs().sum(1).expand(2, *shape[1:]))
    torch.testing.assert_close(found["integrated_gradients"], (w * (x - lowest)).sum(1).clamp_min(0))
    torch.testing.assert_close(found["gradient_shap"], (w * x).sum(1).clamp_min(0))
    one = METHODS["occlusion"](asked, window=1, stride=1, reference="zero")
    torch.testing.assert_close(one, (w * x).sum(1).clamp_min(0))


@pytest.mark.parametrize("method", METHODS)
def test_the_two_classes_of_one_logit_have_different_maps_that_no_large_logit_spoils(method, axes):
    model, x = small(axes, outputs=1)
    background = torch.zeros(1, *x.shape[1:], dtype=x.dtype)
    plain = METHODS[method](ask(model, x, background=background), **QUICK.get(method, {}))
    other = METHODS[method](ask(model, x, sign=-1.0, background=background), **QUICK.get(method, {}))
    if method != "smooth_grad":  # a size has no direction
        assert not torch.allclose(plain, other)
    with torch.no_grad():
        model.head.bias += 5000.0  # a probability of 1 to the last bit, and exp overflows
    large = METHODS[method](ask(model, x, background=background), **QUICK.get(method, {}))
    torch.testing.assert_close(large, plain, rtol=1e-6, atol=1e-9)
    assert torch.isfinite(other).all() and (plain >= 0).all() and plain.amax() > 0


LIGHT = {"alexnet2d": {"hidden": 16}, "vit2d": {"size": "tiny"}, "swin3d": {"size": "micro"}, "vil": {"depth": 4}}
CASES = [("light_cnn", m) for m in METHODS] + [(n, "grad_cam_pp") for n in MODELS if n != "light_cnn"]


@pytest.mark.parametrize(("name", "method"), CASES)
def test_every_model_has_maps_that_do_not_depend_on_the_batch(name, method):
    torch.manual_seed(0)
    model = MODELS[name](2, 2, **LIGHT.get(name, {}))
    shape = (64, 80) if model.spatial_dims == 2 else (16, 24, 16)
    x, present = torch.randn(2, 2, *shape), torch.tensor([[1.0, 1.0], [1.0, 0.0]])
    x[1, 1] = 0
    options = (QUICK | {"occlusion": {"window": 16, "stride": 16}}).get(method, {})
    both = METHODS[method](ask(model, x, 1, present=present, background=torch.ones(2, 2, *shape)), **options)
    assert both.shape == (2, *shape) and torch.isfinite(both).all() and (both >= 0).all()
    alone = ask(model, x[1:], 1, present=present[1:], background=torch.ones(2, 2, *shape), seeds=(1,))
    apart = METHODS[method](alone, **options)
    scale = float(both[1].amax()) or 1.0
    torch.testing.assert_close(both[1:] / scale, apart / scale, rtol=1e-3, atol=1e-4)
    assert torch.equal(apart, METHODS[method](alone, **options))
    assert all(p.requires_grad and p.grad is None for p in model.parameters())


@pytest.mark.parametrize("method", ["smooth_grad", "integrated_gradients", "gradient_shap"])
def test_an_absent_role_gets_nothing_and_changes_nothing(method):
    model, x = small(2)
    x[:, 1] = 0
    seen = torch.tensor([[1.0, 0.0]] * 2)
    background = torch.randn(2, *x.shape[1:], dtype=x.dtype)
    asked = ask(model, x, present=seen, background=background)
    dark = background * seen[:1, :, None, None]
    again = ask(model, x, present=seen, background=dark)
    torch.testing.assert_close(METHODS[method](asked, **QUICK[method]), METHODS[method](again, **QUICK[method]))


@pytest.mark.parametrize("size", [16, 22, 26])
def test_a_map_lies_where_the_cells_look(size):
    """A bright voxel in a network of box filters: the map peaks there, whatever the size."""
    kernels = [nn.Conv2d(1, 1, 3, s, padding=1, bias=False) for s in (1, 2, 2, 2)]
    model = nn.Sequential(*kernels).double()
    for kernel in kernels:
        nn.init.constant_(kernel.weight, 1.0)
    model.cam_layer, model.spatial_dims = "3", 2
    full = nn.Sequential(model, nn.Flatten(2))
    full.forward = lambda x, present=None: model(x).flatten(2).mean(2)
    full.cam_layer = "0"
    x = torch.zeros(1, 1, size, size, dtype=torch.float64)
    x[0, 0, 8, 8] = 1.0  # the centre of cell 1 of stride 8
    found = METHODS["grad_cam"](ask(full, x))[0]
    peak = found.argmax().item()
    assert (peak // size, peak % size) == (8, 8)


def test_cells_without_known_windows_fill_the_input_evenly():
    maps = torch.randn(2, 3, 4, dtype=torch.float64)
    grid = [(n / m, (n / m - 1) / 2) for n, m in ((7, 3), (12, 4))]
    expected = nn.functional.interpolate(maps[:, None], (7, 12), mode="bilinear", align_corners=False)[:, 0]
    torch.testing.assert_close(enlarge(maps, grid, (7, 12)), expected)


def test_mistakes_are_named():
    model, x = small(3)
    with pytest.raises(StudyError, match=r"'bodi' is not known.*Did you mean 'body'"):
        METHODS["grad_cam"](ask(model, x), layer="bodi")
    with pytest.raises(StudyError, match=r"no .batch, channels, space"):
        METHODS["grad_cam_pp"](ask(model, x), layer="head")
    with pytest.raises(StudyError, match="background"):
        METHODS["gradient_shap"](ask(model, x))
    with pytest.raises(StudyError, match=r"'gradcam' is not known.*grad_cam"):
        check_plugin(Plugin(name="gradcam"), METHODS, "explain.methods")
    with pytest.raises(StudyError, match=r"occlusion: option 'windw'.*window"):
        check_plugin(Plugin(name="occlusion", options={"windw": 3}), METHODS, "explain.methods")
