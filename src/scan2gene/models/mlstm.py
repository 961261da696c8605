"""The mLSTM cell: a recurrent memory with exponential gates, computed for all steps at once.

Paper: Beck 2024, "xLSTM: extended long short-term memory", arXiv 2405.04517, equations 19 to 27
and the parallel form of its appendix. With F the running sum of the log forget gates, the weight
of step j in step i is exp(F_i - F_j + i_j). Its largest value over j <= i is F_i plus a running
maximum of i_j - F_j, so F_i cancels out of the stabilised weights: what is left is
exp((i_j - F_j) - max), one exponential of a difference of two vectors.
"""

from __future__ import annotations

import torch
from torch import Tensor
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
    precise = torch.promote_types(input_gate.dtype, torch.float32)  # exponents need more than a half float
    decay = _running(logsigmoid(forget_gate.to(precise)), torch.cumsum, backwards)
    begun = input_gate.to(precise) - decay
    # A constant to the gradient: numerator and normaliser are divided by it alike.
    top = _running(begun.detach(), _cummax, backwards)
    exponents = (begun.unsqueeze(2) - top.unsqueeze(3)).clamp_max(0)  # (B, heads, N to, N from)
    weights = torch.exp(exponents)
    weights = weights.triu() if backwards else weights.tril()
    combined = (q @ k.transpose(2, 3)) * (q.shape[-1] ** -0.5) * weights
    least = torch.exp((-(decay + top)).clamp_max(_LARGEST_EXPONENT)).unsqueeze(3)
    normaliser = torch.maximum(combined.sum(dim=3, keepdim=True).abs(), least)
    return ((combined.to(v.dtype) @ v) / (normaliser + EPSILON)).to(v.dtype)


def _cummax(x: Tensor, dim: int) -> Tensor:
    return torch.cummax(x, dim).values


def _running(x: Tensor, over: object, backwards: bool) -> Tensor:
    """A running sum or maximum along the steps, from the side on which reading begins."""
    if backwards:
        return over(x.flip(2), 2).flip(2)  # type: ignore[operator]
    return over(x, 2)  # type: ignore[operator]
