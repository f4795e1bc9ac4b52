"""How a score stands in a table of the index: as text, with its interval and a bar."""

from dataclasses import dataclass

LOWER_IS_BETTER = ("mae", "mse", "rmse", "median_error")
MONTHS = ("mae", "rmse", "median_error")
SHARES = ("within_6", "within_12", "within_24", "accuracy")


@dataclass(frozen=True)
class Cell:
    """A score as the table shows it."""

    text: str  # "11.3"
    interval: str  # "10.9 to 11.8", or ""
    years: str  # "0.94 years" for the error that has a bar, or ""
    bar: dict[str, float] | None  # left, width and point in percent of the column's scale


def widest(by_model: dict[str, dict], metric: str) -> float:
    """The end of the bars' scale: 1 for shares and kappa, else the largest upper end."""
    if metric not in LOWER_IS_BETTER:
        return 1.0
    scores = [by_metric[metric] for by_metric in by_model.values() if metric in by_metric]
    ends = [score["upper"] or score["value"] or 0.0 for score in scores]
    return max(ends, default=0.0) * 1.02


def cell(score: dict | None, metric: str, scale: float) -> Cell | None:
    """A score as text, its 95 % interval beside it, and a bar where `scale` is not 0."""
    if score is None or score["value"] is None:
        return None
    value, lower, upper = score["value"], score["lower"], score["upper"]
    known = lower is not None and upper is not None
    interval = f"{number(lower, metric)} to {number(upper, metric)}" if known else ""
    years = f"{value / 12:.2f} years" if metric in MONTHS and scale > 0 else ""
    bar = None
    if scale > 0:
        left, right = (lower, upper) if known else (value, value)
        left, point, right = (100 * min(max(at / scale, 0.0), 1.0) for at in (left, value, right))
        bar = {"left": round(left, 2), "width": round(right - left, 2), "point": round(point, 2)}
    return Cell(number(value, metric), interval, years, bar)


def number(value: float, metric: str) -> str:
    """One decimal for months, per cent for shares, two or three decimals for the rest."""
    if metric in SHARES:
        return f"{100 * value:.1f} %"
    if metric in LOWER_IS_BETTER:
        return f"{value:.1f}"
    return f"{value + 0.0:.3f}".replace("-0.000", "0.000")
