"""How numbers are written on the page: shares as percent, areas and losses with three decimals, counts with thousands apart."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

DASH = "–"
PLAIN = ("roc_auc", "pr_auc", "log_loss")


class Numbers:
    """Writes measures. Percent have one decimal, or two where the score is so high on so many rows that the second one counts."""

    def __init__(self, report: Mapping[str, Any], word: Callable[..., str]) -> None:
        headline = report["metrics"][report["side"]][report["metric"]]
        self.decimals = 2 if (headline["value"] or 0) >= 0.98 and headline["n"] >= 5000 else 1
        self.word = word

    def value(self, name: str, value: float | None) -> str:
        if value is None:
            return DASH
        return f"{value:.3f}" if name in PLAIN else self.percent(value)

    def percent(self, value: float) -> str:
        return f"{100 * value:.{self.decimals}f}%"

    def span(self, name: str, measure: Mapping[str, Any]) -> str:
        """The interval as `91.9–94.8`, empty where there is none."""
        if measure["value"] is None:
            return ""
        low, high = measure["low"], measure["high"]
        return f"{low:.3f}–{high:.3f}" if name in PLAIN else f"{100 * low:.{self.decimals}f}–{100 * high:.{self.decimals}f}"

    def gain(self, name: str, value: float) -> str:
        """A signed difference: `+2.1`, or `-0.012` for an area or a loss."""
        text = f"{value:+.3f}" if name in PLAIN else f"{100 * value:+.{self.decimals}f}"
        return text.replace("-", "−")

    def gain_with_unit(self, name: str, value: float) -> str:
        text = self.gain(name, value)
        return text if name in PLAIN else self.word("points", value=text)

    def count(self, value: int) -> str:
        return f"{value:,}"

    def rounded(self, value: int) -> str:
        """A large count in three figures: `6.61 M`."""
        for unit, size in (("G", 1e9), ("M", 1e6), ("k", 1e4)):
            if value >= size:
                return f"{value / (1e3 if unit == 'k' else size):.3g} {unit}"
        return f"{value:,}"

    def time(self, seconds: float) -> str:
        minutes, rest = divmod(round(seconds), 60)
        if not minutes:
            return self.word("seconds", seconds=f"{seconds:.1f}")
        if minutes < 60:
            return self.word("minutes", minutes=minutes, seconds=rest)
        return self.word("hours", hours=minutes // 60, minutes=minutes % 60)

    def probability(self, p: float) -> str:
        return "<\u00a00.001" if p < 0.001 else f"=\u00a0{p:.3f}"
