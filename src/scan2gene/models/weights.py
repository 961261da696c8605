"""Released weights: one card per file, one line here. `docs/weights.md` is for people.

A card says what a state dict does not: geometry, expected intensities, training data, licence.
A sha256 stands here only with the page that states it; where none does, the file is hashed
when it is first fetched or used, and held to that afterwards (`files.json` beside it).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

_KINETICS_MEAN, _KINETICS_STD = 0.4057, 0.2739  # of red, green and blue together: grey has one value


@dataclass(frozen=True)
class Card:
    """One released file.

    Args:
        model: Key of `MODELS` that it fits.
        file: Its name, as released or, where that says nothing, ours.
        page: Where a person finds it.
        url: Direct link, or "" where there is none.
        sha256: Of the whole file, or "" where no page states it.
        sha256_source: The page that states it.
        licence: Of the file, as its page says.
        data: What it was trained on.
        channels: Of its input.
        intensities: That it was trained on.
        options: Of `MODELS[model]`: geometry and the like.
        uint8_map: Scale and shift that take a volume stored as uint8, which networks see as
            -1 to 1, to those intensities; None where no fixed numbers do.
        prefixes: Begin of a tensor's name in the file -> in our network.
        heads: Begins of names that are no part of the encoder.
        names: Other names under which the file may lie in the folder.
        grid: Voxels I, J, K that it was trained on, where that is fixed.
    """

    model: str
    file: str
    page: str
    url: str
    sha256: str
    sha256_source: str
    licence: str
    data: str
    channels: int
    intensities: str
    options: Mapping[str, Any] = field(default_factory=dict)
    uint8_map: tuple[float, float] | None = None
    prefixes: Mapping[str, str] = field(default_factory=dict)
    heads: tuple[str, ...] = ()
    names: tuple[str, ...] = ()
    grid: tuple[int, int, int] | None = None


def _medicalnet(depth: int, file: str, sha256: str, revision: str) -> Card:
    repository = f"https://huggingface.co/TencentMedicalNet/MedicalNet-Resnet{depth}"
    stated_in = "10" if (depth, revision) == (18, "3d5811d0e3943472fffedf90a4ca4f6fdb948e33") else str(depth)
    second = "23dataset" in file
    return Card(
        model=f"resnet{depth}",
        file=file,
        page=f"{repository}/tree/main",
        url=f"{repository}/resolve/main/{file}",
        sha256=sha256,
        sha256_source=f"https://huggingface.co/TencentMedicalNet/MedicalNet-Resnet{stated_in}/commit/{revision}",
        licence="MIT",
        data="segmentation of CT and MR from "
        + ("23 public data sets" if second else "eight public challenges (3DSeg-8)")
        + "; Chen et al. 2019, arXiv 1904.00625",
        channels=1,
        intensities="z-score over non-zero voxels",
        options={"geometry": "medicalnet-a" if depth in (18, 34) else "medicalnet"},
        heads=("conv_seg.",),
    )


def _kinetics(depth: int) -> Card:
    return Card(
        model=f"resnet{depth}",
        file=f"r3d{depth}_K_200ep.pth",
        page="https://github.com/kenshohara/3D-ResNets-PyTorch#pre-trained-models",
        url="",  # a shared drive: the folder's page has to be opened in a browser
        sha256="",
        sha256_source="",
        licence="MIT (the repository's)",
        data="actions in Kinetics-700 videos; Hara et al. 2018, Kataoka et al. 2020, arXiv 2004.04968",
        channels=3,
        intensities="RGB from 0 to 1, minus .4345 .4051 .3775, over .2768 .2713 .2737; frames along the slices",
        options={"geometry": "kinetics"},
        uint8_map=(0.5 / _KINETICS_STD, (0.5 - _KINETICS_MEAN) / _KINETICS_STD),
        heads=("fc.",),
    )


_M3D = "https://huggingface.co/GoodBaiBai88/M3D-CLIP"


def _m3d(file: str, released: str, sha256: str, source: str, options: dict[str, Any]) -> Card:
    return Card(
        model="vit3d",
        file=file,
        page=f"{_M3D}/tree/main",
        url=f"{_M3D}/resolve/main/{released}",
        sha256=sha256,
        sha256_source=f"{_M3D}/{source}",
        licence="Apache-2.0",
        data="120,000 pairs of 3D images, CT, and texts (M3D-Cap); Bai et al. 2024, arXiv 2404.00578",
        channels=1,
        intensities="0 to 1, smallest to largest voxel",
        options=options,
        uint8_map=(0.5, 0.5),
        prefixes={"vision_encoder.": "", "vision_tower.": ""},
        heads=("language_encoder.", "mm_language_proj.", "logit_scale"),
        names=(released,),
        grid=(256, 256, 32),
    )


WEIGHTS: dict[str, Card] = {
    "medicalnet-resnet10": _medicalnet(
        10, "resnet_10_23dataset.pth", "afa8055f3e47f4a18239495d92a7abc587902c69c31c743de2b2784653b72605",
        "2a0c8cd91b82beb69610b60cb76d9eb8cbf9eac7",
    ),
    "medicalnet-resnet18": _medicalnet(
        18, "resnet_18_23dataset.pth", "61224f9317fcce873366deb3703183e92cc47325b726b69691b33536244e10f4",
        "3d5811d0e3943472fffedf90a4ca4f6fdb948e33",
    ),
    "medicalnet-resnet34": _medicalnet(
        34, "resnet_34_23dataset.pth", "3ea7188e396774e4ef95b66e5e90a78273bb33f6e58d3d717bf24f5f1aaeaa28",
        "38043c1af39ac39e70de7c92a4af8013eb275b31",
    ),
    "medicalnet-resnet50": _medicalnet(
        50, "resnet_50_23dataset.pth", "ff48a62219073fb977fd3f4ddfb8dc1367f0ec156c8d6f6c37e205bd683a246e",
        "7cd767ef5bbc0bf26e691b04bc0d25df6d3cbc4b",
    ),
    "medicalnet-resnet10-first": _medicalnet(
        10, "resnet_10.pth", "2824951eaef30e115929b89bec72342380b08d14792bda1449974ac849e497c0",
        "923db3dc91baf34c4fe10246651c7fe4dc675fee",
    ),
    "medicalnet-resnet18-first": _medicalnet(
        18, "resnet_18.pth", "38b3a17444c5c18a795355a868e6a2d9ce9318054067f5373d337f55c0f61da3",
        "ee59c99e39a995fb8c20f2a2650a66161e2df584",
    ),
    "medicalnet-resnet34-first": _medicalnet(
        34, "resnet_34.pth", "977a1be79298602fa35980de9c03789229ad36087fb1f4d9bde468aec653c658",
        "f903bf04dc54c16f6ab0014ff6b770c791255a9c",
    ),
    "medicalnet-resnet50-first": _medicalnet(
        50, "resnet_50.pth", "5b6189cafbee2f5604a7279b62bc163365aa6a86a377e1dc260a14275cacbd84",
        "02061bf3be4aefd33724688f16dbcc058cdf1f13",
    ),
    "kinetics-resnet18": _kinetics(18),
    "kinetics-resnet34": _kinetics(34),
    "kinetics-resnet50": _kinetics(50),
    "m3d-clip": _m3d(
        "m3d_clip.safetensors", "model.safetensors", "59abe6b2ad8b7cbab4d2026fcd2b7e0fe8f0d70d17ad5ede819b4100aa59b860",
        "blob/8c4555092867c7fa0956329c351247770dbfd467/model.safetensors", {},
    ),
    "m3d-clip-vision": _m3d(
        "pretrained_ViT.bin", "pretrained_ViT.bin", "71633b09ab48920e1d439741079503d6172fa42937e28b974e220e3b61eb57c0",
        "commit/74931a82547b9b52650d9704706e525dc450b0d5", {"vector": "cls"},  # the projection is not in this file
    ),
}  # fmt: skip
