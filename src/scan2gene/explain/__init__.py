"""Where a network looks: one file per method, one line here.

A method takes what is `Asked` and keyword options, and gives maps (B, *S) on the input's
voxels, never negative, high = important.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence

from torch import Tensor

from scan2gene.core.errors import StudyError
from scan2gene.core.section import Plugin, unknown_name
from scan2gene.explain.grad_cam import grad_cam
from scan2gene.explain.grad_cam_pp import grad_cam_pp
from scan2gene.explain.gradient_shap import gradient_shap
from scan2gene.explain.hires_cam import hires_cam
from scan2gene.explain.integrated_gradients import integrated_gradients
from scan2gene.explain.occlusion import occlusion
from scan2gene.explain.smooth_grad import smooth_grad

METHODS: dict[str, Callable[..., Tensor]] = {
    "grad_cam": grad_cam,
    "grad_cam_pp": grad_cam_pp,
    "hires_cam": hires_cam,
    "smooth_grad": smooth_grad,
    "integrated_gradients": integrated_gradients,
    "gradient_shap": gradient_shap,
    "occlusion": occlusion,
}


def options_of(method: str) -> list[str]:
    """Names of a method's options."""
    return [p.name for p in inspect.signature(METHODS[method]).parameters.values() if p.kind is p.KEYWORD_ONLY]


def check_methods(methods: Sequence[Plugin]) -> None:
    """Refuse unknown methods and options before any work starts.

    Raises:
        StudyError: With the valid names.
    """
    for method in methods:
        if method.name not in METHODS:
            raise StudyError(f"explain.methods: method {unknown_name(method.name, METHODS)}")
        for option in method.options:
            if option not in options_of(method.name):
                valid = options_of(method.name)
                raise StudyError(f"explain.methods, {method.name}: option {unknown_name(option, valid)}")
