"""The map of one exam: those of its instances, each weighed by its share in the answer, back on the prepared grids.

A volume is one instance with all of the answer; slices go to their places in the volumes of their roles.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from scan2gene.core.errors import StudyError
from scan2gene.core.files import value_hash
from scan2gene.core.section import Plugin, options_of
from scan2gene.data.images import StoredVolume
from scan2gene.data.samples import Samples
from scan2gene.explain import METHODS
from scan2gene.explain.asked import Asked
from scan2gene.explain.halves import region, sided_map
from scan2gene.forward.logits import inputs_of
from scan2gene.imaging.nifti import read_nifti
from scan2gene.models.mil import AttentionMIL
from scan2gene.models.sides import TwoSides
from scan2gene.predict.aggregate import Aggregate
from scan2gene.preprocess.slice_selection import laid_on
from scan2gene.tasks.outputs import column_of, output_name

BACKGROUND = 16  # training instances that `gradient_shap` compares with


@dataclass(frozen=True)
class Explained:
    """A trained network and what its maps need.

    Args:
        model: The trained network.
        fresh: The same with random weights.
        data: The samples as it sees them; their names are those of its logits.
        part: (N,) part of every instance.
        aggregate: The run's way from instances to exams.
        roles: Its channels, or the roles of its slices.
        store: Folder of the prepared volumes.
        files: (exam_id, role) -> file in the store.
        scans: (exam_id, role) -> what `read_volume` opens.
        kept: (exam_id, role) -> numbers of kept slices where they may not adjoin; see `kept_numbers`.
        mask: Role of the lesion, if there is one.
        layer: For Grad-CAM; None: the model's own.
        batch_size: Instances per pass.
        seed: Of every draw.
    """

    model: nn.Module
    fresh: nn.Module
    data: Samples
    part: np.ndarray
    aggregate: Aggregate
    roles: Sequence[str]
    store: Path
    files: Mapping[tuple[str, str], str]
    scans: Mapping[tuple[str, str], str]
    kept: Callable[[str, str], np.ndarray | None]
    mask: str | None
    layer: str | None
    batch_size: int
    seed: int

    @property
    def of_roles(self) -> bool:
        """True where an instance is of one role, so that an exam has a map for each."""
        return "role" in self.data.table

    def output(self, row: Mapping[str, Any]) -> tuple[int, int]:
        """Which of the logits a row of `chosen_exams` is about, and the sign with which it speaks for it."""
        return column_of(self.data.names, output_name(row["target"], row["side"]))

    def instances(self, exam: str) -> np.ndarray:
        """Positions in `data.table` of an exam's instances that the network was tested on."""
        return np.flatnonzero((self.data.table["exam_id"].to_numpy() == exam) & (self.part == "test"))


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


def exam_maps(source: Explained, model: Any, row: Mapping[str, Any], method: Plugin) -> dict[str, np.ndarray]:
    """Map of one exam for the class of `row`, by the role on whose prepared grid it lies.

    Args:
        source: The network and its samples.
        model: Its network, or a random one.
        row: Of `chosen_exams`.
        method: Of `METHODS`, with its options.

    Returns:
        Role -> (I, J, K) float32, 0 in slices that no network saw: of volumes the first role of the exam, of slices
        every one. The map of each slice is weighed by its share in the exam's answer.
    """
    rows, (output, direction) = source.instances(row["exam_id"]), source.output(row)
    device = next(model.parameters()).device
    background, method = _background(source, method, device), _with_layer(source, method)
    seed = int(value_hash([source.seed, row["exam_id"], row["target"]]), 16)
    maps, scores = [], []
    model.eval()
    for chosen in np.split(rows, range(source.batch_size, len(rows), source.batch_size)):
        x, present = inputs_of(source.data, chosen.tolist(), source.data.images, device)
        sign = torch.full((len(x),), float(direction if row["class"] == "positive" else -direction), device=device)
        seeds = tuple((seed % 2**63 + int(n) * source.of_roles) % 2**63 for n in chosen)
        asked = Asked(model, x, present, output, sign, seeds, background)
        two = isinstance(model, TwoSides)
        found = sided_map(asked, method) if two else METHODS[method.name](asked, **method.options)
        maps.append(found.reshape(len(x), *x.shape[2:]).float().cpu().numpy())
        if len(rows) > 1:
            with torch.no_grad():
                every = model.attention_scores(x)[:, None] if isinstance(model, Attended) else model(x, present)
            scores.append(every.double().cpu().numpy())
    weighed = np.concatenate(maps)
    if scores:
        role = source.data.table["role"].to_numpy()[rows]
        share = source.aggregate.shares(np.concatenate(scores), role, output)
        weighed *= share[:, None, None].astype(np.float32)
    return _placed(source, row["exam_id"], weighed)


def seen_voxels(source: Explained, row: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """Role -> (I, J, K) bool, voxels with a say in the answer: of one side, or in slices that the network saw."""
    data, rows = source.data, source.instances(row["exam_id"])
    grid = data.grid_of(int(rows[0]))
    shown = torch.ones(grid, dtype=torch.bool)
    if isinstance(source.model, TwoSides):
        shown = region(source.model, grid, source.output(row)[0])
    return _placed(source, row["exam_id"], np.broadcast_to(shown.numpy(), (len(rows), *grid)))


def lesion_voxels(source: Explained, exam: str, roles: Sequence[str]) -> dict[str, np.ndarray] | None:
    """Role -> (I, J, K) bool, the lesion in the voxels of each role's map; None where the exam has no mask.

    Raises:
        Scan2GeneError, OSError, KeyError: A file cannot be read, or the scan that tells which slices were kept.
    """
    if source.mask is None or (exam, source.mask) not in source.files:
        return None
    mask = read_nifti(source.store / source.files[exam, source.mask], "label")
    images = {role: read_nifti(source.store / source.files[exam, role]) for role in roles}
    return {role: laid_on(mask, image, source.kept(exam, role)) for role, image in images.items()}


def _placed(source: Explained, exam: str, values: np.ndarray) -> dict[str, np.ndarray]:
    """Values (S, D, H, W) or (S, H, W) of an exam's instances as volumes (I, J, K) by role, 0 elsewhere."""
    table, there = (
        source.data.table.iloc[source.instances(exam)],
        [r for r in source.roles if (exam, r) in source.files],
    )
    volumes = {}
    for role in there if source.of_roles else there[:1]:
        shape = StoredVolume.of(source.store / source.files[exam, role]).shape
        own, numbers = values, np.arange(shape[0])
        if source.of_roles:
            mine = (table["role"] == role).to_numpy()
            own, numbers = values[mine], table["slice"].to_numpy()[mine]
        volumes[role] = np.zeros(shape[::-1], values.dtype)
        volumes[role][:, :, numbers] = own.reshape(-1, *shape[1:]).T  # (n, H, W) -> (I, J, n)
    return volumes


def _background(source: Explained, method: Plugin, device: torch.device) -> Tensor | None:
    if method.name != "gradient_shap":
        return None
    if not all(source.data.grid):
        raise StudyError("explain.methods: gradient_shap compares with other exams, and here each has its own grid")
    training = np.flatnonzero(source.part == "train")
    draw = np.random.default_rng(source.seed).permutation(len(training))[:BACKGROUND]
    return inputs_of(source.data, training[draw].tolist(), source.data.images, device)[0]


def _with_layer(source: Explained, method: Plugin) -> Plugin:
    own = {"layer": source.layer} if source.layer and "layer" in options_of(METHODS[method.name]) else {}
    return Plugin(name=method.name, options=own | method.options)
