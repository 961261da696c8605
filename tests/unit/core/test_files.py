"""Files are whole or absent, and hashes name contents."""

from __future__ import annotations

import hashlib
import json

import numpy as np
import pytest

from scan2gene.core.files import atomic_path, file_hash, value_hash, write_json, write_text


def test_a_failed_write_leaves_nothing_behind(tmp_path):
    with pytest.raises(RuntimeError), atomic_path(tmp_path / "new" / "table.csv") as temporary:
        temporary.write_text("half a ta")
        raise RuntimeError
    assert list((tmp_path / "new").iterdir()) == []


def test_a_failed_write_leaves_the_old_file_as_it_was(tmp_path):
    path = tmp_path / "table.csv"
    write_text(path, "old")
    with pytest.raises(RuntimeError), atomic_path(path) as temporary:
        temporary.write_text("half a ta")
        raise RuntimeError
    assert [p.name for p in tmp_path.iterdir()] == ["table.csv"]
    assert path.read_text() == "old"


def test_nothing_stands_under_the_final_name_before_the_block_ends(tmp_path):
    path = tmp_path / "volume.nii.gz"
    with atomic_path(path) as temporary:
        temporary.write_bytes(b"whole")
        assert not path.exists()
        assert temporary.name.endswith(".nii.gz")  # writers choose their format by it
        assert temporary.parent == tmp_path  # a rename across file systems would not be atomic
    assert path.read_bytes() == b"whole"


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), np.float64("nan"), np.float32("nan")])
def test_json_without_nan(tmp_path, bad):
    with pytest.raises(ValueError, match="JSON compliant"):
        write_json(tmp_path / "a.json", {"auroc": bad})
    assert list(tmp_path.iterdir()) == []


def test_numpy_numbers_come_back_as_numbers(tmp_path):
    write_json(tmp_path / "a.json", {"n": np.int64(3), "auroc": np.float32(0.5), "ok": np.bool_(True), "at": tmp_path})
    values = json.loads((tmp_path / "a.json").read_text())
    assert values == {"n": 3, "auroc": 0.5, "ok": True, "at": str(tmp_path)}


def test_text_is_utf8_whatever_the_locale(tmp_path):
    write_text(tmp_path / "a.txt", "Kühn, 4 µm")
    assert (tmp_path / "a.txt").read_bytes() == "Kühn, 4 µm".encode()


def test_file_hash_is_the_head_of_sha256(tmp_path):
    (tmp_path / "a").write_bytes(b"scan" * 100_000)
    assert file_hash(tmp_path / "a") == hashlib.sha256(b"scan" * 100_000).hexdigest()[:16]


def test_value_hash_ignores_the_order_of_keys_and_nothing_else():
    assert value_hash({"a": 1, "b": [1, 2]}) == value_hash({"b": [1, 2], "a": 1})
    others = [{"a": 1, "b": [2, 1]}, {"a": 1, "b": ["1", 2]}, {"a": 1}, {"a": None, "b": [1, 2]}]
    assert len({value_hash(v) for v in [*others, {"a": 1, "b": [1, 2]}]}) == 5
