"""The study file's cohort: scans, label tables, roles, dates and targets."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from scan2gene.core.section import LabelValue, Name, Pattern, Section, unknown_name


class Role(Section):
    """Which series plays a role in an exam. All patterns must be found (case ignored)."""

    match: dict[str, Pattern] = Field({}, description="column of series.csv -> regular expression that must be found")
    kind: Literal["intensity", "label"] = Field(
        "intensity", description="label: a mask, resampled by nearest neighbour"
    )
    threshold: float | None = Field(
        None,
        description="of kind label: voxels above it are marked, for probabilities and soft edges; without it, a mask "
        "whose values are not whole is refused",
    )
    optional: bool = Field(
        False, description="an exam without this role is kept; its channel is zero and marked absent"
    )
    boxes: str | None = Field(
        None,
        description="in place of match: a table, one row per slice (patient_id, k, box_x, box_y, box_w, box_h), whose "
        "boxes become a mask; patients without boxes have none",
    )
    of: Name | None = Field(None, description="with boxes: the role in whose voxels they are")

    @model_validator(mode="before")
    @classmethod
    def _boxes_are_masks(cls, values: Any) -> Any:
        """A mask of boxes is of kind label, and not every patient need have one."""
        if isinstance(values, dict) and values.get("boxes"):
            return {"kind": "label", "optional": True} | values
        return values

    @model_validator(mode="after")
    def _of_a_mask(self) -> Role:
        if self.threshold is not None and self.kind != "label":
            raise ValueError("threshold goes with kind: label")
        if ("match" in self.model_fields_set) == bool(self.boxes) and (self.match or not self.boxes):
            raise ValueError("a role needs match, the patterns of its series, or boxes, a table; one of them")
        if bool(self.boxes) != bool(self.of):
            raise ValueError("boxes and of go together: of is the role in whose voxels the boxes are")
        if self.boxes and (self.kind != "label" or not self.optional or self.threshold is not None):
            raise ValueError("boxes make a mask that patients may lack: leave out kind, optional and threshold")
        return self


class Dates(Section):
    """When an exam was made, against dates of the label table."""

    reference_column: str | None = Field(None, description="column with the day that counts, such as the biopsy's")
    window_days: tuple[float, float] | None = Field(
        None, description="scan minus reference in days, both ends included: [-90, 0] is at most 90 days before"
    )
    treatment_column: str | None = Field(None, description="column with the day of surgery; later exams are left out")
    scan_column: str | None = Field(None, description="column with the day of the scan; default: StudyDate of the scan")
    written: Literal["dmy", "mdy", "days", "excel"] | None = Field(
        None, description="settles 03/04/2020 (dmy or mdy) and 43924 (days since some event, or Excel's serial number)"
    )

    @model_validator(mode="after")
    def _complete(self) -> Dates:
        if self.window_days and not self.reference_column:
            raise ValueError("window_days needs reference_column, the day from which it counts")
        if self.window_days and self.window_days[0] > self.window_days[1]:
            raise ValueError("window_days is [earliest, latest], such as [-90, 0]")
        return self


class MinLesion(Section):
    """The smallest lesion that is kept, measured in a mask."""

    role: Name = Field(description="a role of kind label")
    volume_mm3: float = Field(gt=0)


RESERVED_CLASSES = ("positive", "negative", "unknown")  # what tables say of targets with two classes


class Target(Section):
    """A label: which cells of a column count as positive and negative, or as which of several classes."""

    column: str = Field("", description="default: the target's own name")
    left: str = Field("", description="column of the left side; with `right`, in place of `column`")
    right: str = Field("", description="column of the right side")
    per_side: bool = Field(
        True, description="false: one value per patient, although cohort.side_column gives rows per side"
    )
    positive: list[LabelValue] = Field(
        ["1", "mutated", "mutant"], description="cells; an asterisk at the end stands for anything: 'IDH1 p.*'"
    )
    negative: list[LabelValue] = Field(["0", "not_mutated", "wildtype", "wild type", "wild-type"])
    classes: dict[Name, list[LabelValue]] = Field(
        {},
        description="in place of positive and negative: name of each class -> its cells, such as "
        "{luminal_a: [Luminal A, LumA], her2: [HER2]}; in the order in which tables show them",
    )
    above: float | None = Field(
        None,
        description="in place of positive and negative: numbers above this limit are positive, others, and the limit "
        "itself, negative",
    )
    task: Name = Field("", description="kind of target; default: multiclass where it has classes, else binary")
    unknown: list[LabelValue] = Field(
        ["NOS", "NEC", "NOS/NEC"], description="values that mean 'not known', e.g. Indeterminate"
    )
    genes: list[str] = Field(
        [], description="read from cohort.mutations: positive where one of them is mutated, such as [IDH1, IDH2]"
    )
    hotspots: list[str] = Field(
        [], description="with genes: only these protein changes count: R132H, or R132 for any change of that residue"
    )
    variants: list[str] = Field(
        [],
        description="with genes: the Variant_Classification values that count; default: those that change the protein",
    )

    @model_validator(mode="before")
    @classmethod
    def _shorter(cls, values: Any) -> Any:
        """A class of a single cell may be written without brackets; the task follows from whether there are classes."""
        if not isinstance(values, dict):
            return values
        classes = values.get("classes")
        if isinstance(classes, dict):
            classes = {  # YAML reads a class named 0 as a number
                name if isinstance(name, bool | str) else str(name): cells if isinstance(cells, list) else [cells]
                for name, cells in classes.items()
            }
            values = values | {"classes": classes}
        return values if values.get("task") else values | {"task": "multiclass" if classes else "binary"}

    @model_validator(mode="after")
    def _of_one_kind(self) -> Target:
        fields = type(self).model_fields
        given = [k for k in ("positive", "negative", "genes") if getattr(self, k) != fields[k].default]
        kinds = ["classes"] * bool(self.classes) + ["above"] * (self.above is not None)
        if kinds and len(kinds + given) > 1:
            raise ValueError(f"{kinds[0]} takes the place of {(kinds[1:] + given)[0]}; give one of them")
        if len(self.classes) == 1:
            raise ValueError("classes needs two classes at least")
        for name, cells in self.classes.items():
            if name in RESERVED_CLASSES:
                raise ValueError(f"no class can be called {name!r}, which tables say of targets with two classes")
            if name.endswith((".L", ".R")):
                raise ValueError(f"class {name!r}: names ending in .L and .R are those of sides; call it otherwise")
            if not cells:
                raise ValueError(f"class {name!r} has no cells; list those that mean it")
        return self

    @model_validator(mode="after")
    def _two_sides(self) -> Target:
        if self.genes and self.left:
            raise ValueError("genes are those of the patient; give genes, or left and right")
        if (self.hotspots or self.variants) and not self.genes:
            raise ValueError("hotspots and variants go with genes")
        if bool(self.left) != bool(self.right):
            raise ValueError("left and right go together, one column each")
        if self.left and self.column:
            raise ValueError("give column, or left and right; not both")
        return self


class Cohort(Section):
    """Where scans and labels lie and how they are joined."""

    scans: list[str] = Field(
        [], description="folders or files, relative to the study file; none where all that is learned from is a table"
    )
    labels: str | list[str] = Field(
        "",
        description="CSV, TSV or Excel table, one row per patient, or per side with side_column; of several tables, "
        "cells that disagree are an error",
    )
    mutations: str | None = Field(
        None, description="MAF, cBioPortal data_mutations.txt or annotated VCF, or a folder of them; for targets.genes"
    )
    sequenced: str | None = Field(
        None,
        description="file with the ids of sequenced patients or samples: without mutation they are 0, all others "
        "unknown; default: whoever has a row in `mutations`",
    )
    sequenced_column: str | None = Field(
        None, description="in place of `sequenced`: a column of the label table that says 1 or yes"
    )
    sheet: str | None = Field(None, description="sheet of an Excel table; default: the first")
    header_rows: int | None = Field(
        None, ge=1, le=5, description="rows of the table's header; default: found by itself"
    )
    unknown: list[LabelValue] = Field(
        [], description="cells of the label table that mean 'not known', beside the usual spellings; e.g. NP"
    )
    patient_column: str = "patient_id"
    label_id_pattern: Pattern | None = Field(
        None,
        description="group 1 is the patient id in a cell of patient_column; rows where it is not found are left out",
    )
    patient_pattern: Pattern | None = Field(
        None, description="group 1 is the patient id in a scan's path; needed for NIfTI, which carries none"
    )
    side_column: str | None = Field(
        None, description="column of the label table with the side that a row is about: L, R, left, Right breast, both"
    )
    site_column: str | None = Field(None, description="column of the label table: institution, for splits by site")
    clinical: list[str] = Field(
        [], description="columns of numbers, or of sexes, kept for clinical baselines, e.g. age"
    )
    decimal: Literal[".", ","] | None = Field(
        None,
        description="what stands before decimals in columns of numbers, where 1,200 or 1.200 may be read in two ways",
    )
    include: dict[str, Pattern] = Field({}, description="series are kept only where these patterns are found")
    exclude: dict[str, Pattern] = Field({}, description="series are left out where one of these patterns is found")
    exclude_file: str | None = Field(None, description="CSV with patient_id or series_id and reason")
    same_person: list[str] = Field(
        [],
        description="patient ids whose scans differ in sex or birth date although they are of one person; "
        "without it such scans are left out",
    )
    pseudonyms: str | None = Field(
        None, description="key file (CSV: patient_id, pseudonym; made if missing); only pseudonyms are then shown"
    )
    roles: dict[Name, Role] = Field(
        {}, description="which series of an exam are read; one at least where there are scans"
    )
    dates: Dates | None = Field(None, description="which exams are of the right time")
    min_lesion: MinLesion | None = Field(None, description="exams with a smaller lesion are left out")
    exam: Literal["study", "day"] = Field(
        "study", description="what a DICOM exam is: a study, or all studies of a patient on one day (UPENN-GBM)"
    )
    exams: Literal["all", "first", "nearest"] = Field(
        "all", description="of a patient's exams: all, the first, or the one nearest to dates.reference_column"
    )

    @field_validator("labels", mode="before")
    @classmethod
    def _no_labels(cls, value: Any) -> Any:
        return "" if value is None else value  # the key left there, and its file taken out

    @model_validator(mode="after")
    def _consistent(self) -> Cohort:
        if self.scans and not self.roles:
            raise ValueError("roles is missing: which series of an exam are read")
        if self.roles and not self.scans:
            raise ValueError("scans is missing: folders or files; roles are read from them")
        if not self.labels and not self.mutations:
            raise ValueError("labels is missing: the table of what is to be predicted (or mutations, for genes)")
        if self.sequenced and self.sequenced_column:
            raise ValueError("give sequenced or sequenced_column, not both")
        if (self.sequenced or self.sequenced_column) and not self.mutations:
            raise ValueError("sequenced and sequenced_column go with mutations")
        needs = {"side_column", "site_column", "clinical", "sequenced_column"} if not self.labels else set()
        for key in sorted(k for k in needs if getattr(self, k)):
            raise ValueError(f"{key} is a column of the label table, and there are no labels")
        if self.exams == "nearest" and not (self.dates and self.dates.reference_column):
            raise ValueError("exams: nearest needs dates.reference_column, the day that it is near to")
        images = [n for n, r in self.roles.items() if r.kind == "intensity"]
        for name, role in self.roles.items():
            if role.boxes and role.of not in images:
                raise ValueError(f"roles.{name}.of: {unknown_name(str(role.of), images)} It takes an image.")
            if role.boxes and self.pseudonyms:
                raise ValueError(f"roles.{name}: boxes cannot be read in a study with pseudonyms; write masks instead")
        if self.min_lesion:
            if self.min_lesion.role in self.roles and self.roles[self.min_lesion.role].boxes:
                raise ValueError("min_lesion.role: boxes are no outline, so they do not measure a lesion")
            masks = [n for n, r in self.roles.items() if r.kind == "label"]
            if self.min_lesion.role not in masks:
                raise ValueError(
                    f"min_lesion.role: {unknown_name(self.min_lesion.role, masks)} It takes a kind: label."
                )
        return self

    @property
    def mask_threshold(self) -> float | None:
        """Threshold of the role that `min_lesion` measures."""
        return self.roles[self.min_lesion.role].threshold if self.min_lesion else None


def label_files(cohort: Cohort) -> list[str]:
    """The label tables, however they are written; none where all targets are read from mutations."""
    files = [cohort.labels] if isinstance(cohort.labels, str) else cohort.labels
    return [file for file in files if file]
