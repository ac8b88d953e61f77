"""The charts of a report: which lines, which axes, which words."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from markupsafe import Markup

from danlu.evaluate.metrics import LOWER_IS_BETTER
from danlu.evaluate.page.charts import Frame, Line, around, chart, matrix
from danlu.evaluate.page.numbers import Numbers

Words = Callable[..., str]
_LINES = 40  # labels drawn as curves; the weakest is always among them


def curve_charts(report: Mapping[str, Any], word: Words, numbers: Numbers) -> list[dict[str, Any]]:
    """ROC, precision over recall, and reliability, each with a title and what to read from it."""
    curves, scores = report["curves"], report["metrics"][report["side"]]
    share = "{:g}".format
    roc = Frame((0, 1), (0, 1), word("false-positives"), word("true-positives"), share, share)
    pr = Frame((0, 1), (0, 1), word("metric-recall"), word("metric-precision"), share, share)
    found = []
    for name, metric, frame, guide in (("roc", "roc_auc", roc, [Line([(0, 0), (1, 1)], style="guide")]), ("pr", "pr_auc", pr, [])):
        if curves[name]:
            lines, weakest = _by_label(curves[name], scores["classes"], metric)
            note = f"{weakest}: {numbers.value(metric, scores['classes'][weakest][metric]['value'])}"
            found.append({"title": word(name), "note": note, "legend": True, "svg": chart(frame, guide + lines, word(name))})
    if curves["reliability"]:
        found.append({"title": word("calibration"), "note": "", "legend": False, "svg": _reliability(curves["reliability"], word, numbers)})
    return found


def _by_label(curves: Mapping[str, list], classes: Mapping[str, Any], metric: str) -> tuple[list[Line], str]:
    """One grey line a label, and the weakest in colour on top."""
    ranked = sorted(curves, key=lambda label: classes[label][metric]["value"])
    lines = [Line(curves[label], label) for label in ranked[1:_LINES]]
    return [*lines, Line(curves[ranked[0]], ranked[0], "accent")], ranked[0]


def _reliability(bins: list[Mapping[str, float]], word: Words, numbers: Numbers) -> Markup:
    frame = Frame((0, 1), (0, 1), word("score"), word("share-right"))
    rows = sum(b["n"] for b in bins)
    dots = [
        (
            b["confidence"],
            b["right"],
            3 + 9 * (b["n"] / rows) ** 0.5,
            word("bin", confidence=numbers.percent(b["confidence"]), right=numbers.percent(b["right"]), n=b["n"]),
        )
        for b in bins
    ]
    line = Line([(b["confidence"], b["right"]) for b in bins], style="accent thin")
    return chart(frame, [Line([(0, 0), (1, 1)], style="guide"), line], word("calibration"), dots)


def training_charts(report: Mapping[str, Any], word: Words, numbers: Numbers) -> list[dict[str, Any]]:
    """Training loss, and the validation metric that chose the weights, by step."""
    curves, metric, found = report["curves"]["training"], report["metric"], []
    last = max([point[0] for point in curves["loss"]] + [p[0] for line in curves["validation"].values() for p in line], default=0)
    if not last:
        return found
    best = curves["best_step"]
    if curves["loss"]:
        frame = Frame((0, last), around([y for _, y in curves["loss"]], floor=0), word("step"), word("metric-log_loss"))
        lines = [Line(curves["loss"], word("training-loss"), "soft")]
        if curves["validation"].get("log_loss"):
            validation = curves["validation"]["log_loss"]
            frame = Frame(
                (0, last), around([y for line in (curves["loss"], validation) for _, y in line], floor=0), frame.x_title, frame.y_title
            )
            lines.append(Line(validation, word("side-validation"), "accent"))
        key = [(line.style, line.name) for line in lines]
        found.append({"title": word("training-loss"), "key": key, "svg": chart(frame, lines, word("training-loss"), mark=best)})
    points = curves["validation"].get(metric)
    if points:
        title = word("training-metric", metric=word(f"metric-{metric}"))
        bounds = (None, None) if metric in LOWER_IS_BETTER else (0, 1)
        frame = Frame((0, last), around([y for _, y in points], *bounds), word("step"), word(f"metric-{metric}"))
        dots = [(x, y, 5 if x == best else 2.5, numbers.value(metric, y)) for x, y in points]
        found.append({"title": title, "key": [], "svg": chart(frame, [Line(points, title, "accent")], title, dots, mark=best)})
    return found


def heat_map(report: Mapping[str, Any], word: Words) -> Markup | None:
    """The confusion matrix, or nothing where there are too many labels to draw one."""
    counts, labels = report["confusion"]["matrix"], report["labels"]
    if counts is None:
        return None

    def title(t: int, p: int) -> str:
        return word("confusion-cell", truth=labels[t], prediction=labels[p], n=counts[t][p])

    return matrix(counts, labels, title, word("confusion"))
