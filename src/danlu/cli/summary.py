"""The closing lines of a run: the score with its interval beside the baselines, where everything is, and what to do next."""

from __future__ import annotations

from typing import Any

from danlu.core.words import say
from danlu.train.progress import line
from danlu.train.run import Run

_SHOWN = ("accuracy", "balanced_accuracy", "f1", "log_loss")


def tell(run: Run) -> None:
    """Prints the summary of a finished run to stderr."""
    report = run.report
    side = "test" if report["metrics"].get("test") else "validation"
    line("")
    rows = report["metrics"][side]["accuracy"]["n"]
    line(say(f"cli.score-{side}" if rows else "cli.score-none", n=rows))
    table(report["metrics"][side], report["baselines"])
    line(say("cli.seconds", seconds=f"{report['seconds']:.0f}", memory=f"{report['peak_memory_bytes'] / 2**30:.2f}"))
    line("")
    line(say("cli.where", run=run.path, report=run.path / "report.html", bundle=run.bundle))


def table(metrics: dict[str, Any], baselines: dict[str, Any]) -> None:
    """Metrics with their 95% intervals, beside the baselines' values."""
    for name in _SHOWN:
        if not (measure := metrics.get(name)) or measure["value"] is None:
            continue
        beside = "  ".join(
            f"{say(f'cli.baseline-{kind}')} {values[name]['value']:.4f}"
            for kind, values in baselines.items()
            if values.get(name) and values[name]["value"] is not None
        )
        line(f"  {name:<18} {measure['value']:.4f}  [{measure['low']:.4f}, {measure['high']:.4f}]   {beside}".rstrip())
