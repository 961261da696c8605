"""Folders, archives and links as people have them, and as an attacker would make them."""

from __future__ import annotations

import gzip
import os
import shutil
import subprocess
import sys
import zipfile

import nibabel as nib
import numpy as np
import pytest

from scan2gene.core.errors import ScanError
from scan2gene.imaging.index import fingerprint, index, read_volume
from scan2gene.imaging.sources import MAX_UNPACKED_BYTES, find


def names(folder) -> list[str]:
    return [s.path[len(str(folder)) + 1 :] for s in find([folder])]


@pytest.fixture
def archive(write_series, tmp_path):
    """A zip with a DICOM series in a folder, a NIfTI, a gzipped NIfTI and a text."""
    folder = write_series()
    rng = np.random.default_rng(0)
    image = nib.Nifti1Image(rng.normal(size=(5, 6, 7)).astype(np.float32), np.diag([1, 2, 3, 1]))
    nib.save(image, tmp_path / "t1.nii")
    nib.save(image, tmp_path / "t1.nii.gz")
    path = tmp_path / "zips" / "exam.zip"
    path.parent.mkdir()
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as stream:
        for file in sorted(folder.iterdir()):
            stream.write(file, f"P1/dicom/{file.name}")
        stream.write(tmp_path / "t1.nii", "P2/t1.nii")
        stream.write(tmp_path / "t1.nii.gz", "P2/packed.nii.gz")
        stream.writestr("readme.txt", "hello")
    return path


def test_an_archive_is_read_like_a_folder(archive, tmp_path):
    table = index(archive.parent)
    assert table["status"].tolist() == ["ok"] * 3
    assert sorted(table["shape"]) == ["4x6x5", "5x6x7", "5x6x7"]
    by_format = table.set_index("path")
    for path, row in by_format.iterrows():
        volume = read_volume(path)
        if row["format"] == "dicom":
            np.testing.assert_array_equal(volume.array, read_volume(tmp_path / "scan").array)
        else:
            np.testing.assert_array_equal(volume.array, np.asarray(nib.load(tmp_path / "t1.nii").dataobj))
    assert len(fingerprint([table["path"][0]])) == 5  # the files of that row only
    assert read_volume(f"{archive}/P1").shape == (4, 6, 5)


def test_a_path_into_an_archive_that_is_not_there_is_named(archive):
    with pytest.raises(ScanError, match="holds no P9"):
        read_volume(f"{archive}/P9")


def test_gzipped_dicom_is_read(write_series):
    folder = write_series()
    before = read_volume(folder).array
    for path in list(folder.iterdir()):
        path.with_name(path.name + ".gz").write_bytes(gzip.compress(path.read_bytes()))
        path.unlink()
    (row,) = index(folder).to_dict("records")
    assert row["status"] == "ok"
    np.testing.assert_array_equal(read_volume(row["path"]).array, before)


def test_dicom_without_preamble_and_suffix_is_read(write_series):
    folder = write_series()
    before = read_volume(folder).array
    for path in list(folder.iterdir()):
        data = path.read_bytes()[132:]
        path.with_suffix("").write_bytes(data)
        path.unlink()
    (row,) = index(folder).to_dict("records")
    assert row["status"] == "ok"
    np.testing.assert_array_equal(read_volume(row["path"]).array, before)


def written(path, *members: tuple[str, bytes], method=zipfile.ZIP_DEFLATED):
    with zipfile.ZipFile(path, "w", method) as stream:
        for name, data in members:
            stream.writestr(name, data)
    return path


def test_a_member_that_leads_out_is_refused_and_nothing_is_written(tmp_path):
    inside = tmp_path / "in"
    inside.mkdir()
    written(inside / "a.zip", ("../../evil.dcm", b"x" * 200), ("/etc/evil.dcm", b"x" * 200))
    table = index(inside)
    assert table["reason"].str.contains("leads out of the archive").all()
    assert len(table) == 2
    assert sorted(p.name for p in tmp_path.rglob("*")) == ["a.zip", "in"]


def test_a_zip_bomb_is_refused_unread(tmp_path):
    path = written(tmp_path / "bomb.zip", ("scan.dcm", b"\0" * (256 << 20)))
    assert path.stat().st_size < 1 << 20
    import resource

    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    (row,) = index(tmp_path).to_dict("records")
    assert "would unpack to" in row["reason"]
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 64 << 10  # KiB


def test_a_gzip_bomb_is_read_up_to_a_limit(tmp_path):
    (tmp_path / "scan.dcm.gz").write_bytes(gzip.compress(b"\0" * (64 << 20)))
    (row,) = index(tmp_path).to_dict("records")
    assert "zeros only" in row["reason"]
    assert MAX_UNPACKED_BYTES < 1 << 32


def test_other_odd_archives_have_their_reason(tmp_path):
    inner = written(tmp_path / "inner", ("a.dcm", b"x"))
    written(tmp_path / "outer.zip", ("inner.zip", inner.read_bytes()))
    (tmp_path / "cut.zip").write_bytes((tmp_path / "outer.zip").read_bytes()[:-30])
    (tmp_path / "text.zip").write_text("not a zip")
    (tmp_path / "empty.zip").write_bytes(b"")
    inner.unlink()
    table = index(tmp_path).set_index("path")["reason"]
    assert "archive inside an archive" in table[str(tmp_path / "outer.zip/inner.zip")]
    for name in ("cut.zip", "text.zip", "empty.zip"):
        assert "not a readable zip archive" in table[str(tmp_path / name)]


def test_a_member_with_a_password_has_its_reason(tmp_path):
    path = written(tmp_path / "a.zip", ("scan.dcm", b"secret data" * 40))
    data = bytearray(path.read_bytes())
    for mark, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):  # set the flag "encrypted" in both headers
        data[data.index(mark) + offset] |= 1
    path.write_bytes(bytes(data))
    (row,) = index(tmp_path).to_dict("records")
    assert "password" in row["reason"]


@pytest.mark.parametrize(("method", "word"), [(9, "Deflate64"), (93, "Zstandard"), (77, "77")])
@pytest.mark.parametrize("name", ["scan.dcm", "t1.nii", "t1.nii.gz"])
def test_a_method_of_compression_that_is_not_supported_is_named(tmp_path, name, method, word):
    path = written(tmp_path / "a.zip", (name, b"data" * 400))
    data = bytearray(path.read_bytes())
    for mark, offset in ((b"PK\x03\x04", 8), (b"PK\x01\x02", 10)):
        data[data.index(mark) + offset] = method
    path.write_bytes(bytes(data))
    (row,) = index(tmp_path).to_dict("records")
    assert word in row["reason"]
    assert "password" not in row["reason"]


def test_backslashes_in_an_archive_are_folders(write_series, tmp_path):
    folder = write_series()
    path = tmp_path / "zips" / "windows.zip"
    path.parent.mkdir()
    with zipfile.ZipFile(path, "w") as stream:
        for file in sorted(folder.iterdir()):
            stream.writestr(f"P1\\t1\\{file.name}", file.read_bytes())
        stream.writestr("P1\\t2\\", "")
        stream.writestr("..\\evil.dcm", "x" * 200)
    table = index(path)
    assert [p.split("#")[0][len(str(path)) + 1 :] for p in table["path"]] == ["../evil.dcm", "P1/t1"]
    assert table["status"].tolist() == ["rejected", "ok"]
    np.testing.assert_array_equal(read_volume(table["path"][1]).array, read_volume(folder).array)
    assert read_volume(f"{path}/P1").shape == (4, 6, 5)


LIMITED = """
import resource, sys
limit = int(sys.argv[1]) << 20
resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
import nibabel, pandas, pydicom, scan2gene.imaging.index
def peak():
    return int(open("/proc/self/status").read().split("VmHWM:")[1].split()[0]) >> 10
before = peak()
table = scan2gene.index(sys.argv[2])
for path in table.loc[table["status"] == "ok", "path"] if sys.argv[3] == "read" else ():
    scan2gene.read_volume(path)
print(table["status"].tolist(), peak() - before, table["reason"].tolist())
"""


def limited(folder, megabytes: int, read: str = "") -> str:
    """What a process with so little address space finds."""
    done = subprocess.run(
        [sys.executable, "-c", LIMITED, str(megabytes), str(folder), read], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


def test_a_whole_exam_is_read_in_little_address_space(write_series, tmp_path):
    folder = write_series(n=12)
    for path in sorted(folder.iterdir())[::2]:
        (folder / f"{path.name}.gz").write_bytes(gzip.compress(path.read_bytes()))
        path.unlink()
    with zipfile.ZipFile(tmp_path / "scan" / "copy.zip", "w", zipfile.ZIP_DEFLATED) as stream:
        nib.save(nib.Nifti1Image(np.zeros((8, 9, 10), np.float32), np.eye(4)), tmp_path / "t1.nii.gz")
        stream.write(tmp_path / "t1.nii.gz", "t1.nii.gz")
    assert limited(tmp_path, 3500, "read").startswith("['ok', 'ok', 'ok']")


def test_small_files_that_unpack_to_much_are_read_in_pieces(tmp_path):
    header = nib.Nifti1Image(np.zeros((1, 1, 1), np.float32), np.eye(4)).header
    header.set_data_shape((512, 512, 100))
    header["vox_offset"], header["magic"] = 352, b"n+1"
    blank = gzip.compress(header.binaryblock + bytes(4 + 512 * 512 * 100 * 4), 1)  # 105 MB
    for n in range(2):
        (tmp_path / f"{n}.nii.gz").write_bytes(blank)
    written(tmp_path / "a.zip", ("b.nii.gz", blank))
    said = limited(tmp_path, 3500)
    assert said.startswith("['ok', 'ok', 'ok']")
    assert int(said.split("]")[1].split()[0]) < 80  # MB, less than one of them


def test_a_member_with_damaged_bytes_has_its_reason(archive):
    data = bytearray(archive.read_bytes())
    with zipfile.ZipFile(archive) as stream:
        info = stream.getinfo("P1/dicom/002.dcm")
    data[info.header_offset + 60 : info.header_offset + 160] = b"\xff" * 100
    archive.write_bytes(bytes(data))
    table = index(archive)
    bad = table[table["path"].str.endswith("002.dcm")]
    assert "damaged" in bad["reason"].iloc[0]
    assert table["reason"].str.contains("a slice is missing").sum() == 1


def test_links_are_followed_once_and_loops_end(write_series, tmp_path):
    folder = write_series()
    (folder / "again").symlink_to(folder, target_is_directory=True)
    (folder / "up").symlink_to(tmp_path, target_is_directory=True)
    (tmp_path / "other").mkdir()
    shutil.copy(folder / "000.dcm", tmp_path / "other" / "copy.dcm")
    (folder / "gone.dcm").symlink_to(tmp_path / "nowhere.dcm")
    found = names(folder)
    assert len(found) == len(set(found))
    table = index(folder)
    assert table.loc[table["status"] == "ok", "shape"].tolist() == ["4x6x5"]
    assert table.loc[table["path"].str.endswith("gone.dcm"), "reason"].str.contains("No such file").all()


def test_a_pipe_does_not_block(write_series):
    folder = write_series()
    os.mkfifo(folder / "pipe.dcm")
    assert len(index(folder)) == 1


def test_run_directories_below_the_scans_are_passed_over(write_series):
    folder = write_series()
    store = folder / "runs" / "mine"
    (store / "stages").mkdir(parents=True)
    (store / "study.json").write_text("{}")
    nib.save(nib.Nifti1Image(np.ones((5, 5, 5)), np.eye(4)), store / "a.nii")
    assert len(index(folder)) == 1


def test_what_may_not_be_read_has_its_reason(write_series, tmp_path):
    """As an ordinary user, in a process of its own: root may read everything."""
    folder = write_series()
    (folder / "locked").mkdir()
    shutil.copy(folder / "000.dcm", folder / "locked" / "a.dcm")
    (folder / "003.dcm").chmod(0)
    (folder / "locked").chmod(0)
    for path in (tmp_path, *tmp_path.parents):
        if str(path).startswith("/tmp/pytest"):
            path.chmod(0o755)
    code = (
        "import os, sys\n"
        "from scan2gene.imaging.index import index\n"
        f"index({str(folder)!r})\n"  # every import is made while this user may
        "if os.geteuid() == 0: os.setgroups([]); os.setgid(65534); os.setuid(65534)\n"
        f"print('\\n'.join(index({str(folder)!r})['reason']))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    (folder / "locked").chmod(0o755)
    assert done.returncode == 0, done.stderr
    assert "no permission" in done.stdout
    assert "a folder that cannot be read" in done.stdout
    assert "a slice is missing" in done.stdout


def test_an_unfinished_download_has_its_reason(write_series):
    folder = write_series()
    for name in ("001.dcm.part", "whole.ZIP.crdownload", ".hidden.part", "half.tmp"):
        (folder / name).write_bytes(b"half")
    found = [(s.name, s.trouble) for s in find([folder]) if s.trouble]
    assert [name for name, _ in found] == ["001.dcm.part", "whole.zip.crdownload"]
    assert {why for _, why in found} == {"an unfinished download: fetch it again, or delete it"}


def test_the_fingerprint_of_a_row_sees_its_own_files_only(write_series, tmp_path):
    folder = write_series()
    (row,) = index(folder).to_dict("records")
    before = fingerprint([row["path"]])
    assert len(before) == 5
    (folder / "labels.csv").write_text("patient_id,gene\n")
    assert fingerprint([row["path"]]) == before
    (folder / "001.dcm").touch()
    assert fingerprint([row["path"]]) != before


def test_a_name_that_is_not_utf8_has_its_reason(write_series, tmp_path):
    folder = write_series()
    os.rename(os.fsencode(folder / "004.dcm"), os.fsencode(folder) + b"/Sch\xe4del.dcm")  # noqa: PTH104  bytes
    table = index(folder, tmp_path / "progress").set_index("status")
    assert table.loc["rejected", "path"].endswith("Sch\\xe4del.dcm")
    assert "not in UTF-8" in table.loc["rejected", "reason"]
    assert table.loc["ok", "shape"] == "4x6x4"


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_members_of_one_name_are_refused(write_series, tmp_path):
    files = sorted(write_series().iterdir())
    members = [("same.dcm" if n < 2 else path.name, path.read_bytes()) for n, path in enumerate(files)]
    path = written(tmp_path / "a.zip", *members)
    table = index(path)
    assert table["status"].tolist() == ["ok", "rejected"]
    assert table["shape"][0] == "4x6x3"
    assert "occurs twice" in table["reason"][1]


@pytest.mark.parametrize("name", ["mask.nii", "mask.nii.gz"])
def test_a_nearly_empty_mask_is_no_bomb(tmp_path, name):
    mask = np.zeros((300, 300, 150))
    mask[100:103, 100:103, 70] = 1
    nib.save(nib.Nifti1Image(mask, np.eye(4)), tmp_path / "mask.nii")
    data = (tmp_path / "mask.nii").read_bytes()
    (tmp_path / "mask.nii").unlink()
    if name.endswith(".gz"):
        path = tmp_path / name
        path.write_bytes(gzip.compress(data))
    else:
        path = written(tmp_path / "a.zip", (name, data))
    assert len(data) > 1000 * path.stat().st_size
    (row,) = index(path).to_dict("records")
    assert row["status"] == "ok"
    assert read_volume(row["path"], "label").array.sum() == 9


@pytest.mark.parametrize("name", ["B #1.ZIP", "x.zip/in.zip"])
def test_names_as_people_give_them(write_series, tmp_path, name):
    folder = write_series()
    path = tmp_path / "odd" / name
    path.parent.mkdir(parents=True)
    with zipfile.ZipFile(path, "w") as stream:
        for n, file in enumerate(sorted(folder.iterdir())):
            packed = n % 2 == 1
            data = file.read_bytes()
            stream.writestr(f"Päd #3/ü\\{file.name}{'.gz' * packed}", gzip.compress(data) if packed else data)
    table = index(tmp_path / "odd")
    assert table["status"].tolist() == ["ok"]
    np.testing.assert_array_equal(read_volume(table["path"][0]).array, read_volume(folder).array)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
def test_forked_processes_read_one_archive_at_once(tmp_path):
    rng = np.random.default_rng(0)
    path = written(tmp_path / "a.zip", *((f"{n}.bin", rng.bytes(300_000)) for n in range(20)))
    code = (
        "import os, sys\n"
        "from scan2gene.imaging.sources import find\n"
        f"sources = list(find([{str(path)!r}]))\n"
        "whole = [source.read() for source in sources]\n"  # the archive is open when the processes part
        "children = []\n"
        "for _ in range(4):\n"
        "    children.append(os.fork())\n"
        "    if not children[-1]:\n"
        "        same = False\n"
        "        try: same = [source.read() for source in sources * 3] == whole * 3\n"
        "        finally: os._exit(0 if same else 1)\n"
        "sys.exit(sum(os.waitpid(child, 0)[1] for child in children) > 0)\n"
    )
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
