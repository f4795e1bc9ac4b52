"""Which runs of a profile wait for which."""

from nbhelpers.profiles import TRAINERS, Run
from nbhelpers.workspace import InputError

# Notebooks of a group wait for all runs of the nearest group before them that has runs.
ENSEMBLES = 5
GROUPS = ((1,), (2, 3, 4), (5,), (6, 7, 8, 9))


def upstream(runs: tuple[Run, ...], run: Run) -> list[Run]:
    """The runs that `run` waits for: the nearest earlier group that has any, what it compares its
    model with, and ensembles of ages, whose months ensembles of stages are compared with."""
    return [*_earlier_group(runs, run), *_compared(runs, run), *_ages_first(runs, run)]


def check_comparisons(runs: tuple[Run, ...]) -> None:
    """Raise InputError where a run is to be compared with a model that no run of the profile makes
    before it."""
    for run in runs:
        wanted = run.values.get("compare_with")
        if not wanted:
            continue
        found = _compared(runs, run)
        if not found:
            raise InputError(
                f"{run.settings}: compare_with is {wanted!r}, but no other run of this profile "
                f"makes a model of that name for task {run.values.get('task')}. Name one, or leave "
                "compare_with out."
            )
        if found[0].values.get("compare_with"):
            raise InputError(
                f"{run.settings}: compare_with is {wanted!r}, whose run {found[0].name} is itself "
                "compared with another. Compare both with one model."
            )


def _earlier_group(runs: tuple[Run, ...], run: Run) -> list[Run]:
    position = next((at for at, group in enumerate(GROUPS) if run.number in group), len(GROUPS))
    for group in reversed(GROUPS[:position]):
        earlier = [other for other in runs if other.number in group]
        if earlier:
            return earlier
    return []


def _ages_first(runs: tuple[Run, ...], run: Run) -> list[Run]:
    if run.number != ENSEMBLES or run.values.get("task") != "stage":
        return []
    return [
        other for other in runs if other.number == ENSEMBLES and other.values.get("task") != "stage"
    ]


def _compared(runs: tuple[Run, ...], run: Run) -> list[Run]:
    wanted, task = run.values.get("compare_with"), run.values.get("task")
    return [
        other
        for other in runs
        if wanted
        and other is not run
        and other.number in TRAINERS
        and (other.values.get("model"), other.values.get("task")) == (wanted, task)
    ]
