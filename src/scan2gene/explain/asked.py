"""The question that every method answers: what in this input makes the network say this class?"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from scan2gene.core.errors import StudyError
from scan2gene.core.section import unknown_name

Reference = Literal["minimum", "mean", "zero"]


@dataclass(frozen=True)
class Asked:
    """A batch of exams, and the class to be explained of each.

    The score is the logit, or its negative for the negative class: a probability near 0
    or 1 has no gradient left, a logit has.

    Args:
        model: In evaluation mode; `model(x, present)` gives logits (B, T).
        x: (B, C, *S), S the D, H, W of a 3D network or the H, W of a 2D one.
        present: (B, C), 1 where the exam has the role.
        target: Which of the T logits.
        sign: (B,), +1 explains the positive class, -1 the negative one.
        seeds: One per exam, so that no draw depends on the rest of the batch.
        background: (M, C, *S) exams that `gradient_shap` compares with.
    """

    model: nn.Module
    x: Tensor
    present: Tensor
    target: int
    sign: Tensor
    seeds: tuple[int, ...]
    background: Tensor | None = None

    def score(self, x: Tensor) -> Tensor:
        """(B, C, *S) -> (B,), the logit of the class that is explained."""
        return self.model(x, self.present)[:, self.target] * self.sign

    def gradient(self, x: Tensor) -> Tensor:
        """Gradient of every exam's own score in its input, (B, C, *S)."""
        with torch.enable_grad(), differentiable(self.model):
            x = x.detach().requires_grad_()
            return torch.autograd.grad(self.score(x).sum(), x)[0]

    def generators(self) -> list[torch.Generator]:
        """A stream of random numbers per exam, on the CPU so that every device draws the same."""
        return [torch.Generator().manual_seed(seed) for seed in self.seeds]

    def masked(self, values: Tensor) -> Tensor:
        """Values (B, C, ...) with 0 in the channels of absent roles, as the network gets them."""
        return values * self.present.reshape(*self.present.shape, *[1] * (values.ndim - 2)).to(values.dtype)

    def reference(self, kind: Reference) -> Tensor:
        """An input without content, (B, C, *S): each channel's smallest value, its mean, or 0.

        Raises:
            StudyError: Another kind.
        """
        flat = self.x.flatten(2)
        values = {"minimum": flat.amin(2), "mean": flat.mean(2), "zero": flat.new_zeros(flat.shape[:2])}
        if kind not in values:
            raise StudyError(f"explain: reference {unknown_name(str(kind), values)}")
        value = values[kind].reshape(*flat.shape[:2], *[1] * (self.x.ndim - 2))
        return self.masked(value.expand_as(self.x))


def evidence(attributions: Tensor) -> Tensor:
    """What speaks for the class: signed shares (B, C, *S) added over channels, negative ones 0; (B, *S)."""
    return attributions.sum(1).clamp_min(0)


@contextmanager
def differentiable(model: nn.Module) -> Iterator[None]:
    """Weights need no gradient here; recurrent layers have none in evaluation mode under cuDNN."""
    wanted = [p for p in model.parameters() if p.requires_grad]
    recurrent = any(isinstance(m, nn.RNNBase) for m in model.modules())
    for parameter in wanted:
        parameter.requires_grad_(False)
    try:
        with torch.backends.cudnn.flags(enabled=not recurrent):
            yield
    finally:
        for parameter in wanted:
            parameter.requires_grad_(True)
