"""`train --profile`: the parts of a step add up, the trace names them, the page says the largest in words of both languages."""

from __future__ import annotations

import json
import time

import pytest
import tiny

import danlu
from danlu.core.words import LANGUAGES
from danlu.evaluate.page.profile import page
from danlu.train.profile import STEP


@pytest.fixture(scope="module")
def profiled(tmp_path_factory):
    """A run whose optimizer has been made slow."""
    folder = tmp_path_factory.mktemp("profiled")
    task = "text-classification"
    with pytest.MonkeyPatch.context() as patch:
        from danlu.train import step

        shrink = step.shrink
        patch.setattr(step, "shrink", lambda *args: (time.sleep(0.1), shrink(*args)))
        patch.setenv("DANLU_CACHE", str(folder / "cache"))
        recipe = tiny.recipe(task, tiny.write(task, folder), epochs=4, batch_size=12)
        yield danlu.train(recipe, out=folder / "run", progress=False, profile=True)


def test_numbers_say_what_was_slow(profiled):
    numbers = json.loads((profiled.path / "profile" / "profile.json").read_text(encoding="utf8"))
    assert set(numbers["parts"]) == set(STEP)
    assert numbers["parts"]["optimizer"] > max(0.1, *(seconds for name, seconds in numbers["parts"].items() if name != "optimizer"))
    assert numbers["traced"] == 4
    steps = profiled.events()[-1]["step"]
    assert numbers["steps"] == steps - 4
    assert 0.1 * steps < numbers["run"]["steps"] <= profiled.report["seconds"]
    assert 0 < numbers["useful_flops_per_second"] < numbers["peak_flops_per_second"]
    assert any(one["name"].startswith("aten::") for one in numbers["operators"])


def test_the_trace_is_bounded_and_names_the_parts(profiled):
    events = json.loads((profiled.path / "profile" / "trace.json").read_text(encoding="utf8"))["traceEvents"]
    named = [event["name"] for event in events if event.get("cat") == "user_annotation"]
    assert named.count("backward") == named.count("forward") == named.count("data") == 4
    assert set(STEP) <= set(named)


@pytest.mark.parametrize("lang", LANGUAGES)
def test_the_page_says_it_in_words(profiled, lang):
    numbers = json.loads((profiled.path / "profile" / "profile.json").read_text(encoding="utf8"))
    text = page(numbers, lang)
    assert {"en": "a larger train.batch_size changes them less often", "zh": "增大 train.batch_size 可以减少更新次数"}[lang] in text
    assert "<script" not in text
    assert "http" not in text.replace("http-equiv", "")


def test_a_profiled_run_gives_the_same_weights(profiled, tmp_path):
    plain = danlu.train(profiled.recipe, out=tmp_path / "plain", progress=False)
    files = [(run.bundle / "model.safetensors").read_bytes() for run in (plain, profiled)]
    assert files[0] == files[1]
    assert not (plain.path / "profile").exists()


def test_a_run_of_few_steps_has_a_page_too(tmp_path):
    task = "text-classification"
    recipe = tiny.recipe(task, tiny.write(task, tmp_path), epochs=1, batch_size=1000)
    run = danlu.train(recipe, out=tmp_path / "run", progress=False, profile=True)
    assert json.loads((run.path / "profile" / "profile.json").read_text(encoding="utf8"))["traced"] == 0
    assert (run.path / "profile" / "profile.html").exists()
    again = danlu.train(recipe | {"train": recipe["train"] | {"epochs": 3}}, out=tmp_path / "three", progress=False, profile=True)
    assert json.loads((again.path / "profile" / "profile.json").read_text(encoding="utf8"))["steps"] == 2  # the third was traced
