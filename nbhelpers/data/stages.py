"""Developmental stages: five classes derived from bone age, by sex.

Three ways to cut, each four ages in months for girls and four for boys:

- `gilsanz_ratib`: the groups of Gilsanz and Ratib, "Hand Bone Age" (Springer 2012), with infancy
  and toddlers merged, since only 18 of the 12,611 RSNA training radiographs show an infant;
- `years`: 4, 8, 12 and 15 years for both sexes;
- the user's own, as `girls 24 84 156 180; boys 36 108 168 192`.

An age on a cut belongs to the older stage. Agreement (kappa) compares only under the same cuts.
"""

import itertools
import re

import numpy as np
import pandas as pd

from nbhelpers.workspace import InputError

STAGES = 5
SEXES = ("female", "male")
Cuts = dict[str, tuple[float, ...]]

STAGE_CUTS: dict[str, Cuts] = {
    "gilsanz_ratib": {"female": (24, 84, 156, 180), "male": (36, 108, 168, 192)},
    "years": {"female": (48, 96, 144, 180), "male": (48, 96, 144, 180)},
}
STAGE_NAMES = {
    "gilsanz_ratib": (
        "infancy and toddlers",
        "pre-puberty",
        "early and mid-puberty",
        "late puberty",
        "post-puberty",
    ),
    "years": ("0 to 4 years", "4 to 8 years", "8 to 12 years", "12 to 15 years", "15 years on"),
}
OLDEST_CUT = 240.0
_SEX_WORDS = {"girls": "female", "boys": "male"}
_HELP = (
    "Write 'gilsanz_ratib', 'years', or four rising ages in months for each sex, "
    "as in 'girls 24 84 156 180; boys 36 108 168 192'."
)


def parse_cuts(stage_cuts: str) -> Cuts:
    """The four cuts in months of each sex; raises InputError for anything that is no such text."""
    if stage_cuts in STAGE_CUTS:
        return STAGE_CUTS[stage_cuts]
    cuts: Cuts = {}
    for part in stage_cuts.split(";"):
        sex_word, *ages = part.split() or [""]
        sex = _SEX_WORDS.get(sex_word.lower())
        if sex is None or sex in cuts:
            raise InputError(f"stage_cuts {stage_cuts!r}: cannot read {part.strip()!r}. {_HELP}")
        cuts[sex] = tuple(_age(age, stage_cuts) for age in ages)
        rising = all(a < b for a, b in itertools.pairwise(cuts[sex]))
        if len(ages) != STAGES - 1 or not rising:
            raise InputError(
                f"stage_cuts {stage_cuts!r}: {sex_word} needs {STAGES - 1} rising ages. {_HELP}"
            )
    if len(cuts) != 2:
        raise InputError(f"stage_cuts {stage_cuts!r}: one of the two sexes is missing. {_HELP}")
    return cuts


def _age(text: str, stage_cuts: str) -> float:
    if not re.fullmatch(r"\d+(\.\d+)?", text) or not 0 < float(text) <= OLDEST_CUT:
        raise InputError(
            f"stage_cuts {stage_cuts!r}: {text!r} is not an age between 0 and {OLDEST_CUT:.0f} "
            f"months. {_HELP}"
        )
    return float(text)


def stage_names(stage_cuts: str) -> tuple[str, ...]:
    """Five names, youngest first; the user's own cuts are named by their ages in months."""
    if stage_cuts in STAGE_NAMES:
        return STAGE_NAMES[stage_cuts]
    cuts = parse_cuts(stage_cuts)
    edges = [f"{girl:g}/{boy:g}" for girl, boy in zip(cuts["female"], cuts["male"], strict=True)]
    between = [f"{a} to {b} months" for a, b in itertools.pairwise(edges)]
    return (f"under {edges[0]} months", *between, f"{edges[-1]} months on")


def begins(stage_cuts: str) -> pd.DataFrame:
    """The months at which each stage begins: a row a stage by its name, a column a sex."""
    cuts = parse_cuts(stage_cuts)
    index = pd.Index(stage_names(stage_cuts), name="stage begins at, months")
    return pd.DataFrame({sex: (0.0, *cuts[sex]) for sex in SEXES}, index)


def stage_of(
    age_months: pd.Series | np.ndarray, sex: pd.Series | np.ndarray, stage_cuts: str
) -> pd.arrays.IntegerArray:
    """The stage 0..4 of each age, as a nullable Int8 array of the same length.

    `age_months` holds ages or predicted ages in months, `sex` "female", "male" or null. The stage
    is null where the age is, and where the sex is unknown while the cuts depend on it.
    """
    cuts = parse_cuts(stage_cuts)
    ages = pd.Series(age_months).astype("Float64").to_numpy(float, na_value=np.nan)
    sexes = pd.Series(sex).astype(object).reset_index(drop=True)
    sex_matters = cuts["female"] != cuts["male"]
    stage = np.full(len(ages), -1, dtype=np.int8)
    for name, edges in cuts.items():
        rows = (sexes == name).to_numpy()
        if not sex_matters:
            rows = rows | sexes.isna().to_numpy()
        stage[rows] = np.searchsorted(np.asarray(edges), ages[rows], side="right")
    return pd.arrays.IntegerArray(stage, (stage < 0) | np.isnan(ages))
