"""Maps of a network of slices: those of an exam's slices, each weighed by its say in the answer, back as volumes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from scan2gene.core.section import Plugin
from scan2gene.core.study import Study
from scan2gene.data.images import to_input
from scan2gene.explain import METHODS
from scan2gene.explain.asked import Asked
from scan2gene.models.mil import AttentionMIL
from scan2gene.predict.aggregate import Aggregate, aggregation, load_aggregate
from scan2gene.preprocess.slice_selection import kept_numbers
from scan2gene.tasks.outputs import output_names, outputs

if TYPE_CHECKING:
    from scan2gene.explain.fit import Fit


@dataclass(frozen=True)
class Slices:
    """How the slices of an exam become its answer, and where they lie.

    Args:
        aggregate: The run's way from slices to exams.
        part: (S,) part of every slice.
        batch_size: Slices per pass.
        cohort: exam_id -> row of cohort.csv.
        paths: series_id -> what `read_volume` opens.
        steps: Of the preprocessing.
    """

    aggregate: Aggregate
    part: np.ndarray
    batch_size: int
    cohort: Mapping[str, Mapping[str, Any]]
    paths: Mapping[str, str]
    steps: Sequence[Plugin]
    _found: dict[tuple[str, str], np.ndarray | None] = field(default_factory=dict, repr=False)

    def kept(self, exam: str, role: str) -> np.ndarray | None:
        """Numbers of the kept slices where they may not adjoin; see `kept_numbers`."""
        if (exam, role) not in self._found:
            self._found[exam, role] = kept_numbers(self.cohort[exam], role, self.paths, self.steps)
        return self._found[exam, role]


class Attended(nn.Module):
    """A network of slices that answers as the head of a learned attention does.

    With the attention held as it is, the logit of an exam is the weighted mean of these logits.

    Args:
        network: The trained network, up to the embedding.
        attention: Learned on its embeddings.
    """

    spatial_dims = 2

    def __init__(self, network: Any, attention: AttentionMIL):
        super().__init__()
        self.network, self.attention = network, attention
        self.cam_layer = f"network.{network.cam_layer}"

    def _scaled(self, x: Tensor) -> Tensor:
        embedding = self.network.pool(self.network.forward_features(x))
        return (embedding - self.attention.centre) / self.attention.scale

    def forward(self, x: Tensor, present: Tensor | None = None) -> Tensor:
        """Slices (S, 1, H, W) -> logits (S, T); `present` says nothing here."""
        return self.attention.head(self._scaled(x))

    def attention_scores(self, x: Tensor) -> Tensor:
        """Slices (S, 1, H, W) -> scores (S,), whose softmax over an exam is the attention."""
        return self.attention.scores(self._scaled(x))


def slices_of(study: Study, part: np.ndarray, folder: Path, cohort: pd.DataFrame, paths: Mapping[str, str]) -> Slices:
    """How a fit makes answers of slices.

    Args:
        study: As the run sees it.
        part: (S,) part of every slice.
        folder: Of the fit.
        cohort: cohort.csv.
        paths: series_id -> what `read_volume` opens.

    Raises:
        RunError: The weights of late fusion are not there.
    """
    aggregate = load_aggregate(aggregation(study)[0], output_names(study), folder, outputs(study))
    rows = {row["exam_id"]: row for row in cohort.to_dict("records")}
    return Slices(aggregate, part, study.data.batch_size, rows, paths, study.preprocess)


def slices_of_exam(fit: Fit, exam: str) -> np.ndarray:
    """Positions in `fit.data` of an exam's slices that the network was tested on."""
    assert fit.slices is not None  # for the type checker
    return np.flatnonzero((fit.data.table["exam_id"].to_numpy() == exam) & (fit.slices.part == "test"))


def maps_by_role(
    fit: Fit, model: Any, row: Mapping[str, Any], method: Plugin, output: int, seed: int, background: Tensor | None
) -> dict[str, np.ndarray]:
    """Maps of one exam on the prepared grids, one volume a role; 0 in slices that no network saw.

    Args:
        fit: A fit of slices.
        model: Its network, or a random one.
        row: Of `chosen_exams`.
        method: With its options.
        output: Which of the logits.
        seed: Of every draw.
        background: (M, 1, H, W) slices that `gradient_shap` compares with.

    Returns:
        Role -> (I, J, K) float32; the map of each slice times its share in the exam's answer.
    """
    assert fit.slices is not None  # for the type checker
    rows = slices_of_exam(fit, row["exam_id"])
    device = next(model.parameters()).device
    made, told = [], []
    model.eval()
    for chosen in torch.as_tensor(rows).split(fit.slices.batch_size):
        present = fit.data.present[chosen].to(device)
        x = to_input(fit.data.images[chosen.to(fit.data.images.device)].to(device), present)
        sign = torch.full((len(x),), 1.0 if row["class"] == "positive" else -1.0, device=device)
        seeds = tuple((seed + int(n)) % 2**63 for n in chosen)
        asked = Asked(model, x, present, output, sign, seeds, background)
        made.append(METHODS[method.name](asked, **method.options).float().cpu())
        with torch.no_grad():
            own = model.attention_scores(x) if isinstance(model, Attended) else model(x, present)[:, output]
        told.append(own.double().cpu())
    table = fit.data.table.iloc[rows]
    share = fit.slices.aggregate.shares(torch.cat(told).numpy(), table["role"].to_numpy(), fit.targets[output])
    weighed = torch.cat(made).numpy() * share[:, None, None].astype(np.float32)
    found = {}
    for role in [r for r in fit.roles if (row["exam_id"], r) in fit.files]:
        array = np.zeros(_stored_shape(fit, row["exam_id"], role), np.float32)
        mine = (table["role"] == role).to_numpy()
        array[:, :, table["slice"].to_numpy()[mine]] = weighed[mine].transpose(2, 1, 0)  # (n, H, W) -> (I, J, n)
        found[role] = array
    return found


def seen_slices(fit: Fit, exam: str, arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Role -> (I, J, K), True in the slices that the network saw."""
    table = fit.data.table.iloc[slices_of_exam(fit, exam)]
    seen = {role: np.zeros(array.shape, bool) for role, array in arrays.items()}
    for role, numbers in table.groupby("role")["slice"]:
        seen[str(role)][:, :, numbers] = True
    return seen


def _stored_shape(fit: Fit, exam: str, role: str) -> tuple[int, ...]:
    import nibabel as nib

    image: Any = nib.load(fit.store / fit.files[exam, role])
    return tuple(image.shape)
