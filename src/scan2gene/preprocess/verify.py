"""Whether a run's store is still as it was written, and what in it nobody needs."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from scan2gene.core.errors import RunError
from scan2gene.core.files import file_hash
from scan2gene.core.rundir import RunDirectory, StoreDirectory
from scan2gene.core.tables import read_csv
from scan2gene.preprocess.recipe import recipe_hash
from scan2gene.preprocess.store import MANIFEST_COLUMNS, is_whole
from scan2gene.tasks.run_config import resolved


class Finding(NamedTuple):
    """One file or folder that is not as it should be."""

    what: str  # "missing", "damaged", "unfinished": wrong; "stale", "unreferenced": only in the way
    path: Path
    why: str

    @property
    def wrong(self) -> bool:
        """True where a run would lack or misread something."""
        return self.what in ("missing", "damaged", "unfinished")


def verify_store(run_dir: Path, prune: bool = False) -> list[Finding]:
    """Compare every stored volume with its manifest, and every manifest with the study.

    Args:
        run_dir: A run directory.
        prune: Delete what is stale or unreferenced; nothing else is touched.

    Returns:
        Findings, those that are wrong first; empty if all is well.

    Raises:
        RunError: There is no store, a manifest carries no checksums, or a run is under way.
    """
    run = RunDirectory(run_dir)
    run.check_format()
    stores = run.stores()
    if not stores:
        raise RunError(f"there is no store in {run_dir}. `scan2gene preprocess STUDY -o {run_dir}` makes one.")
    wanted = _wanted_stores(run)
    with run.exclusive():
        findings = [f for store in stores for f in _findings(store, wanted)]
        if prune:
            for finding in findings:
                if not finding.wrong:
                    _delete(finding.path)
    return sorted(findings, key=lambda f: not f.wrong)


def _wanted_stores(run: RunDirectory) -> set[str] | None:
    """Names of the stores that the run's study asks for, None where that cannot be known."""
    try:
        return {recipe_hash(config.recipe) for config in resolved(run.study())}
    except (RunError, ValueError, KeyError):  # no study, or a step of another version
        return None


def _findings(store: StoreDirectory, wanted: set[str] | None) -> Iterator[Finding]:
    folder = store.path
    if wanted is not None and store.name not in wanted:
        yield Finding("stale", folder, "made by other steps, options or versions than the study and this version have")
        return
    for path in sorted(folder.glob(".tmp-*")):
        yield Finding("unreferenced", path, "left by a run that was killed")
    if not store.manifest.exists():
        yield Finding("unfinished", folder, "has no manifest; `scan2gene preprocess` goes on with it")
        return
    manifest = read_csv(store.manifest.path, MANIFEST_COLUMNS)
    listed = manifest[manifest["status"] == "ok"]
    for row in listed.itertuples():
        yield from _damage(folder / str(row.file), str(row.shape), str(row.dtype), str(row.checksum))
    for path in sorted(set(folder.glob("[!.]*.nii")) - {folder / f for f in listed["file"]}):
        yield Finding("unreferenced", path, "no row of the manifest names it")


def _damage(path: Path, shape: str, dtype: str, checksum: str) -> Iterator[Finding]:
    import nibabel as nib

    if not path.exists():
        yield Finding("missing", path, "the manifest names it")
        return
    if not is_whole(path):
        yield Finding("damaged", path, "its size is not what its header says")
        return
    header = nib.load(path).header
    found = "x".join(str(n) for n in header.get_data_shape()), str(header.get_data_dtype())
    if found != (shape, dtype):
        yield Finding("damaged", path, f"is {found[0]} {found[1]}, the manifest says {shape} {dtype}")
    elif file_hash(path) != checksum:
        yield Finding("damaged", path, "its bytes are not those that were written")


def _delete(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
