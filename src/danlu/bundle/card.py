"""The model card: what the bundle is, how sure its scores are and what it was made from, for whoever finds the folder."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_SHOWN = ("accuracy", "balanced_accuracy", "f1", "roc_auc", "log_loss", "ece")


def card(report: Mapping[str, Any], adapter: Mapping[str, Any] | None = None) -> str:
    """`card.md` (English, the language of model cards) from the content of report.json, and of `danlu.json`'s `adapter`."""
    side = "test" if report["metrics"].get("test") else "validation"
    metrics = report["metrics"].get(side) or {}
    lines = [
        "---",
        "library_name: danlu",
        f"pipeline_tag: {report['task']}",
        "---",
        "",
        f"# {report['task']}: {report['model']['architecture']}",
        "",
        f"{report['model']['parameters']:,} parameters, {len(report['labels'])} labels, made by Danlu on {report['created']}.",
        "",
        f"Scores on the {side} side, with 95% bootstrap intervals, beside the baselines:",
        "",
        "| metric | value | interval | n | majority | learned baseline |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for name in _SHOWN:
        measure = metrics.get(name)
        if measure and measure["value"] is not None:
            beside = [_value(report["baselines"].get(kind, {}).get(name)) for kind in ("majority", "learned")]
            lines.append(f"| {name} | {measure['value']:.4f} | {_interval(measure)} | {measure['n']} | {beside[0]} | {beside[1]} |")
    lines += ["", *_about_adapter(adapter)]
    lines += ["What was kept, cut and dropped of the data, the errors and the whole recipe stand in the run's report.", ""]
    return "\n".join(lines)


def _about_adapter(adapter: Mapping[str, Any] | None) -> list[str]:
    if not adapter:
        return []
    lines = [f"This model is frozen weights and an adapter ({adapter['method']}) that cannot be merged into them. Danlu puts both together."]
    lines += ["`from_pretrained` on this folder alone gives the weights and the trained head WITHOUT the adapter, which answer otherwise."]
    if adapter["method"] == "prompt":
        lines += ["With peft: `PeftModel.from_pretrained(AutoModelForSequenceClassification.from_pretrained(FOLDER), FOLDER/adapter)`."]
    return [*lines, ""]


def _value(measure: Mapping[str, Any] | None) -> str:
    return "" if not measure or measure["value"] is None else f"{measure['value']:.4f}"


def _interval(measure: Mapping[str, Any]) -> str:
    return "" if measure["low"] is None else f"{measure['low']:.4f} to {measure['high']:.4f}"
