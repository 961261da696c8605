"""Training that is to depend less on where a patient was scanned: balanced draws, and an adversary that names sites."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from scan2gene.core.errors import CohortError, StudyError
from scan2gene.core.study_runs import SiteAdversary
from scan2gene.core.text import counted
from scan2gene.data.samples import Samples
from scan2gene.models.head import RoleAwareHead
from scan2gene.tasks.run_config import RunConfig

STEEPNESS = 10.0  # of the rise, Ganin's gamma


def check_sites(config: RunConfig) -> None:
    """Refuse what balanced draws and an adversary cannot go with, before any work starts.

    Raises:
        StudyError: With the mend.
    """
    train = config.train
    for name, asked in (("site_sampling", train.site_sampling), ("site_adversary", train.site_adversary is not None)):
        if asked and not config.has_sites:
            raise StudyError(f"run {config.name}: train.{name} needs cohort.site_column, the site's column")
    if train.site_adversary is None:
        return
    linear = config.probes and not (config.weights and config.weights.head and config.weights.head.hidden)
    for given, why in (
        (train.devices > 1, "works on one device; set train.devices: 1"),
        (train.compile, "does not go with train.compile"),
        (train.mixup > 0, "does not go with train.mixup, which mixes patients of several sites"),
        (linear, "changes features, and a linear probe has none of its own; set weights.head: {hidden: 64}"),
    ):
        if given:
            raise StudyError(f"run {config.name}: train.site_adversary {why}")


def needs_sites(config: RunConfig) -> str:
    """The option of a run that training with one site cannot serve; "" where it has none."""
    asked = {
        "data.harmonise": config.data.harmonise, "train.site_sampling": config.train.site_sampling,
        "train.site_adversary": config.train.site_adversary,
    }  # fmt: skip
    return next((name for name, given in asked.items() if given), "")


def site_codes(data: Samples, rows: np.ndarray) -> tuple[list[str], Tensor]:
    """The sites of training rows, and of all N exams the number of theirs; -1 where unknown.

    Raises:
        CohortError: Training has not two sites.
    """
    exams = data.table
    site = exams["site"].fillna("").astype(str) if "site" in exams else pd.Series("", exams.index)
    names = sorted(set(site.to_numpy()[rows]) - {""})
    if len(names) < 2:
        raise CohortError(
            f"training has {counted(len(names), 'site')}, and what train.site_sampling and "
            "train.site_adversary do needs two. Leave them out of this run."
        )
    return names, torch.tensor([names.index(s) if s in names else -1 for s in site])


def site_shares(targets: Tensor, codes: Tensor) -> Tensor:
    """Probability of drawing each training exam so that every site, and in it every class, comes equally often.

    Args:
        targets: (N, T) 0, 1 or NaN. With several targets their shares are averaged.
        codes: (N,) number of the site; exams of unknown site, -1, form a group of their own.

    Returns:
        (N,), sums to 1. For a target each site gets the same, divided evenly over the classes that it has; a site
        with one class gives it all. Exams without any label are not drawn.
    """
    shares = torch.zeros(len(targets), dtype=torch.float64)
    for target in targets.T:
        values = target[~torch.isnan(target)].unique()
        for site in codes.unique():
            groups = [(codes == site) & (target == value) for value in values]
            groups = [g for g in groups if g.any()]
            for group in groups:
                shares[group] += 1 / (len(groups) * int(group.sum()))
    return shares / shares.sum() if shares.sum() > 0 else torch.full_like(shares, 1 / len(targets))


def share_table(
    targets: Tensor, codes: Tensor, sites: list[str], names: tuple[str, ...], shares: Tensor
) -> pd.DataFrame:
    """What `site_shares` comes to: exams and mean number of draws of one in an epoch, by site, target and class."""
    drawn = shares * len(targets)
    rows = []
    for number, name in enumerate(names or [f"target {t}" for t in range(targets.shape[1])]):
        for code in codes.unique().tolist():
            for value in (0, 1):
                group = (codes == code) & (targets[:, number] == value)
                rows.append((sites[code] if code >= 0 else "", name, ("negative", "positive")[value], int(group.sum()),
                             float(drawn[group].mean()) if group.any() else None))  # fmt: skip
    return pd.DataFrame(rows, columns=["site", "target", "class", "exams", "draws_per_epoch"])


def pull(settings: SiteAdversary, epoch: int) -> float:
    """Factor of the reversed gradient in an epoch, counted from 1: from near 0 to `weight` after `rise` epochs.

    Source: Ganin et al. 2016, "Domain-adversarial training of neural networks", JMLR 17, section 5.2.2.
    """
    share = min(epoch / settings.rise, 1.0)
    return settings.weight * (2 / (1 + float(np.exp(-STEEPNESS * share))) - 1)


class _Reversed(torch.autograd.Function):
    """The identity, whose gradient is turned round."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, factor: float) -> Tensor:
        ctx.factor = factor
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        return -ctx.factor * gradients[0], None


class Adversary(nn.Module):
    """Names the site from what a network's last layer sees, while the network learns to make that hard.

    Only training uses it: no checkpoint that predicts holds it.

    Args:
        network: With one `RoleAwareHead`.
        data: Whose sites are named.
        rows: Of training; sites weigh the same, however many exams they have.
        settings: Of the study.
        even: Whether sites are drawn alike already, so that their number of exams is not made up for twice.

    Raises:
        StudyError: The network has no such head.
        CohortError: Training has not two sites.
    """

    weights: Tensor

    def __init__(
        self, network: nn.Module, data: Samples, rows: np.ndarray, settings: SiteAdversary, even: bool = False
    ):
        super().__init__()
        heads = [m for m in network.modules() if isinstance(m, RoleAwareHead)]
        if len(heads) != 1:
            raise StudyError("train.site_adversary needs a network whose features end in one linear layer")
        names, self.codes = site_codes(data, rows)
        counts = torch.bincount(self.codes[torch.as_tensor(rows)].clamp(min=-1) + 1, minlength=len(names) + 1)[1:]
        weights = torch.ones(len(names)) if even else counts.sum() / (len(names) * counts.clamp(min=1))
        self.register_buffer("weights", weights, persistent=False)
        features = heads[0].linear.in_features - heads[0].num_roles
        self.layers = nn.Sequential(
            nn.Linear(features, settings.hidden), nn.ReLU(), nn.Linear(settings.hidden, len(names))
        )
        self.settings = settings
        self._seen: list[Tensor] = []
        heads[0].register_forward_pre_hook(self._keep)

    def _keep(self, module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        if module.training and torch.is_grad_enabled():
            self._seen[:] = [inputs[0]]

    def loss(self, chosen: Tensor, epoch: int) -> Tensor:
        """Cross-entropy of naming the sites of the batch that the network has just seen; 0 where none is known.

        Args:
            chosen: (B,) rows of the batch.
            epoch: From 1.
        """
        features = self._seen.pop().float()  # (B, F), or (2 B, F) with sides
        codes = self.codes[chosen.cpu()].repeat(len(features) // len(chosen)).to(features.device)
        known = codes >= 0
        if not known.any():
            return features.sum() * 0
        named = self.layers(_Reversed.apply(features, pull(self.settings, epoch)))
        return cross_entropy(named[known], codes[known], self.weights)
