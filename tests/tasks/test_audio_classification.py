"""What audio classification learns from training rows and does with a row."""

import numpy as np
import pytest
import torch

from danlu.core.errors import InputError
from danlu.core.recipe import Model
from danlu.core.types import Sound
from danlu.nn.model import transplant
from danlu.tasks.audio_classification import AudioClassification, AudioOptions


def made(steps=None, architecture=None, **options) -> AudioClassification:
    task = AudioClassification(AudioOptions(**options), Model(architecture=architecture or AudioClassification.architecture))
    task.steps = steps
    return task


def rows_of(seconds: list[float], rate: int) -> list[dict]:
    random = np.random.Generator(np.random.Philox(1))
    return [
        {"audio": Sound(random.normal(0, 0.1, int(s * rate)).astype(np.float32), rate), "label": str(i % 2)} for i, s in enumerate(seconds)
    ]


def test_rate_and_length_follow_the_training_rows():
    task = made()
    task.fit(rows_of([1.0] * 99 + [30.0], 44_100))
    assert (task.rate, task.samples, task.hop) == (16_000, 16_000, 256)
    task = made()
    task.fit(rows_of([5.0] * 10, 8000))
    assert (task.rate, task.samples, task.hop) == (8000, 40_000, 160)
    task = made(sample_rate=4000, seconds=0.5, mels=20, features="mfcc")
    task.fit(rows_of([5.0] * 10, 8000))
    assert (task.rate, task.samples, task.mels, len(task.mean)) == (4000, 2000, 20, 20)


def test_long_sounds_are_capped_and_the_cut_is_counted():
    task = made()
    task.fit(rows_of([12.0] * 4, 2000))
    assert task.samples == 20_000
    example = task.encode(rows_of([12.0], 2000)[0])
    assert example["audio"].shape == (20_000,)
    assert example["audio"].dtype == np.int16
    assert task.cut(example) == (20_000, 24_000)
    assert task.cut(task.encode(rows_of([1.0], 2000)[0])) == (2000, 2000)


def test_features_of_training_rows_have_mean_0_and_deviation_1():
    task = made()
    rows = task.tiny()
    task.fit(rows)
    batch = {"audio": torch.as_tensor(task.collate(task.encode_many(rows))["audio"])}
    features = task.build().front(batch)
    assert features.mean(dim=(0, 1)).abs().max() < 1e-2
    assert (features.std(dim=(0, 1)) - 1).abs().max() < 1e-2


def test_silence_as_training_data_stays_finite():
    task = made()
    task.fit([{"audio": Sound(np.zeros(4000, np.float32), 8000), "label": label} for label in "ab"])
    batch = {"audio": torch.zeros(1, task.samples, dtype=torch.int16)}
    assert torch.isfinite(task.build().eval()(batch)).all()


def test_state_restores_an_equal_task():
    task, other = made(), made()
    task.fit(task.tiny())
    other.restore(task.state())
    assert other.state() == task.state()
    row = task.tiny()[0]
    assert (other.encode(row)["audio"] == task.encode(row)["audio"]).all()
    assert other.show(other.encode(row)).startswith("0.25 s at 8000 Hz: 16 frames of 64 log-mel")


@pytest.mark.parametrize("architecture", ["cnn", "conformer"])
def test_facts_of_a_base_are_kept_and_its_body_fits(architecture):
    base, task = made(architecture=architecture), made(architecture=architecture)
    base.fit(rows_of([1.0] * 6, 16_000))
    task.adopt(base.facts())
    task.fit(task.tiny())
    assert task.facts() == base.facts()
    assert task.labels == ["hiss", "hum", "whistle"]
    assert transplant(task.build(), base.build().weights())


def test_unknown_step_names_the_nearest():
    with pytest.raises(InputError) as error:
        made(["shift", "spede"]).fit(AudioClassification.tiny())
    assert error.value.code == "audio.unknown-step"
    assert "speed" in error.value.hint
    assert error.value.exit_code == 2


def test_rows_without_sound():
    with pytest.raises(InputError, match="sound"):
        made().fit([{"audio": None, "label": "a"}])
    task = made()
    task.fit(task.tiny())
    with pytest.raises(InputError) as error:
        task.encode({"audio": None})
    assert error.value.code == "audio.no-sound"


def test_augmentation_changes_training_batches_only_by_the_named_steps():
    task = made([])
    task.fit(task.tiny())
    batch = {name: torch.as_tensor(value) for name, value in task.collate(task.encode_many(task.tiny())).items()}
    batch["row"] = torch.arange(len(batch["audio"]))
    assert torch.allclose(task.augment(batch, 0, 0)["audio"] * 32767, batch["audio"].float())
    task.steps = None
    changed = task.augment(batch, 0, 0)
    assert "spec_masks" in changed
    assert torch.equal(changed["target"], batch["target"])
    assert batch["audio"].dtype == torch.int16


@pytest.mark.parametrize("architecture", ["cnn", "conformer"])
def test_learns_tiny(architecture):
    task = made(architecture=architecture)
    rows = task.tiny()
    task.fit(rows[:24])
    torch.manual_seed(0)
    model = task.build()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    batch = {name: torch.as_tensor(value) for name, value in task.collate(task.encode_many(rows[:24])).items()}
    batch["row"] = torch.arange(24)
    for epoch in range(20):
        changed = task.augment(batch, 0, epoch)
        loss = task.loss(model(changed), changed)
        optimizer.zero_grad()
        (loss.total / loss.count).backward()
        optimizer.step()
    with torch.no_grad():
        asked = {"audio": torch.as_tensor(task.collate(task.encode_many(rows[24:]))["audio"])}
        said = task.decode(model.eval()(asked).numpy())
    assert sum(p.label == row["label"] for p, row in zip(said, rows[24:], strict=True)) >= 22
