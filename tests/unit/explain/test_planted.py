"""A network that learnt to see a lesion looks at it; one with random weights does not."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from planted import fit, volumes
from torch import Tensor, nn

from scan2gene.explain import METHODS
from scan2gene.explain.asked import Asked
from scan2gene.explain.randomise import cascade
from scan2gene.explain.score import hit, rank_correlation

N = 24


class Net(nn.Module):
    """Three convolutions and a global mean: quick to train, four voxels a cell."""

    cam_layer, spatial_dims = "body", 3

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for inputs, outputs, stride in ((1, 8, 2), (8, 16, 1), (16, 16, 1)):
            layers += [nn.Conv3d(inputs, outputs, 3, stride, padding=1), nn.ReLU()]
        self.body, self.head = nn.Sequential(*layers), nn.Linear(16, 1)

    def forward(self, x: Tensor, present: Tensor | None = None) -> Tensor:
        return self.head(self.body(x).flatten(2).mean(2))


@pytest.fixture(scope="module")
def networks():
    torch.manual_seed(0)
    trained, random = Net(), Net()
    accuracy = fit(trained, steps=200, rate=5e-3)
    assert accuracy > 0.9
    return trained, random.eval()


def _maps(model: nn.Module, method: str) -> np.ndarray:
    """Maps of new volumes for the class that the network gives them."""
    x, _, _ = volumes(N, torch.Generator().manual_seed(9))
    with torch.no_grad():
        sign = torch.where(model(x)[:, 0] > 0, 1.0, -1.0)
    options = {"reference": "zero"} if method == "integrated_gradients" else {}
    return METHODS[method](Asked(model, x, torch.ones(N, 1), 0, sign, tuple(range(N))), **options).numpy()


def _ratio(maps: np.ndarray) -> float:
    """Energy inside the lesion over the lesion's share of the field."""
    _, _, ball = volumes(N, torch.Generator().manual_seed(9))
    hits = [h for h in map(hit, maps, ball.numpy()) if h]
    assert len(hits) == N
    return sum(h.energy for h in hits) / sum(h.fraction for h in hits)


@pytest.mark.parametrize("method", ["grad_cam", "grad_cam_pp", "smooth_grad", "integrated_gradients"])
def test_a_trained_network_looks_at_the_lesion(networks, method):
    assert _ratio(_maps(networks[0], method)) > 5


@pytest.mark.parametrize("method", ["grad_cam", "grad_cam_pp"])
def test_random_weights_look_everywhere(networks, method):
    assert 0.7 < _ratio(_maps(networks[1], method)) < 1.6


def test_randomising_the_layers_destroys_the_map(networks):
    trained, random = networks
    before = _maps(trained, "grad_cam_pp")
    found = []
    for _, broken in cascade(trained, random):
        pairs = zip(before, _maps(broken, "grad_cam_pp"), strict=True)
        found.append(np.mean([r for one, other in pairs if (r := rank_correlation(one, other)) is not None]))
    assert abs(found[-1]) < 0.35
    assert _ratio(_maps(broken, "grad_cam_pp")) < 1.6
