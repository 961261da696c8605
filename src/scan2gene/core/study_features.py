"""The study file's features: tables with numbers about every exam, computed from its images or brought along."""

from __future__ import annotations

from pydantic import Field, model_validator

from scan2gene.core.section import Options, Plugin, Section


class Features(Section):
    """One table of features: `name` computes it from the images, `table` reads it."""

    name: str = Field("", description="lesion, radiomics, subregions or encoder; what is computed from the images")
    options: Options = Field({}, description="of `name`")
    preprocess: list[Plugin] = Field(
        [], description="steps before `name`; intensities stay those of the scan; default: planned from the cohort"
    )
    table: str | None = Field(
        None,
        description="in place of `name`: CSV, TSV, Excel or Parquet with a row per patient, or .npz with patient_id and"
        " vector; relative to the study file",
    )
    patient_column: str = Field("patient_id", description="of `table`")
    columns: list[str] = Field([], description="of `table`; default: every column of numbers")

    @model_validator(mode="after")
    def _one_source(self) -> Features:
        if bool(self.name) == bool(self.table):
            raise ValueError("features need one of name (computed from the images) and table (a file)")
        if self.table and (self.options or self.preprocess):
            raise ValueError("options and preprocess go with name; a table is taken as it is")
        if self.name and self.columns:
            raise ValueError("columns goes with table")
        return self
