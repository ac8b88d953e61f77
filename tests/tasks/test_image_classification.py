"""What the picture task learns of its rows, and that it learns from them."""

import numpy as np
import pytest
import torch

from danlu.core.errors import InputError
from danlu.core.recipe import Model
from danlu.core.types import Row
from danlu.tasks.image_classification import ImageClassification, ImageOptions, mirrors


def task(rows: list[Row] | None = None, *, steps: list[str] | None = None, architecture: str = "cnn", **options: object) -> ImageClassification:
    made = ImageClassification(ImageOptions(**options), Model(architecture=architecture))
    made.steps = steps
    if rows is not None:
        made.fit(rows)
    return made


def noise(height: int, width: int, channels: int, label: str, seed: int = 0) -> Row:
    generator = np.random.default_rng(seed)
    return {"image": generator.integers(0, 256, (height, width, channels), dtype=np.uint8), "label": label}


def both(height: int, width: int, channels: int = 3, n: int = 6) -> list[Row]:
    return [noise(height, width, channels, "ab"[i % 2], i) for i in range(n)]


@pytest.mark.parametrize(
    ("shape", "expected"),
    [((28, 20), (28, 20)), ((64, 64), (64, 64)), ((480, 640), (112, 144)), ((80, 80), (80, 80)), ((3000, 3000), (128, 128))],
)
def test_small_pictures_keep_their_size_and_large_ones_their_aspect(shape: tuple[int, int], expected: tuple[int, int]) -> None:
    made = task()
    assert made._size([shape, shape, (7, 900)]) == expected


def test_image_size_overrides() -> None:
    made = task(both(30, 20), image_size=16)
    assert made.encode(noise(50, 10, 1, "a"))["image"].shape == (3, 16, 16)


def test_rows_of_every_shape_and_colour_become_one() -> None:
    made = task([*both(20, 20), noise(33, 20, 1, "a"), noise(1, 9, 3, "b")])
    rows = [noise(20, 20, 3, "a"), noise(20, 20, 1, "b"), noise(200, 3, 1, "a"), noise(300, 400, 3, "b")]
    batch = made.collate(made.encode_many(rows))
    assert batch["image"].shape == (4, 3, 20, 20)
    assert batch["image"].dtype == np.uint8
    assert batch["target"].tolist() == [0, 1, 0, 1]


def test_grey_saved_as_colour_is_learned_as_grey() -> None:
    rows = [{"image": np.repeat(row["image"], 3, axis=2), "label": row["label"]} for row in both(10, 10, 1)]
    assert task(rows).facts()["channels"] == 1


def test_mean_and_deviation_are_of_the_training_pixels() -> None:
    rows = both(10, 10, 3)
    pixels_NC = np.concatenate([row["image"].reshape(-1, 3) for row in rows]) / 255
    made = task(rows)
    np.testing.assert_allclose(made.mean, pixels_NC.mean(0), atol=1e-6)
    np.testing.assert_allclose(made.std, pixels_NC.std(0), atol=1e-6)
    model = made.build()
    x_BCHW = model.normalised({"image": torch.from_numpy(made.collate(made.encode_many(rows))["image"])})
    assert abs(float(x_BCHW.mean())) < 1e-4
    assert abs(float(x_BCHW.std()) - 1) < 1e-2


def test_plain_black_pictures_do_not_divide_by_zero() -> None:
    black = np.zeros((8, 8, 1), np.uint8)
    made = task([{"image": black, "label": "ab"[i % 2]} for i in range(4)])
    assert made.build()({"image": torch.zeros(2, 1, 8, 8, dtype=torch.uint8)}).isfinite().all()


def test_only_a_sample_is_looked_at_where_rows_can_be_indexed() -> None:
    class Rows(list):
        asked = 0

        def __getitem__(self, i: int) -> Row:
            Rows.asked += 1
            return super().__getitem__(i)

    rows = Rows(both(4, 4) * 500)
    task().fit_inputs(rows)
    assert Rows.asked == 1000


def test_no_picture_anywhere_and_no_picture_in_a_row() -> None:
    with pytest.raises(InputError) as error:
        task([{"image": None, "label": "a"}, {"image": None, "label": "b"}])
    assert error.value.code == "image.no-pictures"
    made = task([*both(8, 8), {"image": None, "label": "a"}])
    with pytest.raises(InputError) as error:
        made.encode({"image": None})
    assert error.value.code == "image.no-picture"


def test_unknown_step_names_the_nearest() -> None:
    with pytest.raises(InputError) as error:
        task(both(8, 8), steps=["flip", "afine"])
    assert error.value.code == "image.unknown-step"
    assert "affine" in error.value.hint


def test_mirrored_classes_are_found_out() -> None:
    """Arrows to the left and right, noisy and moved about; the same arrows against squares of another grey may be mirrored."""
    generator = np.random.default_rng(0)
    pictures, sides, kinds = [], [], []
    for i in range(120):
        arrow_HW = generator.integers(0, 80, (20, 20)).astype(np.uint8)
        top = generator.integers(4, 9)
        for k in range(6):
            arrow_HW[top + abs(k - 3) : top + 8 - abs(k - 3), 6 + k] = 250
        arrow_HW[:, :10] //= 2
        left = i % 2 == 0
        pictures.append((arrow_HW if left else arrow_HW[:, ::-1])[:, :, None])
        sides.append("left" if left else "right")
        kinds.append("ab"[i // 2 % 2])
        if kinds[-1] == "b":
            pictures[-1] = pictures[-1] // 2
    assert not mirrors(pictures, sides)
    assert mirrors(pictures, kinds)


def test_default_steps_fit_the_data() -> None:
    assert task(both(20, 20, 1)).augmentation() == ["affine"]
    colour = task(both(20, 20, 3))
    colour.mirrors = True
    assert "flip" in colour.augmentation()
    colour.mirrors = False
    assert "flip" not in colour.augmentation()
    assert task(both(20, 20, 3), steps=[]).augmentation() == []


def test_adopted_size_colour_and_mean_stay_through_fit() -> None:
    base = task(both(32, 32, 3))
    made = task()
    made.adopt(base.facts())
    made.fit([{"image": row["image"], "label": row["label"]} for row in both(28, 28, 1)])
    assert {key: made.facts()[key] for key in ("channels", "height", "width", "mean", "std")} == base._model_facts()
    assert not made.coloured
    assert made.augmentation() == ["affine"]
    assert made.encode(noise(28, 28, 1, "a"))["image"].shape == (3, 32, 32)


def test_state_round_trip() -> None:
    made, again = task(both(9, 7)), task()
    again.restore(made.state())
    row = noise(11, 5, 3, "b")
    assert np.array_equal(made.encode(row)["image"], again.encode(row)["image"])
    assert again.state() == made.state()


@pytest.mark.parametrize("architecture", ["mlp", "cnn", "resnet", "resnet50", "vit"])
def test_defaults_give_few_rows_more_epochs_and_slow_models_fewer(architecture: str) -> None:
    made = task(both(32, 32), architecture=architecture)
    epochs = [made.defaults(rows)["train.epochs"] for rows in (30, 300, 3000, 30_000, 300_000)]
    assert epochs == sorted(epochs, reverse=True)
    assert epochs[-1] >= 1
    assert made.defaults(10)["train.batch_size"] == 8


def test_show_draws_the_picture() -> None:
    made = task(ImageClassification.tiny())
    lines = made.show(made.encode(ImageClassification.tiny()[1])).split("\n")
    assert lines[0] == "12 x 12 x 1"
    assert {len(line) for line in lines[1:]} == {12}
    assert "█" in "".join(lines)


def test_half_of_tiny_teaches_the_other_half() -> None:
    rows = ImageClassification.tiny()
    made = task(rows[:24])
    torch.manual_seed(0)
    model = made.build()
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    batch = {key: torch.from_numpy(value) for key, value in made.collate(made.encode_many(rows[:24])).items()}
    batch["row"] = torch.arange(24)
    for epoch in range(25):
        changed = made.augment(batch, 0, epoch)
        loss = made.loss(model.train()(changed), changed)
        optimizer.zero_grad()
        (loss.total / loss.count).backward()
        optimizer.step()
    asked = made.collate(made.encode_many(rows[24:]))
    with torch.inference_mode():
        predictions = made.decode(model.eval()({"image": torch.from_numpy(asked["image"])}).numpy())
    right = np.mean([prediction.label == row["label"] for prediction, row in zip(predictions, rows[24:], strict=True)])
    assert right >= 0.9
