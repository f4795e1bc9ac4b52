"""What the README says is so: its figures stand in results files, its commands and files exist."""

import json
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
MEASURED = ROOT / "reports" / "measured"
STUDY = MEASURED / "study"
FIGURE = re.compile(r"(-?\d+\.\d+) \((-?\d+\.\d+) to (-?\d+\.\d+)\)")
METRICS = {"MAE, months": "mae", "RMSE, months": "rmse", "R²": "r2", "accuracy": "accuracy"}
METRICS |= {"weighted kappa": "qwk", "within 12 months": "within_12"}


def tables(text: str) -> list[tuple[list[str], list[list[str]]]]:
    """Header and rows of every Markdown table."""
    found = []
    for block in re.findall(r"(?:^\|.*\|\n)+", text, flags=re.MULTILINE):
        lines = [
            [cell.strip() for cell in line.strip("|").split("|")] for line in block.split("\n")
        ]
        found.append((lines[0], [line for line in lines[2:] if len(line) == len(lines[0])]))
    return found


def scores() -> dict[tuple[str, str, str], dict]:
    """(model, task, metric) -> score on the test split, from the results files."""
    found = {}
    for path in sorted(MEASURED.glob("*.json")):
        for score in json.loads(path.read_text())["scores"]:
            if score["split"] == "test":
                found[score["model"], score["task"], score["metric"]] = score
    return found


def test_every_figure_of_the_results_tables_stands_in_a_results_file():
    known, checked = scores(), 0
    for header, rows in tables(README):
        if header[0] != "model":
            continue
        task = "age" if "MAE, months" in header else "stage"
        for row in rows:
            model = row[0].strip("*")
            for name, cell in zip(header[2:], row[2:], strict=True):
                score = known[model, task, METRICS[name]]
                said = FIGURE.fullmatch(cell.strip("*")).groups()
                digits = len(said[0].split(".")[1])
                in_file = [f"{score[key]:.{digits}f}" for key in ("value", "lower", "upper")]
                assert list(said) == in_file, (model, name)
                assert row[1] == f"{score['n']:,}"
                checked += 1
    assert checked >= 10


def test_every_difference_of_the_study_stands_in_a_results_file():
    found = [rows for header, rows in tables(README) if header[0] == "instead of `base`"]
    (rows,) = found
    for row in rows:
        model = row[1].strip("`")
        run = json.loads((STUDY / f"03_transfer_learning.{model}.json").read_text())
        figures = {key.removeprefix("against base: "): v for key, v in run["figures"].items()}
        value, lower, upper = (f"{figures[key]:+.2f}" for key in ("value", "lower", "upper"))
        assert row[2] == f"{figures['n']:,}"
        assert row[3] == f"{value} ({lower} to {upper})", model
    assert len(rows) >= 3


def test_what_is_said_of_the_ensemble_and_its_intervals_stands_in_its_results_file():
    run = json.loads((MEASURED / "05_ensembling.age.json").read_text())
    figures, drawn = run["figures"], run["tables"]["redrawn"]
    against = {key.rpartition(": ")[2]: v for key, v in figures.items() if "against" in key}
    value, lower, upper = (f"{abs(against[key]):.2f}" for key in ("value", "upper", "lower"))
    assert f"{value} months ({lower} to {upper}, paired, n = {against['n']:,}) better" in README
    assert f"`{figures['best on calibration']}`, is" in README
    (found,) = [(header, rows) for header, rows in tables(README) if header[0] == "group"]
    header, rows = found
    shares = [
        [f"{round(row['n']):,}", *(f"{100 * one['coverage']:.1f} %" for one in of_kinds)]
        for group in dict.fromkeys(row["group"] for row in drawn)
        if (of_kinds := [row for row in drawn if row["group"] == group])
        for row in of_kinds[:1]
        if row["n"] >= 50
    ]
    assert header[2:] == list(dict.fromkeys(row["kind"] for row in drawn))
    assert [row[1:] for row in rows] == shares


def test_what_is_said_of_the_heat_maps_stands_in_their_results_file():
    run = json.loads((MEASURED / "06_grad_cam.json").read_text())
    (rows,) = [rows for header, rows in tables(README) if header[0] == "region"]
    known = {
        (row["region"], row["speaks_for"]): row
        for row in run["tables"]["localisation"]
        if row["network"] == "cnn age" and row["metric"] == "ratio" and not row["seen"]
    }
    assert {row[0] for row in rows} == {region for region, _ in known}
    for region, n, *cells in rows:
        for speaks_for, cell in zip(("older", "younger"), cells, strict=True):
            row = known[region, speaks_for]
            assert n == str(row["n"])
            assert cell == _with_interval(row["value"], row, ".2f")
    for row in run["tables"]["measures"]:
        if row["network"] == "cnn age" and row["measure"].endswith(("weights", "on chance")):
            assert _with_interval(row["value"], row, ".2f") in README, row["measure"]
    for row in run["tables"]["masking"]:
        if row["place"] != "field edge":
            said = _with_interval(row["difference"], row, "+.2f").removesuffix(")")
            assert f"{said.replace(' (', ' months (', 1)}, n = {row['n']})" in README or (
                f"{said}, n = {row['n']})" in README
            )


def test_what_is_said_of_groups_and_stress_stands_in_their_results_file():
    run = json.loads((MEASURED / "07_bias_analysis.json").read_text())
    found, model = run["tables"], run["parameters"]["model"]
    (gap,) = [
        row
        for row in found["sex gap"]
        if (row["metric"], row["adjustment"]) == ("mae", "standardised")
    ]
    said = f"{gap['value']:.2f} months ({gap['lower']:.2f} to {gap['upper']:.2f}, "
    assert f"{said}n = {gap['n_female']} and {gap['n_male']}) larger for girls" in README
    assert gap["verdict"] == "equivalent" and run["parameters"]["margin_months"] == 2
    (late,) = [
        row
        for row in found["errors by group"]
        if (row["model"], row["group"], row["metric"]) == (model, "post-puberty", "signed_error")
    ]
    said = f"{-late['value']:.1f} months too little ({-late['upper']:.1f} to {-late['lower']:.1f}, "
    assert f"`{model}` errs" in README and f"{said}n = {late['n']})" in README
    tips = {
        row["kind"]: row["strength"] for row in found["tipping strength"] if row["model"] == "cnn"
    }
    assert f"noise of {tips['noise']:.1f} grey levels" in README
    assert f"resolution {tips['resolution']:.1f} times coarser" in README
    assert f"shifted by {tips['shift']:.0f} % of the side" in README


def _with_interval(value: float, row: dict, form: str) -> str:
    return f"{value:{form}} ({row['lower']:{form}} to {row['upper']:{form}})"


@pytest.mark.parametrize("target", sorted(set(re.findall(r"`?make ([a-z]+)", README))))
def test_every_make_target_exists(target):
    assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(), flags=re.MULTILINE)


@pytest.mark.parametrize("path", sorted(set(re.findall(r"(?:notebooks|params)/[\w./]+\w", README))))
def test_every_file_named_exists(path):
    assert (ROOT / path).exists()


def test_every_notebook_is_in_the_table():
    for notebook in (ROOT / "notebooks").glob("*.ipynb"):
        assert notebook.name in README


def test_the_picture_is_there_and_small():
    (picture,) = re.findall(r"!\[[^\]]{20,}\]\(([^)]+)\)", README)
    assert 10_000 < (ROOT / picture).stat().st_size < 1_000_000
