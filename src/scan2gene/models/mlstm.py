"""The mLSTM cell: a recurrent memory with exponential gates, computed for all steps at once.

Paper: Beck 2024, "xLSTM: extended long short-term memory", arXiv 2405.04517, equations 19 to 27
and the parallel form of its appendix. With F the running sum of the log forget gates, the weight
of step j in step i is exp(F_i - F_j + i_j). Its largest value over j <= i is F_i plus a running
maximum of i_j - F_j, so F_i cancels out of the stabilised weights: what is left is
exp((i_j - F_j) - max), one exponential of a difference of two vectors. Matrices of N x N are
computed again in the backward pass and never kept.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn.functional import logsigmoid

EPSILON = 1e-6
_ELEMENTS = {"cpu": 2**18, "gpu": 2**25}  # of the N x N matrices that are worked on together
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


def _portions(q: Tensor) -> Iterator[slice]:
    """Samples whose N x N matrices are at hand together: those of a few fit a processor's cache."""
    batch, heads, steps, _ = q.shape
    at_once = max(1, _ELEMENTS["cpu" if q.device.type == "cpu" else "gpu"] // (heads * steps * steps))
    return (slice(start, start + at_once) for start in range(0, batch, at_once))


class _Recalled(torch.autograd.Function):
    """What is recalled, and its gradient, without keeping an N x N matrix in between."""

    @staticmethod
    def forward(
        ctx: Any, q: Tensor, k: Tensor, v: Tensor, begun: Tensor, top: Tensor, least: Tensor, backwards: bool
    ) -> Tensor:
        out, total = torch.empty_like(v), torch.empty_like(begun)
        for part in _portions(q):
            combined = _weights(begun[part], top[part], backwards).mul_(_scaled(q[part]) @ k[part].transpose(2, 3))
            total[part] = combined.sum(dim=3)
            out[part] = (combined.to(v.dtype) @ v[part]) / _normaliser(total[part], least[part])
        ctx.save_for_backward(q, k, v, begun, top, least, total)
        ctx.backwards = backwards
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, given: Tensor) -> tuple[Tensor | None, ...]:
        inputs = ctx.saved_tensors
        outs = [torch.empty_like(inputs[n]) for n in (0, 1, 2, 3, 5)]
        for part in _portions(inputs[0]):
            found = _gradients(ctx.backwards, given[part], *(t[part] for t in inputs))
            for out, value in zip(outs, found, strict=True):
                out[part] = value
        to_q, to_k, to_v, to_begun, to_least = outs
        return to_q, to_k, to_v, to_begun, None, to_least, None


def _normaliser(total: Tensor, least: Tensor) -> Tensor:
    """(B, heads, N) twice -> (B, heads, N, 1)."""
    return torch.maximum(total.abs(), least).add_(EPSILON).unsqueeze(3)


def _gradients(
    backwards: bool, given: Tensor, q: Tensor, k: Tensor, v: Tensor, begun: Tensor, top: Tensor, least: Tensor,
    total: Tensor,
) -> tuple[Tensor, ...]:  # fmt: skip
    """Of q, k, v, begun and least, for what was given to the output."""
    normaliser = _normaliser(total, least)
    given = (given / normaliser).to(v.dtype)
    weights = _weights(begun, top, backwards)
    combined = weights * (_scaled(q) @ k.transpose(2, 3))
    to_v = combined.to(v.dtype).transpose(2, 3) @ given
    inward = (given @ v.transpose(2, 3)).to(combined.dtype)  # gradient in `combined`, by what is recalled
    to_normaliser = -(combined * inward).sum(dim=3) / normaliser.squeeze(3)
    by_total = total.abs() >= least
    inward += (to_normaliser * total.sign() * by_total).unsqueeze(3)
    to_begun = combined.mul_(inward).sum(dim=2)
    to_scores = weights.mul_(inward).to(q.dtype)
    return (
        _scaled(to_scores @ k),
        to_scores.transpose(2, 3) @ _scaled(q),
        to_v,
        to_begun,
        to_normaliser * ~by_total,
    )
