"""`store verify`: every kind of damage is named, and pruning deletes only what nobody needs."""

from __future__ import annotations

import pytest
from tests.integration.road import edit, nifti_study, shell

from scan2gene.core.errors import RunError
from scan2gene.preprocess.verify import verify_store

pytestmark = pytest.mark.usefixtures("no_pictures")


@pytest.fixture
def run(tmp_path, monkeypatch):
    study = nifti_study(tmp_path, 12)
    assert shell(monkeypatch, "preprocess", study, "-o", tmp_path / "run") == ""
    return tmp_path / "run"


def volumes(run):
    return sorted(run.glob("store/*/[!.]*.nii"))


def test_a_whole_store_has_no_findings(run, monkeypatch, capsys):
    assert verify_store(run) == []
    assert shell(monkeypatch, "store", "verify", run) == ""
    assert "every stored volume is as it was written" in capsys.readouterr().out


def spoil(how: str, path) -> None:
    content = bytearray(path.read_bytes())
    if how == "flipped":
        content[-7] ^= 4
    elif how == "cut":
        content = content[:-1]
    elif how == "header":  # as many bytes as before, in another shape
        content[42:46] = (4).to_bytes(2, "little") + (16).to_bytes(2, "little")
    path.write_bytes(content)
    if how == "gone":
        path.unlink()


@pytest.mark.parametrize(
    ("how", "what", "why"),
    [
        ("flipped", "damaged", "its bytes are not those that were written"),
        ("cut", "damaged", "its size is not what its header says"),
        ("header", "damaged", "is 4x16x8 float32, the manifest says 8x8x8 float32"),
        ("gone", "missing", "the manifest names it"),
    ],
)
def test_each_damage_is_named_ends_with_status_1_and_is_mended_by_running_again(
    run, monkeypatch, capsys, how, what, why
):
    victim = volumes(run)[3]
    whole = victim.read_bytes()
    spoil(how, victim)
    assert [(f.what, f.path, f.why) for f in verify_store(run)] == [(what, victim, why)]
    message = shell(monkeypatch, "store", "verify", run, "--prune")
    assert "1 of the store's files are not as written" in message
    assert f"{what:<13} {victim}: {why}" in capsys.readouterr().out
    assert victim.exists() == (how != "gone")  # pruning leaves it to the reader
    victim.unlink(missing_ok=True)
    assert shell(monkeypatch, "preprocess", run.parent / "study.yaml", "-o", run) == ""
    assert victim.read_bytes() == whole
    assert verify_store(run) == []


def test_damage_does_not_become_the_truth_when_the_store_is_built_again(run, monkeypatch):
    victim = volumes(run)[0]
    spoil("flipped", victim)
    (run.parent / "scans" / "P005" / "t1.nii.gz").unlink()  # another cohort: the manifest is written anew
    (run / "split.csv").unlink()
    assert shell(monkeypatch, "preprocess", run.parent / "study.yaml", "-o", run) == ""
    assert [(f.what, f.path) for f in verify_store(run) if f.wrong] == [("damaged", victim)]


def test_what_nobody_needs_is_named_and_pruned_and_the_rest_stays(run, monkeypatch, capsys):
    kept = {p: p.read_bytes() for p in run.glob("store/*/*") if p.is_file()}
    store = volumes(run)[0].parent
    (store / "P000_t1_0ld0ld00.nii").write_bytes(b"of a scan that has changed")
    (store / ".tmp-12345678-P001.nii").write_bytes(b"killed")
    (run / "store" / "deadbeef").mkdir()
    (run / "store" / "deadbeef" / "P000.nii").write_bytes(b"of another recipe")
    assert sorted((f.what, f.path.name) for f in verify_store(run)) == [
        ("stale", "deadbeef"),
        ("unreferenced", ".tmp-12345678-P001.nii"),
        ("unreferenced", "P000_t1_0ld0ld00.nii"),
    ]
    assert len(list(store.iterdir())) > len(kept)  # nothing is deleted unasked
    assert shell(monkeypatch, "store", "verify", run, "--prune") == ""
    assert capsys.readouterr().out.count("(deleted)") == 3
    assert {p: p.read_bytes() for p in run.glob("store/*/*") if p.is_file()} == kept
    assert verify_store(run) == []


def test_a_changed_recipe_makes_the_old_store_stale(run, monkeypatch):
    old = volumes(run)[0].parent
    study = run.parent / "study.yaml"
    edit(study, preprocess=[{"name": "crop_or_pad", "options": {"shape": [9, 8, 8]}}])
    assert shell(monkeypatch, "preprocess", study, "-o", run) == ""
    assert [(f.what, f.path) for f in verify_store(run)] == [("stale", old)]


def test_an_unfinished_store_is_wrong_but_never_pruned(run):
    (volumes(run)[0].parent / "manifest.csv").unlink()
    before = volumes(run)
    assert [f.what for f in verify_store(run, prune=True)] == ["unfinished"]
    assert volumes(run) == before


def test_a_folder_without_a_store_is_refused(tmp_path):
    with pytest.raises(RunError, match="no store"):
        verify_store(tmp_path)
