"""The mLSTM cell: a recurrent memory with exponential gates, computed for all steps at once.

Paper: Beck 2024, "xLSTM: extended long short-term memory", arXiv 2405.04517, equations 19 to 27
and the parallel form of its appendix. With F the running sum of the log forget gates, the weight
of step j in step i is exp(F_i - F_j + i_j). Its largest value over j <= i is F_i plus a running
maximum of i_j - F_j, so F_i cancels out of the stabilised weights: what is left is
exp((i_j - F_j) - max), one exponential of a difference of two vectors. Matrices of N x N are
computed again in the backward pass and never kept.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn.functional import logsigmoid

EPSILON = 1e-6
_LARGEST_EXPONENT = 80.0  # exp(89) is infinite in float32, and infinity times 0 has no gradient


def mlstm(q: Tensor, k: Tensor, v: Tensor, input_gate: Tensor, forget_gate: Tensor, backwards: bool = False) -> Tensor:
    """Outputs of the cell at every step.

    Args:
        q: Queries (B, heads, N, d).
        k: Keys, of the same shape.
        v: Values, of the same shape.
        input_gate: Before its exponential, (B, heads, N).
        forget_gate: Before its sigmoid, (B, heads, N).
        backwards: Read from the last step to the first.

    Returns:
        (B, heads, N, d), before any normalisation or output gate.
    """
    precise = torch.promote_types(input_gate.dtype, torch.float32)  # exponents need more than half precision
    decay = _running_sum(logsigmoid(forget_gate.to(precise)), backwards)
    begun = input_gate.to(precise) - decay
    # A constant to the gradient: numerator and normaliser are divided by it alike.
    top = _running_maximum(begun.detach(), backwards)
    least = torch.exp((-(decay + top)).clamp_max(_LARGEST_EXPONENT))
    return _Recalled.apply(q, k, v, begun, top, least, backwards)


def _running_sum(x: Tensor, backwards: bool) -> Tensor:
    return x.flip(2).cumsum(2).flip(2) if backwards else x.cumsum(2)


def _running_maximum(x: Tensor, backwards: bool) -> Tensor:
    return x.flip(2).cummax(2).values.flip(2) if backwards else x.cummax(2).values


def _weights(begun: Tensor, top: Tensor, backwards: bool) -> Tensor:
    """Of each step (last axis) in each step (axis before): 0 to 1, and 0 for those that are not read yet."""
    steps = begun.shape[2]
    unread = torch.full((steps, steps), -torch.inf, dtype=begun.dtype, device=begun.device)
    unread = unread.tril(-1) if backwards else unread.triu(1)
    return (begun.unsqueeze(2) - top.unsqueeze(3)).add_(unread).exp_()


def _scaled(q: Tensor) -> Tensor:
    return q * q.shape[-1] ** -0.5


class _Recalled(torch.autograd.Function):
    """What is recalled, and its gradient, without keeping an N x N matrix in between."""

    @staticmethod
    def forward(
        ctx: Any, q: Tensor, k: Tensor, v: Tensor, begun: Tensor, top: Tensor, least: Tensor, backwards: bool
    ) -> Tensor:
        combined = _weights(begun, top, backwards).mul_(_scaled(q) @ k.transpose(2, 3))
        total = combined.sum(dim=3)
        normaliser = torch.maximum(total.abs(), least).add_(EPSILON)
        ctx.save_for_backward(q, k, v, begun, top, least, total)
        ctx.backwards = backwards
        return ((combined.to(v.dtype) @ v) / normaliser.unsqueeze(3)).to(v.dtype)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, given: Tensor) -> tuple[Tensor | None, ...]:
        q, k, v, begun, top, least, total = ctx.saved_tensors
        by_total = total.abs() >= least
        normaliser = torch.maximum(total.abs(), least).add_(EPSILON)
        weights = _weights(begun, top, ctx.backwards)
        combined = weights * (_scaled(q) @ k.transpose(2, 3))
        given = (given / normaliser.unsqueeze(3)).to(v.dtype)
        inward = (given @ v.transpose(2, 3)).to(combined.dtype)  # gradient in `combined`, by what is recalled
        to_normaliser = -(combined * inward).sum(dim=3) / normaliser
        inward += (to_normaliser * total.sign() * by_total).unsqueeze(3)
        to_values = combined.to(v.dtype).transpose(2, 3) @ given
        to_begun = combined.mul_(inward).sum(dim=2)
        to_scores = weights.mul_(inward).to(q.dtype)
        return (
            _scaled(to_scores @ k),
            to_scores.transpose(2, 3) @ _scaled(q),
            to_values,
            to_begun,
            None,
            to_normaliser * ~by_total,
            None,
        )
