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
_IMAGENET_MEAN, _IMAGENET_STD = 0.449, 0.226  # so too


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


_IMAGENET = "RGB from 0 to 1, minus .485 .456 .406, over .229 .224 .225"
_IMAGENET_MAP = (0.5 / _IMAGENET_STD, (0.5 - _IMAGENET_MEAN) / _IMAGENET_STD)


def _torchvision(model: str, file: str, heads: tuple[str, ...], data: str, page: str) -> Card:
    return Card(
        model=model,
        file=file,
        page=f"https://pytorch.org/vision/stable/models/generated/torchvision.models.{page}.html",
        url=f"https://download.pytorch.org/models/{file}",
        sha256="",  # its name ends in the first 8 digits, to which it is held
        sha256_source="",
        licence="BSD-3-Clause (torchvision's; it says that terms of the training data may apply)",
        data=data,
        channels=3,
        intensities=_IMAGENET + ("; frames along the slices" if model == "swin3d" else ""),
        uint8_map=_IMAGENET_MAP,
        heads=heads,
    )


def _convnextv2(size: str, sha256: str = "", revision: str = "main") -> Card:
    repository = f"https://huggingface.co/timm/convnextv2_{size}.fcmae_ft_in1k"
    return Card(
        model="convnextv2",
        file=f"convnextv2_{size}.fcmae_ft_in1k.safetensors",
        page=f"{repository}/tree/main",
        url=f"{repository}/resolve/main/model.safetensors",
        sha256=sha256,
        sha256_source=f"{repository}/blob/{revision}/model.safetensors" if sha256 else "",
        licence="CC BY-NC 4.0: not for commercial use",
        data="ImageNet-1k, first masked, then with labels; Woo et al. 2023, arXiv 2301.00808",
        channels=3,
        intensities=_IMAGENET,
        options={"size": size},
        uint8_map=_IMAGENET_MAP,
        prefixes={"head.norm.": "norm."},
        heads=("head.fc.",),
        names=("model.safetensors",),
    )


def _vit(size: str) -> Card:
    repository = f"https://huggingface.co/timm/vit_{size}_patch16_224.augreg_in21k_ft_in1k"
    return Card(
        model="vit2d",
        file=f"vit_{size}_patch16_224.augreg_in21k_ft_in1k.safetensors",
        page=f"{repository}/tree/main",
        url=f"{repository}/resolve/main/model.safetensors",
        sha256="",
        sha256_source="",
        licence="Apache-2.0",
        data="ImageNet-21k, then ImageNet-1k; Steiner et al. 2021, arXiv 2106.10270",
        channels=3,
        intensities="RGB from 0 to 1, minus .5, over .5",
        options={"size": size},
        uint8_map=(1.0, 0.0),
        heads=("head.",),
        names=("model.safetensors",),
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
    "kinetics400-swin3d-tiny": _torchvision(
        "swin3d", "swin3d_t-7615ae03.pth", ("head.",),
        "actions in Kinetics-400 videos; Liu et al. 2022, arXiv 2106.13230", "video.swin3d_t",
    ),
    "imagenet-resnet18": _torchvision("resnet25d", "resnet18-f37072fd.pth", ("fc.",), "ImageNet-1k", "resnet18"),
    "imagenet-alexnet": _torchvision(
        "alexnet2d", "alexnet-owt-7be5be79.pth", ("classifier.6.",), "ImageNet-1k", "alexnet"
    ),
    "imagenet-se-resnet50": Card(
        model="se_resnet50",
        file="seresnet50_ra_224-8efdb4bb.pth",
        page="https://huggingface.co/timm/seresnet50.ra2_in1k",
        url="https://github.com/rwightman/pytorch-image-models/releases/download/v0.1-weights/"
        "seresnet50_ra_224-8efdb4bb.pth",
        sha256="",
        sha256_source="",
        licence="Apache-2.0",
        data="ImageNet-1k; Wightman, timm",
        channels=3,
        intensities=_IMAGENET,
        uint8_map=_IMAGENET_MAP,
        heads=("fc.",),
    ),
    "imagenet-convnextv2-atto": _convnextv2("atto"),
    "imagenet-convnextv2-femto": _convnextv2("femto"),
    "imagenet-convnextv2-pico": _convnextv2(
        "pico", "e5f062aebf03a5f373d41ff14e0d08e8866fd9ed150f57031228176d0c3a20dc",
        "99e7c3ede3168ec5d4980ab71f4c92d0ae1fe62b",
    ),
    "imagenet-convnextv2-nano": _convnextv2("nano", "c9b5106b30a4593916f1ad5a3fa4f659d48e8ce0107bb9901c457a3686d27a44"),
    "imagenet-convnextv2-tiny": _convnextv2("tiny", "fdfb4edfa5abb3b4ea29ab17e6fae5c117dc6cc32ecfb1d0726a156f40a4c1a5"),
    "imagenet-vit-tiny": _vit("tiny"),
    "imagenet-vit-small": _vit("small"),
    "imagenet-vit-base": _vit("base"),
}  # fmt: skip
