"""What the README says is so: its figures stand in results files, its commands and files exist."""

import json
import re
from pathlib import Path

import pandas as pd

from nbhelpers.plots.tables import SEXES, coverage_table

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
MEASURED = ROOT / "reports" / "measured"
METRICS = {"MAE, months": "mae", "RMSE, months": "rmse", "R²": "r2", "accuracy": "accuracy"}
METRICS |= {"weighted kappa": "qwk", "within 12 months": "within_12"}


def tables(first: str) -> list[list[list[str]]]:
    """Header and rows of every Markdown table whose first heading it is."""
    found = []
    for block in re.findall(rf"^\| {first} \|.*\n(?:\|.*\n)+", README, flags=re.MULTILINE):
        lines = [line.strip("|").split("|") for line in block.splitlines()]
        rows = [[cell.strip(" *`") for cell in line] for line in lines]
        found.append([rows[0], *rows[2:]])
    return found


def measured(name: str) -> dict:
    return json.loads((MEASURED / f"{name}.json").read_text())


def interval(row: dict, form: str = ".2f", value: str = "value") -> str:
    return f"{row[value]:{form}} ({row['lower']:{form}} to {row['upper']:{form}})"


def test_every_figure_of_the_results_tables_stands_in_a_results_file():
    scores = [one for path in MEASURED.glob("0*.json") for one in measured(path.stem)["scores"]]
    known = {(s["model"], s["task"], s["metric"]): s for s in scores if s["split"] == "test"}
    ages, stages = tables("model")
    for task, (header, *rows) in (("age", ages), ("stage", stages)):
        assert len(rows) >= 9
        for model, n, *cells in rows:
            for name, cell in zip(header[2:], cells, strict=True):
                score = known[model, task, METRICS[name]]
                digits = len(cell.split(" ")[0].partition(".")[2])
                assert cell == interval(score, f".{digits}f") and digits, (model, name)
                assert n == f"{score['n']:,}"


def test_every_difference_of_the_study_stands_in_a_results_file():
    ((_, *rows),) = tables("instead of `base`")
    assert len(rows) >= 3
    for _, model, n, said in rows:
        figures = measured(f"study/03_transfer_learning.{model}")["figures"]
        row = {key.removeprefix("against base: "): value for key, value in figures.items()}
        assert (n, said) == (f"{row['n']:,}", interval(row, "+.2f")), model


def test_what_is_said_of_the_ensemble_and_its_intervals_stands_in_its_results_file():
    run = measured("05_ensembling.age")
    figures, best = run["figures"], run["figures"]["best on calibration"]
    against = {key.rpartition(": ")[2]: v for key, v in figures.items() if "against" in key}
    value, lower, upper = (f"{abs(against[key]):.2f}" for key in ("value", "upper", "lower"))
    assert f"{value} months ({lower} to {upper}, paired, n = {against['n']:,}) better" in README
    assert f"`{best}`, is" in README
    ((header, *rows),) = tables("group")
    held = pd.DataFrame(run["tables"]["intervals"]).query("model == @best and level == 0.9")
    shown = coverage_table(held, "group").rename(SEXES)
    assert header[2:] == list(shown.columns[1:])
    assert [row[2:] for row in rows] == shown.iloc[:, 1:].to_numpy().tolist()
    assert [row[:2] for row in rows] == [[name, f"{n:,}"] for name, n in shown["cases"].items()]


def test_what_is_said_of_the_heat_maps_stands_in_their_results_file():
    found = measured("06_grad_cam")["tables"]
    for row in found["measures"]:
        if row["network"] == "cnn age" and not row["measure"].startswith("likeness"):
            assert interval(row) in README, row["measure"]
    for row in found["masking"]:
        if row["place"] != "field edge":
            said = f"{interval(row, '+.2f', 'difference')[:-1]}, n = {row['n']})"
            assert said.removeprefix("-0.00") in README.replace(" months (", " ("), row["place"]


def test_what_is_said_of_doubts_stands_in_their_results_file():
    found = measured("doubts")
    ((header, *rows),) = tables("fault")
    sets = [found[name] for name in ("rsna100", "rsna_originals", "drawn")]
    for fault, *cells in rows:
        name, key = fault.replace("turned by ", "turned ").replace("°", "").split(": ")[0], "found"
        name, key = name.removeprefix("fingers "), "marked" if fault.endswith("marked") else key
        said = [
            f"{100 * one['faults'][name][key]:.1f} % of {one['n of each fault']}"
            for one in sets
            if name in one["faults"]
        ]
        assert cells == (said or [f"{100 * one['marked']:.1f} % of {one['n']:,}" for one in sets])
    assert len(header) == 4 and len(rows) == 11


def test_what_is_said_of_groups_and_stress_stands_in_their_results_file():
    run = measured("07_bias_analysis")
    found = run["tables"]
    model = found["group tests"][0]["model"]
    (gap,) = [
        row
        for row in found["sex gap"]
        if (row["metric"], row["adjustment"]) == ("mae", "standardised")
    ]
    said = f"{interval(gap)[:-1]}, n = {gap['n_female']} and {gap['n_male']}) larger for girls"
    assert said in README.replace(" months (", " (")
    assert gap["verdict"] == "equivalent" and run["parameters"]["margin_months"] == 2
    (late,) = [
        row
        for row in found["errors by group"]
        if (row["model"], row["group"], row["metric"]) == (model, "post-puberty", "signed_error")
    ]
    said = f"{-late['value']:.1f} months too little ({-late['upper']:.1f} to {-late['lower']:.1f}, "
    assert f"`{model}` errs" in README and f"{said}n = {late['n']})" in README
    (signed,) = [
        row
        for row in found["sex gap"]
        if (row["metric"], row["adjustment"]) == ("signed_error", "standardised")
    ]
    value, lower, upper = (f"{-signed[key]:.2f}" for key in ("value", "upper", "lower"))
    assert f"{value} months lower for girls ({lower} to {upper}, n = 775 and 911)" in README
    stress = {
        (row["kind"], row["strength"]): row for row in found["stress"] if row["model"] == "cnn"
    }
    for tried in (("inverted", 1), ("noise", 5), ("resolution", 2), ("shift", 20)):
        row = stress[tried]
        ends = f"({row['difference_lower']:.1f} to {row['difference_upper']:.1f})"
        said = README.replace(" months to its error (", " (")
        assert f"{row['difference']:.1f} {ends}" in said, tried


def test_notebooks_tell_to_expect_what_was_measured():
    scores = [one for path in MEASURED.glob("0*.json") for one in measured(path.stem)["scores"]]
    mae = {s["model"]: s["value"] for s in scores if (s["split"], s["metric"]) == ("test", "mae")}
    (gap,) = [
        row["value"]
        for row in measured("07_bias_analysis")["tables"]["sex gap"]
        if (row["metric"], row["adjustment"]) == ("mae", "standardised")
    ]
    expected = {
        "02_cnn_tuning": f"about {mae['cnn']:.0f} months",
        "03_transfer_learning": f"about {mae['mobilenet']:.0f} months",
        "04_hog_xgboost": f"about {mae['hog']:.0f} months",
        "05_ensembling": f"about {mae['ensemble_ridge_sex']:.1f} months",
        "07_bias_analysis": f"an error of girls {gap:.1f} months",
    }
    for name, words in expected.items():
        cells = json.loads((ROOT / "notebooks" / f"{name}.ipynb").read_text())["cells"]
        text = "".join(cells[1]["source"]).replace('"\n        "', "")
        assert words in text, name


def test_commands_notebooks_files_and_the_picture_exist():
    targets = re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE)
    assert set(re.findall(r"make ([a-z]+)", README)) <= set(targets)
    for name in re.findall(r"(?:notebooks|params)/[\w./]+\w", README):
        assert (ROOT / name).exists(), name
    assert all(path.name in README for path in (ROOT / "notebooks").glob("*.ipynb"))
    (picture,) = re.findall(r"!\[[^\]]{20,}\]\(([^)]+)\)", README)
    assert 10_000 < (ROOT / picture).stat().st_size < 1_000_000
