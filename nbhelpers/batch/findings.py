"""What to trust, what not to trust, and what is unknown: picked out of the results of a run folder.

Figures of the model of ages that is best on calibration. What each says, and in which of three
lists it stands, is written in `macros.html.j2`, for the index and the model card alike.
"""

from nbhelpers.batch.scoreboard import FEW, records, told_coverage
from nbhelpers.evaluation.scores import ALL, FEWEST, best_model, collect
from nbhelpers.plots.tables import CLEAR, SHOWN, falls_short

SIMPLEST = "hog"  # of the models that look at a picture: it has no network


def find(folder: dict) -> dict[str, object]:
    """The `model` and figures by name: rows with their `run`; None or empty where no results say.

    `folder` is what `scoreboard.read_folder` gives.
    """
    results = list(folder["results"].values())
    model = best_model(collect(results, "age"), SHOWN["age"][0])
    held = {
        row["group"]: row
        for row in told_coverage(results, "age")
        if (row["model"], row["split"]) == (model, "test") and "chance" in row
    }
    errors = {
        row["group"]: row
        for row in records(results, "errors by group")
        if (row["model"], row["split"], row["metric"]) == (model, "test", "signed_error")
    }
    large = [row for row in errors.values() if row["n"] >= FEWEST and row["group"] != ALL]
    of_ages = [of for of in results if of["parameters"].get("task") == "age"]
    pairs = [row for row in records(of_ages, "against the best") if row["best"] == model]
    masking = records(results, "masking")
    stress = [row for row in records(results, "stress") if row["difference"] is not None]
    stages = folder["data"].get("stage_names", []) if errors else []
    sizes = {stage: errors[stage]["n"] if stage in errors else 0 for stage in stages}
    return {
        "model": model,
        "simplest": next((row for row in pairs if row["model"] == SIMPLEST), None),
        "better": [row for row in pairs if row["p_holm"] < CLEAR and row["value"] < 0],
        "held": held.get(ALL),
        "short": [row for row in held.values() if falls_short(row)],
        "judged": len(held),
        "furthest": max(large, key=lambda row: abs(row["value"]), default=None),
        "groups": len(large),
        "few": {stage: n for stage, n in sizes.items() if n < FEW},
        "worst": max(stress, key=lambda row: row["difference"], default=None),
        "corruptions": len({row["kind"] for row in stress}),
        "markers": next((row for row in masking if row["place"] == "marker"), None),
    }
