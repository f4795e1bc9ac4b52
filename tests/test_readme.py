"""What both READMEs say is so: figures stand in results files, commands and files exist."""

import json
import re
import tomllib
from pathlib import Path

import pandas as pd

from nbhelpers.plots.tables import SEXES, coverage_table, model_name

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
BOTH = README + (ROOT / "reports" / "README.md").read_text()
WORDS = " ".join(BOTH.split()).replace(" months (", " (")
MEASURED = ROOT / "reports" / "measured"
SEVERAL = ["02_cnn_tuning", "03_transfer_learning.mobilenet_age", "04_hog_xgboost.age"]  # fits
SEVERAL += ["03_transfer_learning.efficientnet_age"]
METRICS = {"MAE, months": "mae", "RMSE, months": "rmse", "R²": "r2", "accuracy": "accuracy"}
METRICS |= {"weighted kappa": "qwk", "within 12 months": "within_12"}


def tables(first: str) -> list[list[list[str]]]:
    """Header and rows of every Markdown table whose first heading it is."""
    found = []
    for block in re.findall(rf"^\| {first} \|.*\n(?:\|.*\n)+", BOTH, flags=re.MULTILINE):
        lines = [line.strip("|").split("|") for line in block.splitlines()]
        rows = [[cell.strip(" *`") for cell in line] for line in lines]
        found.append([rows[0], *rows[2:]])
    return found


def measured(name: str) -> dict:
    return json.loads((MEASURED / f"{name}.json").read_text())


def the(rows: list[dict], **wanted: str) -> dict:
    """The one row that has these values."""
    (row,) = [one for one in rows if wanted.items() <= one.items()]
    return row


def opposite(row: dict) -> dict:
    return {"value": -row["value"], "lower": -row["upper"], "upper": -row["lower"]}


def scores_of_test() -> list[dict]:
    runs = [measured(path.stem) for path in MEASURED.glob("0*.json")]
    return [one for run in runs for one in run["scores"] if one["split"] == "test"]


def interval(row: dict, form: str = ".2f", value: str = "value") -> str:
    ends = "" if row["lower"] is None else f" ({row['lower']:{form}} to {row['upper']:{form}})"
    return f"{row[value]:{form}}{ends}"


def added(row: dict) -> str:
    """What a corruption adds to an error."""
    row = {key.removeprefix("difference_"): row[key] for key in row if "difference" in key}
    return interval(row, ".1f", "difference")


def test_every_figure_of_the_results_tables_stands_in_a_results_file():
    known = {(model_name(s["model"]), s["task"], s["metric"]): s for s in scores_of_test()}
    first, ages, stages = tables("model")
    assert len(first) >= 7 and min(len(ages), len(stages)) >= 9
    for task, (header, *rows) in (("age", first), ("age", ages), ("stage", stages)):
        for model, n, *cells in rows:
            for name, cell in zip(header[2:], cells, strict=True):
                score = known[model, task, METRICS[name]]
                digits = len(cell.split(" ")[0].partition(".")[2])
                assert (n, cell) == (f"{score['n']:,}", interval(score, f".{digits}f")) and digits
    head = re.search(r"\*\*([\d.]+) months\*\* .* interval (.*), on the ([\d,]+) cases", WORDS)
    assert (head[3], f"{head[1]} ({head[2]})") == tuple(first[1][1:3])
    assert f"weighted kappa of {stages[1][2]}" in WORDS
    for name, time, _ in tables("notebook")[1][1:]:
        assert time.startswith(f"{measured(name)['seconds'] / 60:.1f} min"), name


def test_every_difference_of_the_study_stands_in_a_results_file():
    ((_, *rows),) = tables("instead of `base`")
    assert len(rows) >= 3
    for _, model, n, said in rows:
        figures = measured(f"study/03_transfer_learning.{model}")["figures"]
        row = {key.removeprefix("against base: "): value for key, value in figures.items()}
        assert (n, said) == (f"{row['n']:,}", interval(row, "+.2f")), model


def test_what_is_said_of_the_ensemble_and_its_intervals_stands_in_its_results_file():
    run = measured("05_ensembling.age")
    best, leading = (run["figures"][f"best {of}on calibration"] for of in ("", "ensemble "))
    against = {key.rpartition(": ")[2]: value for key, value in run["figures"].items()}
    said = f"{interval(opposite(against))[:-1]}, paired, n = {against['n']:,})"
    assert f"{model_name(leading)}, is better by {said}" in WORDS
    assert tables("model")[0][1][0] == model_name(best)
    ((header, *rows),) = tables("group")
    held = pd.DataFrame(run["tables"]["intervals"]).query("model == @leading and level == 0.9")
    shown = coverage_table(held, "group").rename(SEXES)
    assert header[2:] == list(shown.columns[1:])
    assert rows == [[name, f"{n:,}", *cells] for name, n, *cells in shown.itertuples()]


def test_what_is_said_of_the_heat_maps_stands_in_their_results_file():
    found = measured("06_grad_cam")["tables"]
    for row in (one for one in found["gains"] if one["network"] == "efficientnet age"):
        assert interval(row) in WORDS or row["kind"] == "both", row["against"]
    own = the(found["localisation"], map="efficientnet age", metric="ratio", region="any")
    other = the(found["localisation"], map="random weights 5", metric="ratio", region="any")
    beyond = the(found["beyond controls"], map="random weights 5", region="any")
    assert f"hold {interval(own)} times" in WORDS and f"reach {interval(other)}" in WORDS
    each = [row["lower"] for row in found["beyond controls"] if row["region"] == "any"]
    assert f"a difference of {interval(beyond)}. So the maps of this one fit lie" in WORDS
    assert min(each) > 0 and f"those of each of {len(each)} controls" in WORDS
    for row in found["masking"]:
        said = f"{interval(row, '+.2f', 'difference')[:-1]}, n = {row['n']})"
        assert said in WORDS or row["place"] == "field edge", row["place"]


def test_what_is_said_of_doubts_stands_in_their_results_file():
    found = measured("doubts")
    ((header, *rows),) = tables("fault")
    sets = [found[name] for name in ("rsna100", "rsna_originals", "drawn")]
    for fault, *cells in rows:
        name, key = fault.replace("turned by ", "turned ").replace("°", "").split(": ")[0], "found"
        name, key = name.removeprefix("fingers "), "marked" if "marked" in fault else key
        n = "n" if fault.endswith("untouched") else "n of each fault"
        said = [(one["faults"].get(name, one)[key], one[n]) for one in sets]
        assert cells == [f"{100 * share:.1f} % of {n:,}" for share, n in said]
    assert len(header) == 4 and len(rows) == 11


def test_what_is_said_of_groups_and_corruptions_stands_in_their_results_file():
    run = measured("07_bias_analysis")
    found, tests = run["tables"], run["tables"]["group tests"]
    for of, words, turn in (("true", "too young by", opposite), ("predicted", "too old by", dict)):
        late = the(found["signed errors"], group=f"post-puberty ({of})")
        assert f"{words} {interval(turn(late), '.1f')} (n = {late['n']})" in WORDS
    clear = sum(row["p_holm"] < 0.05 for row in tests)
    assert f"Of {len(tests)} comparisons of groups, which overlap, {clear} are clear" in WORDS
    gaps = {row["metric"]: row for row in found["sex gap"] if row["adjustment"] != "raw"}
    assert f"girls minus boys is {interval(gaps['signed_error'])} months in signed errors" in WORDS
    n = f"(n = {gaps['mae']['n_female']} and {gaps['mae']['n_male']})"
    assert f"and {interval(gaps['mae'], '+.2f')} in absolute ones {n}" in WORDS
    assert [row["verdict"] for row in gaps.values()] == ["not shown", "equivalent"]
    ((_, *rows),) = tables("corruption")
    keys = [("noise", 5), ("noise", 80), ("resolution", 2), ("jpeg", 5), ("blur", 2), ("shift", 20)]
    for (kind, strength), (_, *cells) in zip([*keys, ("collimation", 40)], rows, strict=True):
        for model, cell in zip(("mobilenet", "hog"), cells, strict=True):
            row = the(found["stress"], model=model, kind=kind, strength=strength)
            assert cell == added(row), (model, kind)


def test_what_is_said_of_seeds_stands_in_their_results_files():
    ((_, *rows),) = tables("model, over seeds")
    for name, (shown, n, fits, one, sd, mean) in zip(SEVERAL, rows, strict=True):
        run = measured(name)
        model, seeds = run["parameters"]["model"], run["parameters"]["seeds"]
        own = the(run["scores"], model=model, split="test", metric="mae")
        of = {key.rpartition(", ")[2]: value for key, value in run["figures"].items()}
        assert (shown, n, mean) == (model_name(model), f"{own['n']:,}", interval(own))
        assert int(fits) == seeds > 1 and sd == f"{of['SD over seeds']:.2f}"
        assert one == interval(of | {"value": of["mean over seeds"]}), model


def test_what_is_said_of_several_views_stands_in_its_results_file():
    ((_, *rows),) = tables("model, by views")
    for one, cells in zip(measured("views"), rows, strict=True):
        said = [model_name(one["model"]), one["split"], f"{one['n']:,}"]
        said += [f"{value:.2f}" for value in one["mae"]]
        assert cells == [*said, interval(one["difference"], "+.2f")]


def test_what_is_said_of_changed_radiographs_stands_in_its_results_files():
    for model, run in zip(("cnn", "mobilenet", "hog"), SEVERAL[:3], strict=True):
        both = [measured(of + run)["scores"] for of in ("before/", "")]
        was, now = (the(one, model=model, split="test", metric="mae") for one in both)
        words = f"{model_name(model)} {interval(was)[:-1]}, n = {was['n']:,}) then"
        assert f"{words} and {interval(now)} now" in WORDS
    ((_, *rows),) = tables("radiographs")
    both = measured("before/stress"), measured("07_bias_analysis")["tables"]["stress"]
    columns = [(model, run) for model in ("mobilenet", "hog") for run in both]
    keys = [("aspect", 25), ("aspect", -25), ("blur", 1), ("sharpness", 2), ("gamma", 1.7)]
    for (kind, strength), (_, *cells) in zip([*keys, ("gamma", 0.6)], rows, strict=True):
        for (model, run), cell in zip(columns, cells, strict=True):
            row = the(run, model=model, kind=kind, strength=strength)
            assert cell == added(row), (model, kind)


def test_notebooks_tell_to_expect_what_was_measured():
    mae = {score["model"]: score["value"] for score in scores_of_test() if score["metric"] == "mae"}
    bias = measured("07_bias_analysis")["tables"]
    gap = the(bias["sex gap"], metric="signed_error", adjustment="standardised")["value"]
    late = the(bias["signed errors"], group="post-puberty (true)")["value"]
    expected = {
        "02_cnn_tuning": f"about {mae['cnn']:.1f} months",
        "03_transfer_learning": f"about {mae['efficientnet']:.1f} months",
        "04_hog_xgboost": f"about {mae['hog']:.1f} months",
        "05_ensembling": f"about {tables('model')[0][1][2].split()[0]} months",
        "07_bias_analysis": f"predicted {-late:.0f} months too young on real radiographs of 100 "
        f"pixels, part of it regression to the mean, and girls {-gap:.1f} months younger",
    }
    for name, words in expected.items():
        cells = json.loads((ROOT / "notebooks" / f"{name}.ipynb").read_text())["cells"]
        text = "".join(cells[1]["source"]).replace('"\n        "', "")
        assert words in text, name


def test_commands_notebooks_files_pictures_links_and_the_version_exist():
    targets = re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE)
    assert set(re.findall(r"make ([a-z]+)", BOTH)) <= set(targets)
    for name in re.findall(r"(?:notebooks|params)/[\w./]+\w", BOTH):
        assert (ROOT / name).exists(), name
    assert all(path.name in README for path in (ROOT / "notebooks").glob("*.ipynb"))
    assert len(README.splitlines()) <= 120
    for folder in (ROOT, ROOT / "reports"):
        text = (folder / "README.md").read_text()
        (picture,) = re.findall(r'(?:!\[.{20,}\]\(|<img alt=".{20,}" src=")([^)"]+)', text)
        assert 10_000 < (folder / picture).stat().st_size < 1_000_000
        for name, anchor in re.findall(r"\]\((?!https?:)([^)#]*)#?([^)]*)\)", text):
            path = (folder / (name or "README.md")).resolve(strict=True)
            heading = f"# {anchor}\n".replace("-", " ")
            assert not anchor or heading in path.read_text().lower().replace("'", ""), anchor
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert f"\nversion: {version}\n" in (ROOT / "CITATION.cff").read_text()
    assert f"\n## [{version}]" in (ROOT / "CHANGELOG.md").read_text()
