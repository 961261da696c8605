"""Tables of features as people have them, read to the right numbers or refused in one sentence."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from scan2gene.cohorts.feature_table import copies_of_labels, read_feature_table, row_numbers
from scan2gene.cohorts.flow import Flow
from scan2gene.core.errors import CohortError
from scan2gene.core.study_features import Features

NUMBERS = pd.DataFrame({"a": [1.5, 2.5, 3.5], "b": [10.0, np.nan, 30.0]}, index=["P1", "P2", "P3"])


def read(path, left_out=(), decimal=None, flow=None, **keys) -> pd.DataFrame:
    return read_feature_table(Features(table=str(path), **keys), "f", left_out, decimal, flow)


def write(path, text: str):
    path.write_text(text)
    return path


def same(found: pd.DataFrame, expected: pd.DataFrame) -> bool:
    pd.testing.assert_frame_equal(found, expected, check_names=False, check_index_type=False, check_column_type=False)
    return True


@pytest.mark.parametrize("kind", ["csv", "semicolon", "tsv", "xlsx", "parquet", "indexed", "npz", "vectors"])
def test_every_kind_of_file_gives_the_same_numbers(tmp_path, kind):
    table, path = NUMBERS.rename_axis("patient_id").reset_index(), tmp_path / f"t.{kind}"
    expected = NUMBERS if kind not in ("npz", "vectors") else NUMBERS.set_axis(["v0", "v1"], axis=1)
    if kind == "csv":
        table.to_csv(path, index=False)
    elif kind == "semicolon":
        table.to_csv(path := tmp_path / "t.csv", index=False, sep=";", decimal=",")
    elif kind == "tsv":
        table.to_csv(path, index=False, sep="\t")
    elif kind == "xlsx":
        table.to_excel(path, index=False)
    elif kind in ("parquet", "indexed"):
        path = tmp_path / "t.parquet"
        (table if kind == "parquet" else table.set_index("patient_id")).to_parquet(path)
    elif kind == "npz":
        np.savez(path, patient_id=np.array(NUMBERS.index, str), vector=NUMBERS.to_numpy())
    else:
        path = tmp_path / "t.parquet"
        pd.DataFrame({"patient_id": NUMBERS.index, "vector": NUMBERS.to_numpy().tolist()}).to_parquet(path)
    assert same(read(path), expected)


def test_a_comma_before_decimals_in_one_column_settles_the_whole_table(tmp_path):
    path = write(tmp_path / "t.csv", "patient_id;a;b;c\nP1;1,5;1,200;1.200,5\nP2;2,5;2,345;3\n")
    expected = pd.DataFrame({"a": [1.5, 2.5], "b": [1.2, 2.345], "c": [1200.5, 3.0]}, index=["P1", "P2"])
    assert same(read(path), expected)
    unclear = write(tmp_path / "u.csv", "patient_id;b\nP1;1,200\nP2;2,345\n")
    with pytest.raises(CohortError, match="can be read in two ways"):
        read(unclear)
    assert read(unclear, decimal=",")["b"].tolist() == [1.2, 2.345]
    assert read(unclear, decimal=".")["b"].tolist() == [1200, 2345]


def test_points_stay_points_where_thousands_are_grouped_by_commas(tmp_path):
    path = write(tmp_path / "t.csv", 'patient_id,a,b\nP1,"1,200.5",0.25\nP2,"2,345",1e-3\n')
    assert same(read(path), pd.DataFrame({"a": [1200.5, 2345.0], "b": [0.25, 0.001]}, index=["P1", "P2"]))


def test_blank_infinite_and_missing_cells_are_not_known(tmp_path):
    path = write(tmp_path / "t.csv", "patient_id,a,b,c,d\nP1,1,inf,NA,\nP2,n/a,-inf,unknown,\nP3,3,5,nan,\n")
    found = read(path)
    assert list(found) == ["a", "b"]  # of columns without any number nothing can be learned
    assert found["a"].tolist()[::2] == [1, 3] and np.isnan(found.loc["P2", "a"])
    assert found["b"].isna().tolist() == [True, True, False]


def test_texts_notes_labels_and_columns_without_a_name_are_no_features(tmp_path):
    path = write(
        tmp_path / "t.csv",
        ",patient_id,Mask,diagnostics_Volume,original_firstorder_Mean,IDH,Age\n"
        "0,P1,m.nii,5,1.25,1,50\n1,P2,m.nii,6,1.5,0,60\n",
    )
    assert list(read(path, {"idh", "age"})) == ["original_firstorder_Mean"]
    assert list(read(path, {"idh"}, columns=["Age", "diagnostics_Volume"])) == ["Age", "diagnostics_Volume"]


def test_rows_without_an_id_are_left_out_and_noted(tmp_path):
    flow = Flow()
    path = write(tmp_path / "t.csv", "patient_id,a\nP1,1\n,2\nP3,3\n")
    assert list(read(path, flow=flow).index) == ["P1", "P3"]
    assert [row["reason"] for row in flow.exclusions] == ["row without an id in column patient_id: t.csv:3"]
    flow = Flow()
    pd.DataFrame({"patient_id": [1.0, np.nan, 3.0], "a": [1, 2, 3]}).to_parquet(tmp_path / "t.parquet")
    assert list(read(tmp_path / "t.parquet", flow=flow).index) == ["1", "3"]
    assert len(flow.exclusions) == 1


@pytest.mark.parametrize(
    ("text", "keys", "message"),
    [
        ("patient_id,a\nP1,1\nP1,2\nP2,3\n", {}, r"t.csv has several rows of P1; keep one per patient"),
        ("id,a\nP1,1\n", {}, r"patient_column 'patient_id'.*id"),
        ("patient_id,a\nP1,x\n", {}, "no column of numbers"),
        ("patient_id,a\nP1,x\n", {"columns": ["a"]}, "column a: 'x' is no number"),
        ("patient_id,mean\nP1,1\n", {"columns": ["maen"]}, "Did you mean 'mean'"),
        ("", {}, "t.csv is empty"),
    ],
)
def test_what_cannot_be_used_is_refused_in_one_line(tmp_path, text, keys, message):
    with pytest.raises(CohortError, match=message) as stop:
        read(write(tmp_path / "t.csv", text), **keys)
    assert "\n" not in str(stop.value)


def test_broken_and_missing_files_are_refused_in_one_line(tmp_path):
    np.savez(tmp_path / "names.npz", ids=[1], vector=[[1.0]])
    np.savez(tmp_path / "shapes.npz", patient_id=["a", "b"], vector=[[1.0]])
    pd.DataFrame({"patient_id": ["a", "b"], "vector": [[1.0], [1.0, 2.0]]}).to_parquet(tmp_path / "ragged.parquet")
    for name in ("broken.npz", "broken.parquet", "broken.xlsx"):
        (tmp_path / name).write_bytes(b"PK no table")
    for name, message in {
        "gone.csv": "there is no file", "names.npz": "needs the arrays patient_id", "shapes.npz": r"not \(N, F\)",
        "ragged.parquet": "not all as many", "broken.npz": "not a readable table",
        "broken.parquet": "not a readable table", "broken.xlsx": "not a readable table",
    }.items():  # fmt: skip
        with pytest.raises(CohortError, match=message) as stop:
            read(tmp_path / name)
        assert "\n" not in str(stop.value)


def labels_of(values, target: str = "IDH", side: str = "") -> pd.DataFrame:
    patients = [f"P{n:02d}" for n in range(len(values))]
    return pd.DataFrame({"patient_id": patients, "side": side, "target": target, "value": values})


def test_a_copy_of_a_label_is_found_whatever_its_numbers_and_order():
    rng = np.random.default_rng(0)
    y = np.array([0.0, 1.0] * 10)
    numbers = pd.DataFrame(
        {
            "copy": 7 - 3 * y, "noise": rng.normal(size=20), "most": np.r_[1 - y[:1], y[1:]], "one": 1.0,
            "gaps": np.where(np.arange(20) < 12, y, np.nan), "few": np.where(np.arange(20) < 9, y, np.nan),
            "finer": y + 2 * (np.arange(20) > 10),
        },
        index=[f"P{n:02d}" for n in range(20)],
    )  # fmt: skip
    shuffled = numbers.sample(frac=1, random_state=1)
    assert copies_of_labels(shuffled, labels_of(y)) == {"copy": "IDH", "gaps": "IDH"}
    unknown = labels_of(np.where(np.arange(20) < 11, y, np.nan))
    assert "copy" in copies_of_labels(numbers, unknown)
    grade = np.arange(20) % 3
    of_classes = numbers.assign(code=np.array([5, 9, 2])[grade], two=(grade == 0) * 1.0)
    assert copies_of_labels(of_classes, labels_of(grade.astype(float), "grade")) == {"code": "grade"}
    sided = pd.concat([labels_of(y, "tumour", "L"), labels_of(1 - y[::-1], "tumour", "R")])
    assert "copy" in copies_of_labels(numbers, sided)


def test_only_a_column_that_counts_the_rows_is_a_row_number():
    rng = np.random.default_rng(0)
    numbers = pd.DataFrame(
        {"row": np.arange(12), "from_1": np.arange(1, 13) + (np.arange(12) > 5), "sorted": np.sort(rng.normal(size=12)),
         "mixed": rng.permutation(12), "sparse": np.arange(12) * 10, "same": 1.0}
    )  # fmt: skip
    assert row_numbers(numbers) == ["row", "from_1"]
    assert row_numbers(numbers.head(5)) == []
