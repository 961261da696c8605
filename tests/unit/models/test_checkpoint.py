"""Checkpoints as they are published, and as they arrive when something went wrong."""

from __future__ import annotations

import collections
import os
import pickle

import pytest
import torch
from safetensors.torch import save
from tests.stand_in import write_stand_in

from scan2gene.core.errors import WeightsError
from scan2gene.models import MODELS
from scan2gene.models.checkpoint import load_match, match, read_checkpoint, renamed
from scan2gene.models.weights import WEIGHTS

SMALL_VIT = {"size": (8, 32, 32), "patch": (4, 16, 16), "width": 24, "depth": 2, "heads": 2}


def _resnet_state(depth: int = 10, channels: int = 1, **options) -> dict[str, torch.Tensor]:
    torch.manual_seed(1)
    network = MODELS[f"resnet{depth}"](channels, 1, **options)
    return {k: v for k, v in network.state_dict().items() if not k.startswith("head.")}


def test_a_medicalnet_file_loads_as_published(tmp_path):
    """module. in front, a segmentation head, and no counters of batches, as old versions of torch wrote."""
    state = {k: v for k, v in _resnet_state().items() if not k.endswith("num_batches_tracked")}
    head = {"conv_seg.0.weight": torch.zeros(512, 32, 2, 2, 2), "conv_seg.0.bias": torch.zeros(32)}
    torch.save({"state_dict": {f"module.{k}": v for k, v in {**state, **head}.items()}}, tmp_path / "w.pth")
    card = WEIGHTS["medicalnet-resnet10"]
    tensors = renamed(read_checkpoint(tmp_path / "w.pth"), card.prefixes, card.heads)
    network = MODELS["resnet10"](1, 1, **card.options)
    found = match(network, tensors, adapt=True)
    assert (found.held, found.missing, found.misfits, found.unused) == (found.wanted, [], [], [])
    load_match(network, found, "w.pth")
    assert all(torch.equal(network.state_dict()[k], v) for k, v in state.items())


def test_a_kinetics_file_loads_with_what_lies_beside_its_weights(tmp_path):
    state = _resnet_state(18, 3, geometry="kinetics")
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(2))], lr=0.1, momentum=0.9)
    schedule = torch.optim.lr_scheduler.MultiStepLR(optimizer, [50, 100])  # its state holds a Counter
    assert isinstance(schedule.state_dict()["milestones"], collections.Counter)
    entries = {"epoch": 200, "arch": "resnet-18", "state_dict": {**state, "fc.weight": torch.zeros(700, 512)},
               "optimizer": optimizer.state_dict(), "scheduler": schedule.state_dict()}  # fmt: skip
    torch.save(entries, tmp_path / "r3d18_K_200ep.pth")
    read = read_checkpoint(tmp_path / "r3d18_K_200ep.pth")
    found = match(MODELS["resnet18"](3, 1, geometry="kinetics"), read, adapt=False)
    assert found.held == found.wanted
    assert set(renamed(read, {}, WEIGHTS["kinetics-resnet18"].heads)) == set(state)


def test_colours_added_up_equal_grey_given_three_times():
    state = _resnet_state(10, 3, geometry="kinetics")
    colour, grey, two = (MODELS["resnet10"](n, 1, geometry="kinetics").eval() for n in (3, 1, 2))
    for network in (colour, grey, two):
        load_match(network, match(network, state, adapt=True), "f")
    x = torch.randn(1, 1, 8, 16, 16)
    with torch.no_grad():
        wanted = colour.forward_features(x.expand(-1, 3, -1, -1, -1))
        torch.testing.assert_close(grey.forward_features(x), wanted, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(two.forward_features(x.expand(-1, 2, -1, -1, -1)), wanted, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ["m3d-clip", "m3d-clip-vision"])
def test_m3d_loads_from_both_of_its_files(name, tmp_path):
    """The whole model as safetensors, the vision part in bfloat16."""
    card = WEIGHTS[name]
    path = write_stand_in(name, tmp_path / card.file, seed=4, **SMALL_VIT)
    tensors = renamed(read_checkpoint(path, card.heads), card.prefixes, card.heads)
    network = MODELS["vit3d"](2, 3, **card.options, **SMALL_VIT)
    found = match(network, tensors, adapt=True)
    load_match(network, found, path.name)
    assert found.held == found.wanted
    assert not found.unused
    assert network.patch_embedding.position_embeddings.dtype == torch.float32
    loaded = network.state_dict()["blocks.1.attn.qkv.weight"]
    torch.testing.assert_close(loaded, tensors["blocks.1.attn.qkv.weight"].float(), rtol=0, atol=0)


def test_the_vision_file_has_no_projection_and_is_refused_for_it(tmp_path):
    path = write_stand_in("m3d-clip-vision", tmp_path / "v.bin", **SMALL_VIT)
    network = MODELS["vit3d"](1, 1, vector="projected", **SMALL_VIT)
    before = {k: v.clone() for k, v in network.state_dict().items()}
    with pytest.raises(WeightsError, match=r"mm_vision_proj\.weight is missing"):
        load_match(network, match(network, read_checkpoint(path), adapt=True), "v.bin")
    assert all(torch.equal(before[k], v) for k, v in network.state_dict().items())


def test_safetensors_survive_a_round_trip(tmp_path):
    tensors = {"a": torch.randn(3, 5), "b": torch.randn(4).bfloat16(), "n": torch.tensor(7), "skip.c": torch.ones(2)}
    (tmp_path / "t.safetensors").write_bytes(save(tensors))
    read = read_checkpoint(tmp_path / "t.safetensors", skip=("skip.",))
    assert set(read) == {"a", "b", "n"}
    assert all(torch.equal(read[k], tensors[k]) for k in read)


def test_fewer_than_95_percent_are_refused_and_nothing_is_half_loaded():
    state = _resnet_state()
    network = MODELS["resnet10"](1, 1)
    before = {k: v.clone() for k, v in network.state_dict().items()}
    counted = [k for k in state if not k.endswith("num_batches_tracked")]
    some = {k: v for k, v in state.items() if k not in counted[-8:]}
    found = match(network, some, adapt=False)
    assert found.held == len(counted) - 8
    with pytest.raises(WeightsError, match=rf"w holds {found.held} of the encoder's {len(counted)} tensors \(87 %\)"):
        load_match(network, found, "w")
    assert all(torch.equal(before[k], v) for k, v in network.state_dict().items())
    most = {k: v for k, v in state.items() if k not in counted[-2:]}
    found = match(network, most, adapt=False)
    load_match(network, found, "w")
    assert found.missing == counted[-2:]


class _Evil:
    def __reduce__(self):
        return (os.system, ("echo ran > /dev/null",))


def _spoilt(kind: str, path) -> None:
    torch.save({"state_dict": _resnet_state()}, path)
    whole = path.read_bytes()
    if kind == "half":
        path.write_bytes(whole[: len(whole) // 2])
    elif kind == "page":
        path.write_text("  <!DOCTYPE html><html><body>Sign in</body></html>")
    elif kind == "pointer":
        path.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n")
    elif kind == "nothing":
        path.write_bytes(b"")
    elif kind == "text":
        path.write_text("no weights at all, but a text that is long enough")
    elif kind == "code":
        torch.save({"state_dict": _Evil()}, path)
    elif kind == "old code":
        path.write_bytes(pickle.dumps(_Evil(), protocol=2))
    elif kind == "network":
        torch.save(torch.nn.Linear(2, 2), path)
    elif kind == "old half":
        torch.save({"state_dict": _resnet_state()}, path, _use_new_zipfile_serialization=False)
        path.write_bytes(path.read_bytes()[:-100_000])
    elif kind == "numbers":
        torch.save([1, 2, 3], path)
    elif kind == "made up":
        torch.save({"state_dict": _resnet_state(), "synthetic": "kinetics-resnet18"}, path)
    elif kind == "no tensors":
        torch.save({"epoch": 3, "name": "x"}, path)
    elif kind == "half safetensors":
        path.write_bytes(save({"a": torch.ones(1000)})[:-8])


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("half", "damaged or cut short"),
        ("old half", "damaged or cut short"),
        ("half safetensors", "damaged or cut short"),
        ("page", "is a web page"),
        ("pointer", "Git LFS pointer"),
        ("nothing", "is empty"),
        ("text", "no checkpoint"),
        ("code", "system, which is code"),
        ("old code", "system, which is code"),
        ("network", "which is code and not a tensor"),
        ("numbers", "holds a list"),
        ("made up", "holds random numbers in place of kinetics-resnet18"),
        ("no tensors", "its entries are epoch, name"),
    ],
)
def test_a_spoilt_file_gives_one_clear_line(kind, said, tmp_path):
    path = tmp_path / "w.pth"
    _spoilt(kind, path)
    with pytest.raises(WeightsError, match=said) as stop:
        read_checkpoint(path)
    assert "\n" not in str(stop.value)
    assert str(path) in str(stop.value)


@pytest.mark.parametrize(
    ("file", "depth", "options", "said"),
    [
        (_resnet_state(18), 10, {}, r"lacks \(layer1\.1\.conv1\.weight, .*of a deeper network or has another shortcut"),
        (_resnet_state(34), 18, {}, r"lacks \(layer1\.2\.conv1\.weight, "),
        (_resnet_state(18), 34, {}, r"holds 100 of the encoder's 180 tensors.*: layer1\.2\.conv1\.weight is missing; "),
        (_resnet_state(10), 10, {"geometry": "medicalnet-a"}, r"lacks \(layer2\.0\.downsample\.0\.weight, "),
        (_resnet_state(10, geometry="medicalnet-a"), 10, {}, r"layer2\.0\.downsample\.0\.weight is missing"),
        ({k: v.mean(-1) if v.ndim == 5 else v for k, v in _resnet_state().items()}, 10, {},
         r"conv1\.weight \(64, 1, 7, 7\) instead of \(64, 1, 7, 7, 7\)"),
        (MODELS["light_cnn"](1, 1).state_dict(), 10, {}, r"weight is missing\. Its other tensors are blocks\.0\.0"),
    ],
)  # fmt: skip
def test_a_file_of_another_network_is_refused_in_one_line(file, depth, options, said):
    network = MODELS[f"resnet{depth}"](1, 1, **options)
    with pytest.raises(WeightsError, match=said) as stop:
        load_match(network, match(network, file, adapt=False), "own.pth")
    assert "Set the run's model, its options and weights.geometry to those of the file's network." in str(stop.value)
    assert "\n" not in str(stop.value)
