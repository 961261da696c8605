"""The models that a study gets when it names none: features of several kinds, networks, and means of them.

Nothing is picked by its figure. Models of one kind are averaged, kinds are averaged to `image`, and `image` and what
the clinic knows to `best`; which runs these are is fixed here, from the roles, masks and number of patients.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from scan2gene.core.study import BEST, IMAGE, Study, input_roles, is_sided, mean_of_runs
from scan2gene.features.encoder import at_hand

NETWORK_IN_IMAGE = 150  # patients from which a network is trained well enough to count as one of the blocks
NOMINAL_SHARE = 0.625  # of the field of view in a slice: 150 of 240 mm, what axial scans of a head cover


@dataclass
class Portfolio:
    """What is planned: features and runs as a study file has them, and why."""

    features: dict[str, Any] = field(default_factory=dict)
    runs: list[dict[str, Any]] = field(default_factory=list)
    why: list[str] = field(default_factory=list)


def portfolio(
    study: Study,
    steps: Sequence[dict[str, Any]],
    believed: bool,
    networks: Sequence[Sequence[dict[str, Any]]],
    patients: int,
) -> Portfolio:
    """Clinical columns, features, networks, and their means.

    Args:
        study: With roles and clinical columns; its own features are used where it computes any, its tables always.
        steps: That prepare an exam for features.
        believed: Whether the slice distance in the files can be true.
        networks: Planned networks, each from several seeds and last their mean.
        patients: In the cohort.
    """
    made = Portfolio(_features(study, steps, believed))
    if study.cohort.clinical:
        made.runs.append(_run("clinical", "clinical", columns=list(study.cohort.clinical)))
        made.why.append("what the scans must beat: clinical columns")
    blocks = []
    for name, block in (made.features | study.features).items():
        kind = block["name"] if isinstance(block, dict) else block.name
        made.runs.append(_run(name, "ridge" if kind == "encoder" else "mean", features=[name]))
        blocks.append(name)
    if blocks:
        made.why.append(f"models on features ({', '.join(blocks)}), several averaged, none chosen")
    made.runs += [run for seeds in networks for run in seeds]
    names = [seeds[-1]["name"] for seeds in networks]
    if names:
        made.why.append(f"small networks from several seeds ({', '.join(names)}){_place(patients)}")
    if patients >= NETWORK_IN_IMAGE or not blocks:
        blocks += names
    if blocks:
        made.runs.append(mean_of_runs(IMAGE, blocks))
        best = ["clinical", IMAGE] if study.cohort.clinical else [IMAGE]
        made.runs.append(mean_of_runs(BEST, best))
        made.why.append(f"{IMAGE}, the mean of {', '.join(blocks)}; {BEST}, the mean of {' and '.join(best)}")
    return made


def _place(patients: int) -> str:
    if patients >= NETWORK_IN_IMAGE:
        return ""
    return f", beside the means: {patients} patients are fewer than the {NETWORK_IN_IMAGE} from which it counts in them"


def _features(study: Study, steps: Sequence[dict[str, Any]], believed: bool) -> dict[str, Any]:
    """Features of the lesion where there is a mask, else of the body; none where targets have sides."""
    roles = input_roles(study)
    if computes(study) or not roles or any(is_sided(study, target) for target in study.targets):
        return {}
    mask = next((n for n, role in study.cohort.roles.items() if role.kind == "label"), None)
    common = {"roles": roles} | ({"mask": mask} if mask else {})
    kinds: dict[str, dict[str, Any]] = {}
    if mask:
        kinds["lesion"] = {}
        kinds["radiomics"] = {"wavelet": False, "in_plane": not believed}
    else:
        kinds["subregions"] = {}
    if at_hand():
        kinds["encoder"] = {}
    prepared = list(steps)
    return {
        n: {"name": n, "options": common | options, "preprocess": prepared}
        for n, options in kinds.items() if n not in study.features
    }  # fmt: skip


def computes(study: Study) -> bool:
    """Whether the study itself says which features are computed; tables that it brings come on top of planned ones."""
    return any(block.name for block in study.features.values())


def feature_steps(
    begin: Sequence[dict[str, Any]], spacing_mm: Sequence[float], field_mm: Sequence[float], believed: bool
) -> list[dict[str, Any]]:
    """Steps that prepare an exam for features.

    Args:
        begin: Those that bring all roles into one frame.
        spacing_mm: Median of the cohort.
        field_mm: Median of the cohort.
        believed: Whether the slice distance in the files can be true.
    """
    if believed:
        return [*begin, {"name": "resample", "options": {"spacing_mm": [round(float(v), 2) for v in spacing_mm]}}]
    thin = min(range(3), key=lambda axis: field_mm[axis])
    extent = round(NOMINAL_SHARE * max(field_mm))
    return [*begin, {"name": "nominal_spacing", "options": {"extent_mm": extent, "axis": "ijk"[thin]}}]


def _run(name: str, model: str, **options: Any) -> dict[str, Any]:
    return {"name": name, "model": {"name": model, "options": options}}
