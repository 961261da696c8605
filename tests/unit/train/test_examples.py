"""The page of examples shows what training gets, upright and silent about who it is."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from scan2gene.core.section import Plugin
from scan2gene.data.augment import Batch, augment
from scan2gene.data.images import to_input
from scan2gene.data.samples import Samples
from scan2gene.train.examples import DRAWS, WIDTH, draw_examples, seen_in_epochs

STEPS = [
    Plugin(name="affine", options={"rotation_degrees": 20, "scale": 0}),
    Plugin(name="noise", options={"std": 0.1}),
    Plugin(name="pad_and_crop", options={"voxels": 2}),
]


@pytest.fixture
def data() -> Samples:
    """Four exams with two roles, the second absent in the first; the patient's front left corner is bright."""
    images = torch.randint(0, 60, (4, 2, 6, 12, 16), dtype=torch.uint8)  # (N, R, k, j, i)
    images[:, :, :, 8:, 11:] = 255  # LAS: i to the left, j to the front
    present = torch.ones(4, 2)
    present[0, 1] = 0
    exams = pd.DataFrame({"patient_id": list("ABCD"), "exam_id": list("abcd")})
    return Samples(exams, images, present, torch.zeros(4, 1), {}, ("gene",))


def test_an_exam_is_shown_as_a_batch_of_training_has_it(data):
    seen = seen_in_epochs(data, 2, STEPS, 7, range(4))
    rows = [1, 2, 3]
    for epoch in (1, 2, 3):
        x = to_input(data.images[rows], data.present[rows])
        batch = augment(Batch(x, data.targets[rows], ("gene",), data.spacing_mm), STEPS, 7, epoch, rows)
        torch.testing.assert_close(seen[epoch], batch.images[1])
    torch.testing.assert_close(seen[0], to_input(data.images[[2]], data.present[[2]])[0])
    assert all((seen[n] - seen[0]).abs().max() > 0.1 for n in (1, 2, 3))


def test_the_picture_stands_as_radiologists_look_at_it(data, tmp_path):
    draw_examples(tmp_path / "x.png", data, 2, STEPS, 7, np.diag([-1.0, 1, 2, 1]))
    with Image.open(tmp_path / "x.png") as image:
        assert image.info == {}
        grey = np.asarray(image).astype(float)
    one = WIDTH * 12 // 16
    assert grey.shape == (2 * one, (DRAWS + 1) * WIDTH + DRAWS * 4)  # a line per role
    first = grey[:one, :WIDTH]
    # the patient's right on the left, so left is right; anterior up
    assert first[: one // 4, -WIDTH // 5 :].min() > 240
    assert first[one // 2 :].max() < 128 and first[:, : WIDTH // 2].max() < 128


def test_absent_roles_have_no_line(data, tmp_path):
    draw_examples(tmp_path / "x.png", data, 0, STEPS, 7, np.eye(4))
    with Image.open(tmp_path / "x.png") as image:
        assert image.size[1] == WIDTH * 12 // 16
