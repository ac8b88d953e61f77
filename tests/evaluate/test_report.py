"""The report as a whole: plain JSON, and a page that is complete, safe and speaks both languages."""

import json
import re
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from evaluate_fakes import answers, world

from danlu.core.types import Sound
from danlu.core.words import catalogue
from danlu.evaluate import page as page_folder
from danlu.evaluate.baselines import targets
from danlu.evaluate.judge import judge
from danlu.evaluate.report import write

EVIL = "<script>alert('x')</script>\"'><img src=http://evil.example/a onerror=alert(1)>{{ 7 * 7 }}"
CONTRACT = SimpleNamespace(as_json=lambda: {"kept": 40}, lines=lambda lang: [{"en": "40 rows kept", "zh": "保留 40 行"}[lang] + EVIL])
EVENTS = [
    *({"event": "Stepped", "step": s, "loss": 1 / s, "lr": 0.1} for s in range(1, 20)),
    {"event": "Evaluated", "step": 19, "metrics": {"accuracy": 0.8, "log_loss": 0.5}},
    {"event": "Finished", "step": 19, "best_step": 19, "reason": "epochs"},
]
FACTS = {
    "contract": CONTRACT,
    "recipe": {"task": "text-classification", "data": {"path": EVIL}, "seed": 3},
    "events": EVENTS,
    "machine": {"processor": EVIL, "cores": 2, "memory": 2**33, "packages": {"danlu": "0.1.0"}},
    "model": {"architecture": "bag", "parameters": 1_234_567},
    "looks": 12,
    "seconds": 75.0,
}

OTHER_PAGES = ("profile", "rates")


def values(kind: str, rows: int) -> list:
    random = np.random.default_rng(0)
    if kind == "image":
        return [random.integers(0, 255, (12, 12, 1), dtype=np.uint8) for _ in range(rows)]
    if kind == "audio":
        return [Sound(random.normal(0, 0.1, 2000).astype(np.float32), 8000) for _ in range(rows)]
    return [f"row {i} {EVIL}" for i in range(rows)]


def judged(
    kind: str = "text", rows: int = 160, labels: tuple[str, ...] = ("good", EVIL, "坏"), sides: list[str] | None = None, **facts: object
) -> dict:
    truth = [i // 4 % len(labels) for i in range(rows)]
    dataset, task, encoded = world(values(kind, rows), truth, list(labels), kind, sides)
    parts = {side: part for side, part in encoded.items() if len(part.rows)}
    probabilities = {side: answers(targets(part).tolist(), len(labels)) for side, part in parts.items() if side != "train"}
    return judge(dataset, task, parts, probabilities, {**FACTS, **facts})


class Page(HTMLParser):
    """Collects tags, attributes and visible text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict]] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data


def written(report: dict, folder: Path, lang: str = "en") -> tuple[str, Page]:
    write(folder, report, lang)
    assert json.loads((folder / "report.json").read_text(encoding="utf8")) == json.loads(json.dumps(report))
    text = (folder / "report.html").read_text(encoding="utf8")
    return text, Page(text)


def test_the_report_is_plain_json_with_everything_in_it() -> None:
    report = judged()
    json.dumps(report, allow_nan=False)
    assert set(report["metrics"]) == {"validation", "test"}
    assert set(report["baselines"]) == {"majority", "learned"}
    assert report["metrics"]["test"]["accuracy"]["n"] == report["baselines"]["learned"]["accuracy"]["n"] == 40
    assert set(report["metrics"]["test"]["classes"]) == set(report["labels"])
    assert report["versus_baseline"]["n"] == 40
    assert sum(map(sum, report["confusion"]["matrix"])) == 40
    assert report["curves"]["training"]["best_step"] == 19
    gap = report["metrics"]["test"]["accuracy"]["value"] - report["baselines"]["learned"]["accuracy"]["value"]
    assert report["versus_baseline"]["value"] == pytest.approx(gap)
    assert judged() | {"created": 0} == report | {"created": 0}


@pytest.mark.parametrize("kind", ["text", "image", "audio"])
@pytest.mark.parametrize("lang", ["en", "zh"])
def test_the_page_is_complete_and_loads_nothing(kind: str, lang: str, tmp_path: Path) -> None:
    text, page = written(judged(kind), tmp_path, lang)
    assert len(text.encode()) < 5_000_000
    for tag, attributes in page.tags:
        assert tag not in ("script", "link", "iframe", "object", "form", "base"), tag
        assert not any(name.startswith("on") or name == "style" for name in attributes), attributes
        for name in ("src", "href", "srcset", "action", "data"):
            assert attributes.get(name, "data:").startswith("data:"), attributes
    style = re.search(r"<style>(.*?)</style>", text, re.S)[1]
    assert "url(" not in style
    assert "@import" not in style
    shown = {"text": "blockquote", "image": "img", "audio": "audio"}[kind]
    assert sum(tag == shown for tag, _ in page.tags) == len(judged(kind)["errors"])
    assert {"en": "40 rows kept", "zh": "保留 40 行"}[lang] in page.text


def test_what_the_user_wrote_is_text_not_markup(tmp_path: Path) -> None:
    text, page = written(judged(), tmp_path)
    assert "<script" not in text
    assert "evil.example" in page.text  # shown as it is
    assert "{{ 7 * 7 }}" in page.text
    policy = next(a["content"] for tag, a in page.tags if a.get("http-equiv") == "Content-Security-Policy")
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy


def test_the_style_is_the_one_the_policy_allows(tmp_path: Path) -> None:
    import base64
    import hashlib

    text, _ = written(judged(), tmp_path)
    style = re.search(r"<style>(.*?)</style>", text, re.S)[1]
    assert base64.b64encode(hashlib.sha256(style.encode()).digest()).decode() in text


@pytest.mark.parametrize("labels", [2, 20, 40, 100])
def test_any_number_of_labels(labels: int, tmp_path: Path) -> None:
    report = judged(rows=8 * labels, labels=tuple(f"label {i}" for i in range(labels)))
    text, page = written(report, tmp_path)
    assert all(f"label {i}" in page.text for i in range(labels))
    assert ('class="matrix' in text) == (labels <= 50)
    assert ("<details>" in text) == (labels > 30)


def test_a_bundle_judged_on_strange_data_has_no_baseline_and_few_facts(tmp_path: Path) -> None:
    truth = [i % 2 for i in range(30)]
    dataset, task, encoded = world([f"t {i}" for i in range(30)], truth, ["a", "b"], sides=["test"] * 30)
    report = judge(dataset, task, {"test": encoded["test"]}, {"test": answers(truth, 2)}, {})
    assert report["baselines"] == {}
    assert report["versus_baseline"] is None
    assert report["metrics"]["validation"] == {}
    for lang in ("en", "zh"):
        written(report, tmp_path, lang)


def test_without_a_test_side_validation_is_judged_and_said_so(tmp_path: Path) -> None:
    report = judged(sides=["train", "validation"] * 80)
    assert report["side"] == "validation"
    assert report["metrics"]["test"] == {}
    assert "There is no test side" in written(report, tmp_path)[1].text


def test_nothing_to_judge_is_still_a_report(tmp_path: Path) -> None:
    report = judged(sides=["train"] * 160)
    json.dumps(report, allow_nan=False)
    assert report["metrics"]["validation"]["accuracy"] == {"value": None, "low": None, "high": None, "n": 0}
    written(report, tmp_path)


def test_many_looks_are_warned_of(tmp_path: Path) -> None:
    assert "scored 12 times" in written(judged(looks=12), tmp_path)[1].text
    assert "scored 3 times" not in written(judged(looks=3), tmp_path)[1].text


@pytest.mark.parametrize("room", ["report", *OTHER_PAGES])
def test_every_word_of_the_page_exists_and_is_used(room: str) -> None:
    folder = Path(page_folder.__file__).parent
    mine = [
        path
        for path in folder.iterdir()
        if path.suffix in (".py", ".html") and (path.stem == room or (room == "report" and path.stem not in OTHER_PAGES))
    ]
    source = "".join(path.read_text(encoding="utf8") for path in mine)
    asked = set(re.findall(r"""(?:\bt|word)\(\s*"([a-z0-9_-]+)"[,)]""", source))
    known = set(catalogue(room))
    assert asked <= known
    assert room != "report" or {"verdict-better", "verdict-same", "verdict-worse"} <= known
    prefixes = (
        "kind-",
        "side-",
        "verdict-",
        "baseline-",
        "metric-",
        "about-",
        "split-",
        "machine-",
        "reason-",
        "slice-",
        "calibration-",
        "part-",
        "note-",
        "run-",
        "advice-",
    )
    frame = {"footer"} if room == "report" else {"title", "footer"}
    unused = {key for key in known - asked - frame if not key.startswith(prefixes) and f'"{key}"' not in source}
    assert not unused
