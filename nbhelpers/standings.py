"""All pairs of models on the same cases: which differences are more than chance."""

import itertools
from pathlib import Path

import pandas as pd

from nbhelpers import evaluation, paired, predictions

COLUMNS = ["a", "b", "n", "value", "lower", "upper", "p", "p_holm"]


def all_pairs(run_folder: Path, task: str, split: str) -> pd.DataFrame:
    """COLUMNS, a row a pair of models, `value` a minus b.

    Age: the difference in mean absolute months; below 0, a is better. Stage: in quadratic weighted
    kappa, the stages derived from months among the models; above 0, a is better. Intervals are
    paired bootstrap intervals, `p_holm` is corrected for the number of pairs.
    """
    models = _models(run_folder, task, split)
    rows = []
    for a, b in itertools.combinations(models, 2):
        both = models[a].merge(models[b], on="case_id", suffixes=("_a", "_b"))
        if task == "age":
            found = paired.compare_errors(both["error_a"], both["error_b"])
        else:
            found = paired.compare_kappa(both["stage_a"], both["said_a"], both["said_b"])
        rows.append({"a": a, "b": b, **found})
    table = pd.DataFrame(rows, columns=COLUMNS[:-1])
    return table.assign(p_holm=paired.holm(table["p"]))[COLUMNS]


def _models(run_folder: Path, task: str, split: str) -> dict[str, pd.DataFrame]:
    """By model, what is compared, indexed by case."""
    found = {}
    for of_task in ("age",) if task == "age" else ("age", "stage"):
        for model in predictions.saved_models(run_folder, of_task):
            cases = evaluation.case_errors(run_folder, model, of_task, split).set_index("case_id")
            if task == "age":
                found[model] = pd.DataFrame({"error": cases["error_months"].abs()})
            else:
                name = model + (evaluation.DERIVED if of_task == "age" else "")
                stages = {"stage": cases["stage"], "said": cases["predicted_stage"]}
                found[name] = pd.DataFrame(stages).dropna().astype(int)
    return found
