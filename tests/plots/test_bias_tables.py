"""Tables, sentences and plots of the errors by group: what stands there is what was measured."""

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from nbhelpers.bias import subgroups
from nbhelpers.bias.subgroups import ERROR_COLUMNS
from nbhelpers.plots import bias as plots_bias
from nbhelpers.plots import tables as plots_tables

METRICS = ("mae", "signed_error", "over_12", "over_24", "qwk", "coverage")
VALUES = {"mae": 9.04, "signed_error": -1.26, "over_12": 0.25, "over_24": 0.031}
VALUES |= {"qwk": 0.81249, "coverage": 0.905}


def told(model="cnn", groups=("all", "female", "male"), few=()):
    """As `subgroups.error_table` tells it; groups named in `few` have no figures."""
    rows = []
    for group in groups:
        for metric in METRICS:
            value, small = VALUES[metric], group in few
            ends = (np.nan,) * 3 if small else (value, value - 0.02, value + 0.02)
            rows.append((model, "test", group, metric, 3 if small else 50, *ends, small))
    return pd.DataFrame(rows, columns=ERROR_COLUMNS)


def test_scores_have_their_unit_and_interval():
    words = [plots_tables.in_words(row) for _, row in told(groups=["all"]).iterrows()]
    assert words == [
        "9.0 (9.0 to 9.1)",
        "-1.3 (-1.3 to -1.2)",
        "25.0 (23.0 to 27.0)",
        "3.1 (1.1 to 5.1)",
        "0.81 (0.79 to 0.83)",
        "90 (88 to 92)",
    ]


def test_sexes_stand_under_their_metric_and_a_model_is_a_row():
    both = pd.concat([told("cnn"), told("hog").assign(value=1.0, lower=0.5, upper=1.5)])
    table = plots_tables.by_sex(both, ("mae", "signed_error"))
    assert table.index.tolist() == ["cnn", "hog"]
    assert table.columns.tolist() == [
        (plots_tables.WORDS[metric], f"{word}, n = 50")
        for metric in ("mae", "signed_error")
        for word in ("girls", "boys")
    ]
    assert table.iloc[1].tolist() == ["1.0 (0.5 to 1.5)"] * 4


def test_few_girls_and_no_boys_are_too_few_and_a_metric_that_is_missing_is_a_dash():
    one = told(groups=["all", "female"], few=["female"])
    other = told("hog", groups=["all", "female"], few=["female"]).query("metric != 'coverage'")
    table = plots_tables.by_sex(pd.concat([one, other]), ("coverage",))
    assert table.loc["cnn"].tolist() == ["too few", "too few"]
    assert table.loc["hog"].tolist() == ["–", "too few"]
    assert [column for _, column in table.columns] == ["girls, n = 3", "boys, n = 0"]


def test_groups_have_their_number_of_cases():
    both = pd.concat([told("cnn", few=["male"]), told("hog", few=["male"])])
    table = plots_tables.by_group(both, "qwk")
    assert table["cases"].tolist() == [50, 50, 3]
    assert table.columns.tolist() == ["cases", "cnn", "hog"]
    assert table.loc["male"].tolist() == [3, "too few", "too few"]
    assert table.loc["all", "hog"] == "0.81 (0.79 to 0.83)"


def test_a_kappa_that_is_not_defined_is_a_dash():
    row = told(groups=["all"]).set_index("metric", drop=False).loc["qwk"].copy()
    row[["value", "lower", "upper"]] = np.nan
    assert plots_tables.in_words(row) == "–"


def test_tipping_strengths_have_a_row_a_direction_and_a_column_a_model():
    rows = [("cnn", "brightness", "grey levels", -80.0, -31.26)]
    rows += [("cnn", "brightness", "grey levels", 80.0, np.nan)]
    rows += [("cnn", "mirrored", "on or off", 1.0, np.nan)]
    rows += [("hog", "brightness", "grey levels", -80.0, np.nan)]
    rows += [("hog", "brightness", "grey levels", 80.0, 8.0)]
    rows += [("hog", "mirrored", "on or off", 1.0, 1.0)]
    names = ["model", "kind", "unit", "strongest", "strength"]
    table = plots_tables.by_kind(pd.DataFrame(rows, columns=names))
    assert table.index.tolist() == [
        "brightness, grey levels, tried to -80",
        "brightness, grey levels, tried to 80",
        "mirrored, on or off",
    ]
    assert table["cnn"].tolist() == ["-31.3", "not reached", "not reached"]
    assert table["hog"].tolist() == ["not reached", "8", "on"]


def test_a_plain_table_has_words_and_intervals_and_too_few():
    table = pd.DataFrame(
        {
            "group": ["all", "female"],
            "n": [50, 3],
            "mae": [9.04, np.nan],
            "lower": [8.0, np.nan],
            "upper": [10.0, np.nan],
        }
    )
    shown = plots_tables.plain(table, ["group"], {"n": "cases", "mae": "MAE, months"}, 1)
    assert shown.columns.tolist() == ["cases", "MAE, months"]
    assert shown.loc["all"].tolist() == [50, "9.0 (8.0 to 10.0)"]
    assert shown.loc["female"].tolist() == [3, "too few"]


def test_overall_findings_are_those_of_all_cases():
    assert plots_tables.overall(told(), "cnn") == [
        "- cnn, test split: off by 9.0 months (95 % interval 9.0 to 9.1, n = 50) on average.",
        "- Off by more than two years: 3.1 % of the cases (95 % interval 1.1 to 5.1, n = 50).",
    ]
    assert plots_tables.overall(told(few=["all"]), "cnn") == [
        "- cnn, test split: too few cases to tell."
    ]


def test_slopes_are_told_by_year():
    slopes = pd.DataFrame([("on_truth", 90, -0.1, -0.15, -0.05)])
    slopes.columns = ["metric", "n", "value", "lower", "upper"]
    assert "-1.2 months (95 % interval -1.8 to -0.6, n = 90)" in plots_tables.regression(slopes)[0]
    assert "too few" in plots_tables.regression(slopes.assign(value=np.nan))[0]


@pytest.mark.parametrize(
    ("value", "p", "word"),
    [
        (-0.5, 0.01, "to smaller"),
        (0.5, 0.01, "to larger"),
        (-0.5, 0.2, "no clear"),
        (np.nan, 1, "few"),
    ],
)
def test_more_cases_in_train_go_with_smaller_errors_where_the_correlation_says_so(value, p, word):
    assert word in plots_tables.balance({"value": value, "n_groups": 8, "p": p})[0]


def rows_of_girls(n=60):
    random = np.random.default_rng(0)
    ages = random.uniform(20, 200, n)
    rows = {"sex": "female", "age_months": ages, "error_months": random.normal(0, 9, n)}
    return pd.DataFrame(rows).assign(predicted_months=lambda of: of.age_months + of.error_months)


def test_a_set_without_boys_is_too_few_everywhere():
    rows = rows_of_girls()
    lines = plots_tables.sexes(subgroups.sex_gap(rows), told(groups=["all", "female"]))
    assert sum("too few to tell, n = 60 and 0" in line for line in lines) == 1
    assert sum("% of the girls" in line for line in lines) == 1
    assert not any("% of the boys" in line for line in lines)
    cases = rows.assign(split="train", stage=2)
    table = subgroups.balance_table(cases, rows)
    assert not table["group"].str.startswith("male").any()


def test_what_cannot_be_said_counts_the_young():
    rows = rows_of_girls()
    young = (rows["age_months"] < 36).sum()
    assert f"of the 60 test cases {young} are under three years" in plots_tables.limits(rows)[0]


def test_groups_too_small_give_a_plot_without_a_claim():
    few = told(few=["all", "female", "male"])
    _, alt = plots_bias.by_group(few, "mae", "months")
    assert "too small" in alt


def stressed(models):
    rows = [
        (kind, strength, "unit", model, 8, 10 + strength * number, 9, 30, strength, 0.5, 30)
        for kind in ("shift", "blur", "mirrored")
        for number, model in enumerate(models)
        for strength in ((0, 1) if kind == "mirrored" else (0, 5, 10))
    ]
    names = ["kind", "strength", "unit", "model", "n", "mae", "lower", "upper"]
    return pd.DataFrame(
        rows, columns=[*names, "difference", "difference_lower", "difference_upper"]
    )


@pytest.mark.parametrize("models", [["one"], ["one", "two", "three"]])
def test_stress_curves_have_a_line_a_model_and_one_legend(models):
    figure, alt = plots_bias.stress_curves(stressed(models))
    panels = [axes for axes in figure.axes if axes.axison]
    assert len(panels) == 3
    for axes in panels:
        assert [line.get_label() for line in axes.get_lines()] == models
        colours = {line.get_color() for line in axes.get_lines()}
        assert len(colours) == len(models)
        assert axes.get_legend() is None
        # Several models' intervals would hide each other's lines.
        assert bool(axes.collections) == (len(models) == 1)
    assert [text.get_text() for text in figure.legends[0].get_texts()] == models
    assert models[-1] in alt


def test_each_models_worst_disturbance_is_told():
    lines = plots_tables.disturbances(stressed(["one", "two"]))
    assert [line.split()[3] for line in lines] == ["one", "two"]
    harmless = stressed(["one"]).assign(difference_lower=-1)
    assert plots_tables.disturbances(harmless) == ["- No disturbance clearly hurts one (n = 8)."]


def test_one_harm_beyond_all_others_does_not_flatten_them():
    table = stressed(["one", "two"])
    table.loc[table.index[-1], "mae"] = 500.0
    figure, alt = plots_bias.stress_curves(table)
    assert figure.axes[0].get_ylim()[1] == pytest.approx(1.05 * plots_bias.HIGHEST * 10)
    assert "500.0 months" in alt


def test_each_of_the_worst_has_its_ages(tmp_path):
    rows = rows_of_girls(6).assign(case_id=[str(case) for case in range(6)])
    rows["image_path"] = [str(tmp_path / f"{case}.png") for case in range(6)]
    for number, path in enumerate(rows["image_path"]):
        Image.fromarray(np.full((50, 40 + number), 99, np.uint8)).save(path)
    figure, alt = plots_bias.worst_cases(rows, np.zeros((6, 16, 16), np.uint8))
    shown = [axes for axes in figure.axes if axes.images]
    assert len(shown) == 12
    first = rows.iloc[0]
    told = f"{first['age_months'] / 12:.1f} y told as {first['predicted_months'] / 12:.1f} y"
    assert shown[0].get_title() == f"0\n{told}"
    assert shown[0].images[0].get_array().shape == (50, 50)
    assert f"{first['error_months']:+.0f}" in alt
