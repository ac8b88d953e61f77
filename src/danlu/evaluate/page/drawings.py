"""The charts of a report: which lines, which axes, which words."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from markupsafe import Markup

from danlu.evaluate.metrics import LOWER_IS_BETTER
from danlu.evaluate.page.charts import Frame, Line, around, chart, matrix
from danlu.evaluate.page.numbers import PLAIN, Numbers

Words = Callable[..., str]
_FAIR = 0.03  # calibration error below which scores are called fair
_LINES = 40  # labels drawn as curves; the weakest is always among them


def curve_charts(report: Mapping[str, Any], word: Words, numbers: Numbers) -> list[dict[str, Any]]:
    """ROC, precision over recall, and reliability, each with a title and what to read from it."""
    curves, scores = report["curves"], report["metrics"][report["side"]]
    roc = Frame((0, 1), (0, 1), word("false-positives"), word("true-positives"), percent, percent)
    pr = Frame((0, 1), (0, 1), word("metric-recall"), word("metric-precision"), percent, percent)
    found = []
    for name, metric, frame, guide in (("roc", "roc_auc", roc, [Line([(0, 0), (1, 1)], style="guide")]), ("pr", "pr_auc", pr, [])):
        if curves[name]:
            lines, weakest = _by_label(curves[name], scores["classes"], metric)
            note = f"{weakest}: {numbers.value(metric, scores['classes'][weakest][metric]['value'])}"
            found.append({"title": word(name), "key": note, "note": "", "svg": chart(frame, guide + lines, word(name))})
    if curves["reliability"]:
        svg = _reliability(curves["reliability"], word, numbers)
        found.append({"title": word("calibration"), "key": "", "note": _calibration(report, word, numbers), "svg": svg})
        found.append({"title": word("selective"), "key": "", **_selective(curves["selective"], word, numbers)})
    return found


def _by_label(curves: Mapping[str, list], classes: Mapping[str, Any], metric: str) -> tuple[list[Line], str]:
    """One grey line a label, and the weakest in colour on top."""
    ranked = sorted(curves, key=lambda label: classes[label][metric]["value"])
    lines = [Line(curves[label], label) for label in ranked[1:_LINES]]
    return [*lines, Line(curves[ranked[0]], ranked[0], "accent")], ranked[0]


def _reliability(bins: list[Mapping[str, float]], word: Words, numbers: Numbers) -> Markup:
    frame = Frame((0, 1), (0, 1), word("score"), word("share-right"), percent, percent)
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


def _calibration(report: Mapping[str, Any], word: Words, numbers: Numbers) -> str:
    """How the scores are to be read, in a sentence."""
    bins = report["curves"]["reliability"]
    rows = sum(b["n"] for b in bins)
    confidence, right = (sum(b[name] * b["n"] for b in bins) / rows for name in ("confidence", "right"))
    ece = report["metrics"][report["side"]]["ece"]["value"]
    if ece < _FAIR or abs(confidence - right) < 0.5 * ece:
        return word("calibration-fair", gap=word("points", value=f"{100 * ece:.1f}"))
    return word(
        "calibration-over" if confidence > right else "calibration-under",
        confidence=numbers.percent(confidence),
        right=numbers.percent(right),
    )


def _selective(points: list[list[float]], word: Words, numbers: Numbers) -> dict[str, Any]:
    """Share right against share answered, and what leaving a tenth to people would give."""
    frame = Frame((0, 1), around([y for _, y in points], ceiling=1), word("share-answered"), word("share-right"), percent, percent)
    share, right = min(points, key=lambda point: abs(point[0] - 0.9))
    note = word("selective-note", left=numbers.percent(1 - share), right=numbers.percent(right), all=numbers.percent(points[-1][1]))
    return {"svg": chart(frame, [Line(points, style="accent")], word("selective"), mark=share), "note": note if share < 1 else ""}


def percent(value: float) -> str:
    """A share on an axis."""
    return f"{100 * value:g}%"


def training_charts(report: Mapping[str, Any], word: Words, numbers: Numbers) -> list[dict[str, Any]]:
    """Training loss, and the validation metric that chose the weights, by step."""
    curves, metric, found = report["curves"]["training"], report["metric"], []
    last = max([point[0] for point in curves["loss"]] + [p[0] for line in curves["validation"].values() for p in line], default=0)
    if not last:
        return found
    best = curves["best_step"]
    if curves["loss"]:
        frame = Frame((0, last), around([y for _, y in curves["loss"]], floor=0), word("step"), word("metric-log_loss"))
        lines = [Line(curves["loss"], word("side-train"), "soft")]
        if curves["validation"].get("log_loss"):
            validation = curves["validation"]["log_loss"]
            frame = Frame(
                (0, last), around([y for line in (curves["loss"], validation) for _, y in line], floor=0), frame.x_title, frame.y_title
            )
            lines.append(Line(validation, word("side-validation"), "accent"))
        key = [(line.style, line.name) for line in lines]
        found.append({"title": word("loss"), "key": key, "svg": chart(frame, lines, word("loss"), mark=best)})
    points = curves["validation"].get(metric)
    if points:
        title = word("training-metric", metric=word(f"metric-{metric}"))
        bounds = (None, None) if metric in LOWER_IS_BETTER else (0, 1)
        frame = Frame(
            (0, last),
            around([y for _, y in points], *bounds),
            word("step"),
            word(f"metric-{metric}"),
            write_y="{:g}".format if metric in PLAIN else percent,
        )
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
