"""Where a network looks: one file per method, one line here.

A method takes what is `Asked` and keyword options, and gives maps (B, *S) on the input's
voxels, never negative, high = important.
"""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

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
