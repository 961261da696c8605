"""Box tables as masks: a rectangle per slice becomes a label volume on the grid of the role it was drawn in."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd

from scan2gene.core.errors import CohortError, GeometryError, ScanError
from scan2gene.core.files import value_hash
from scan2gene.core.study_cohort import Cohort
from scan2gene.core.tables import EXCLUSION_COLUMNS
from scan2gene.core.text import slug
from scan2gene.core.text_table import read_text_table
from scan2gene.core.volume import Volume
from scan2gene.imaging.index import read_volume
from scan2gene.imaging.nifti import write_nifti

NUMBERS = ("k", "box_x", "box_y", "box_w", "box_h")
STAGE = "boxes"


def read_boxes(file: str | Path) -> pd.DataFrame:
    """A box table: patient_id, slice k counted from 0, near corner and size in voxels, one row per slice.

    Raises:
        CohortError: A column is missing, or a cell is no number; the message names the line.
    """
    path = Path(file)
    if not path.is_file():
        raise CohortError(f"there is no table of boxes {path}")
    table = read_text_table(path)
    lacking = [c for c in ("patient_id", *NUMBERS) if c not in table.columns]
    if lacking:
        raise CohortError(
            f"{path.name} lacks {', '.join(lacking)}. A table of boxes has patient_id, k (slice from 0), box_x, box_y "
            "(near corner) and box_w, box_h (size), in voxels along the first and second axis of the image."
        )
    boxes = table[["patient_id"]].copy()
    for column in NUMBERS:
        boxes[column] = pd.to_numeric(table[column], errors="coerce")
        wrong = ~np.isfinite(boxes[column])
        if column == "k":
            wrong |= boxes[column] % 1 != 0
        if wrong.any():
            line = boxes.index[wrong][0]
            raise CohortError(f"{path.name}:{line}: {column} is {table.loc[line, column]!r}, which is no number for it")
    return boxes


def box_mask(boxes: pd.DataFrame, volume: Volume) -> Volume:
    """The voxels (I, J, K) uint8 whose middle lies in a box; boxes that run over the edge are clipped.

    Args:
        boxes: Rows of `read_boxes`.
        volume: Image that the boxes were drawn in, as it is stored.

    Raises:
        ScanError: A slice that the image does not have, or no voxel inside.
    """
    array = np.zeros(volume.shape, np.uint8)
    for k, x, y, width, height in boxes[list(NUMBERS)].itertuples(index=False):
        if not 0 <= k < volume.shape[2]:
            raise ScanError(f"a box in slice {k:g}, and slices are 0 to {volume.shape[2] - 1}")
        i, j = (np.arange(n) + 0.5 for n in volume.shape[:2])
        array[np.ix_((i >= x) & (i < x + width), (j >= y) & (j < y + height), [int(k)])] = 1
    if not array.any():
        raise ScanError("no voxel lies in its boxes")
    return Volume(array, volume.affine, "label")


def write_box_masks(
    exams: pd.DataFrame, rules: Cohort, paths: Mapping[str, str], folder: Path
) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """Write the masks of all roles with boxes; an exam whose boxes cannot be used has none.

    Args:
        exams: Rows of cohort.csv.
        rules: With the roles.
        paths: series_id -> what `read_volume` opens.
        folder: For the masks.

    Returns:
        Exams with `role:<name>` filled in; series_id and file of each mask; why others have none, as exclusions.
    """
    exams, written, excluded = exams.copy(), [], []
    several = set(exams["patient_id"][exams["patient_id"].duplicated()])
    for name, role in rules.roles.items():
        if not role.boxes:
            continue
        by_patient = dict(iter(read_boxes(role.boxes).groupby("patient_id")))
        column: list[str | None] = []
        for exam in exams.to_dict("records"):
            column.append(None)
            patient, image = exam["patient_id"], exam[f"role:{role.of}"]
            if patient not in by_patient or not isinstance(image, str):
                continue
            file = folder / f"{slug(patient)}_{name}_{value_hash([exam['exam_id'], name])[:8]}.nii"
            try:
                if patient in several:
                    raise ScanError("the patient has several exams, and boxes do not say which is theirs")
                write_nifti(box_mask(by_patient[patient], read_volume(paths[image])), file)
            except (ScanError, GeometryError) as error:
                row = (STAGE, patient, exam["exam_id"], "", f"no {name}: {error}")
                excluded.append(dict(zip(EXCLUSION_COLUMNS, row, strict=True)))
                continue
            column[-1] = f"boxes:{name}:{exam['exam_id']}"
            written.append((column[-1], file.name))
        exams[f"role:{name}"] = column
    if any(r.boxes for r in rules.roles.values()) and not written:
        why = f" First: {excluded[0]['reason']}." if excluded else ""
        raise CohortError(f"no exam has a mask from its table of boxes; do patient ids agree?{why}")
    return (
        exams,
        pd.DataFrame(written, columns=["series_id", "file"]),
        pd.DataFrame(excluded, columns=list(EXCLUSION_COLUMNS)),
    )
