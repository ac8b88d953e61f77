"""What the templates show, made from the report: sentences, chosen rows and drawn charts. No markup stands here."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from danlu.evaluate.page.drawings import curve_charts, heat_map, training_charts
from danlu.evaluate.page.numbers import Numbers

Words = Callable[..., str]
_SHOWN = ("accuracy", "balanced_accuracy", "f1", "f1_weighted", "precision", "recall", "roc_auc", "pr_auc", "log_loss", "ece")
_CLASSES = 30  # listed before the rest is folded
_FEW = 100  # rows below which the page warns
_LOOKS = 10


def view(report: Mapping[str, Any], word: Words, numbers: Numbers, lang: str) -> dict[str, Any]:
    """Everything a template needs beside the report itself."""
    shown, folded = _classes(report)
    return {
        "headline": _headline(report, word, numbers),
        "bars": _bars(report, word),
        "facts": _facts(report, word, numbers),
        "columns": _columns(report, word),
        "metric_names": _SHOWN,
        "classes": shown,
        "folded_classes": folded,
        "matrix": heat_map(report, word),
        "charts": curve_charts(report, word, numbers),
        "training_charts": training_charts(report, word, numbers),
        "contract_lines": report["contract_lines"].get(lang, []),
        "recipe_text": _yaml(report["recipe"]) if report["recipe"] else "",
        "machine": _machine(report["machine"] or {}),
    }


def _headline(report: Mapping[str, Any], word: Words, numbers: Numbers) -> dict[str, Any]:
    metric, side, versus = report["metric"], report["side"], report["versus_baseline"]
    measure = report["metrics"][side][metric]
    kind = f"{report['kind']}-classification"
    found = {
        "task": word(f"kind-{report['kind']}") if report["task"] == kind else report["task"],
        "value": numbers.value(metric, measure["value"]),
        "measured": word("measured-on", metric=word(f"metric-{metric}"), n=numbers.count(measure["n"]), side=word(f"side-{side}")),
        "interval": "",
        "verdict": word("verdict-unknown"),
        "better": False,
        "notes": _notes(report, word, numbers),
    }
    if measure["value"] is not None:
        found["interval"] = word("interval", low=numbers.value(metric, measure["low"]), high=numbers.value(metric, measure["high"]))
        if metric == "accuracy":
            hundredths = {name: round(100 * measure[name]) for name in ("value", "low", "high")}
            found["verdict"] = word("verdict-alone", **hundredths)
    if versus and versus["value"] is not None:
        low, high = numbers.gain(metric, versus["low"]), numbers.gain(metric, versus["high"])
        gain = numbers.gain_with_unit(metric, versus["value"])
        found["verdict"] = word(f"verdict-{versus['verdict']}", name=word(f"baseline-{versus['name']}"), gain=gain, low=low, high=high)
        found["better"] = versus["verdict"] == "better"
    return found


def _notes(report: Mapping[str, Any], word: Words, numbers: Numbers) -> list[str]:
    """What a careful reader should know of the headline."""
    notes, versus, rows = [], report["versus_baseline"], report["metrics"][report["side"]]["accuracy"]["n"]
    if versus and versus["value"] is not None:
        notes.append(word("discordant", only_a=versus["only_a"], only_b=versus["only_b"], p=numbers.probability(versus["p"])))
    if rows < _FEW:
        notes.append(word("few-rows", n=rows))
    if report["side"] == "validation":
        notes.append(word("validation-only"))
    if (report["looks"] or 0) >= _LOOKS:
        notes.append(word("looks-many", n=report["looks"]))
    return notes


def _bars(report: Mapping[str, Any], word: Words) -> list[dict[str, Any]]:
    """The headline score beside the baselines', best known last; nothing where the metric is no share."""
    metric = report["metric"]
    lines = [
        {"name": word(f"baseline-{scored['name']}"), "measure": scored[metric], "style": "line"} for scored in report["baselines"].values()
    ]
    lines.append({"name": word("this-model"), "measure": report["metrics"][report["side"]][metric], "style": "accent"})
    return [line for line in lines if line["measure"]["value"] is not None and metric != "log_loss"]


def _facts(report: Mapping[str, Any], word: Words, numbers: Numbers) -> list[dict[str, str]]:
    rows, model = report["rows"], report["model"] or {}
    facts = []
    if "train" in rows:
        split = {side: numbers.count(rows.get(side, 0)) for side in ("train", "validation", "test")}
        facts.append({"name": word("fact-rows"), "value": numbers.count(sum(rows.values())), "note": word("fact-rows-note", **split)})
    if model:
        note = word("fact-parameters", n=numbers.rounded(model["parameters"])) if "parameters" in model else ""
        facts.append({"name": word("fact-model"), "value": str(model.get("architecture", "")), "note": note})
    if report["seconds"] is not None:
        facts.append({"name": word("fact-training"), "value": numbers.time(report["seconds"]), "note": _processor(report)})
    if report.get("peak_memory_bytes"):
        facts.append({"name": word("fact-memory"), "value": f"{report['peak_memory_bytes'] / 2**30:.2f} GiB", "note": _useful(report, word)})
    if report["looks"]:
        facts.append({"name": word("fact-looks"), "value": str(report["looks"]), "note": word("fact-looks-note")})
    return facts


def _useful(report: Mapping[str, Any], word: Words) -> str:
    share = report["useful_flops_share"]
    return "" if share is None else word("fact-useful", percent=f"{share:.0%}", precision=report["precision"])


def _processor(report: Mapping[str, Any]) -> str:
    machine = report["machine"] or {}
    return str(machine.get("processor" if machine.get("device", "cpu") == "cpu" else "device") or "")


def _columns(report: Mapping[str, Any], word: Words) -> list[dict[str, Any]]:
    """Columns of the table of metrics: the sides that have rows, then the baselines."""
    sides = [side for side in ("test", "validation") if report["metrics"][side] and report["metrics"][side]["accuracy"]["n"]]
    columns = [{"name": word(f"side-{side}"), "scores": report["metrics"][side], "own": side == report["side"]} for side in sides]
    named = sorted(report["baselines"].items(), key=lambda item: item[0] != "learned")
    return columns + [{"name": word(f"baseline-{scored['name']}"), "scores": scored, "own": False} for _, scored in named]


def _classes(report: Mapping[str, Any]) -> tuple[list, list]:
    """Labels and their scores in the order of labels; beyond 30 the weakest come first and the rest is folded."""
    lines = list(report["metrics"][report["side"]]["classes"].items())
    if len(lines) <= _CLASSES:
        return lines, []
    lines.sort(key=lambda line: 2.0 if line[1]["f1"]["value"] is None else line[1]["f1"]["value"])
    return lines[:_CLASSES], lines[_CLASSES:]


def _machine(machine: Mapping[str, Any]) -> dict[str, str]:
    """Lines of the machine's table by the last part of their word key."""
    lines = {name: str(machine[name]) for name in ("processor", "cores", "threads", "system", "python", "device") if machine.get(name)}
    if machine.get("memory"):
        lines["memory"] = f"{machine['memory'] / 2**30:.1f} GiB"
    if machine.get("packages"):
        lines["packages"] = ", ".join(f"{name} {version}" for name, version in machine["packages"].items() if version)
    return lines


def _yaml(tree: Any, depth: int = 0) -> str:
    """Plain values as indented lines, empty ones left out."""
    lines = []
    for name, value in tree.items():
        if value is None or value == {} or value == []:
            continue
        if isinstance(value, Mapping):
            inner = _yaml(value, depth + 1)
            lines += [f"{'  ' * depth}{name}:\n{inner}"] if inner else []
        else:
            text = "[" + ", ".join(map(str, value)) + "]" if isinstance(value, (list, tuple)) else _plain(value)
            lines.append(f"{'  ' * depth}{name}: {text}")
    return "\n".join(lines)


def _plain(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
