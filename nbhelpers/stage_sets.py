"""Prediction sets of stages by split conformal prediction, fitted on calibration cases alone.

A set holds every stage whose probability lacks at most a limit to 1, the most likely one always.
The limit is what the true stage's probability lacked at most in the promised share of calibration
cases (Sadinle, Lei, Wasserman: Least ambiguous set-valued classifiers, J Am Stat Assoc
2019;114:223-234). Two kinds:

- `plain`: one limit for all stages;
- `by stage`: a limit for each stage, so that the rare ones are held as often as the common; a
  stage of fewer than `conformal.SMALLEST_GROUP` cases shares with its smaller neighbour.
"""

from dataclasses import asdict, dataclass

import numpy as np

from nbhelpers.conformal import LEVELS, quantiles, runs_of_stages
from nbhelpers.stages import STAGES
from nbhelpers.workspace import InputError

KINDS = ("plain", "by stage")


@dataclass(frozen=True)
class StageSets:
    """What sets of stages are made from; plain numbers.

    Attributes:
        limits: by kind and level ("0.9"), for each stage what its probability may lack to 1; 1
            where the calibration cases are too few for that level.
    """

    limits: dict[str, dict[str, tuple[float, ...]]]


def fit(probabilities: np.ndarray, stage: np.ndarray) -> StageSets:
    """Sets around a model's probabilities `[n, 5]` of calibration cases; true stages `[n]`, 0..4.

    Those of an ensemble are cross-fitted.
    """
    probabilities, stage = np.asarray(probabilities, float), np.asarray(stage, int)
    lacked = 1 - probabilities[np.arange(len(stage)), stage]
    parts = runs_of_stages(np.bincount(stage, minlength=STAGES).tolist())
    return StageSets(
        {
            "plain": _limits([(range(STAGES), quantiles(lacked))]),
            "by stage": _limits(
                [(part, quantiles(lacked[np.isin(stage, part)])) for part in parts]
            ),
        }
    )


def held_stages(sets: StageSets, probabilities: np.ndarray, kind: str, level: float) -> np.ndarray:
    """Whether each stage is in the set of each case, `[n, 5]`; the most likely one always is."""
    probabilities = np.asarray(probabilities, float)
    held = 1 - probabilities <= np.array(sets.limits[kind][str(level)])
    held[np.arange(len(held)), probabilities.argmax(axis=1)] = True
    return held


def as_json(sets: StageSets) -> dict:
    """Plain values; `from_json` reads them."""
    return asdict(sets)


def from_json(content: dict, where: str) -> StageSets:
    """Sets out of their JSON; raises InputError naming `where` for anything else."""
    try:
        made = StageSets(
            {
                kind: {
                    str(level): tuple(map(float, content["limits"][kind][str(level)]))
                    for level in LEVELS
                }
                for kind in KINDS
            }
        )
        for by_level in made.limits.values():
            for told in by_level.values():
                if len(told) != STAGES or not all(0 <= value <= 1 for value in told):
                    raise ValueError("a limit is no probability")
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise InputError(
            f"{where} holds no sets of stages of this suite. Run the notebook that makes it again."
        ) from error
    return made


def _limits(parts: list[tuple[list[int], dict]]) -> dict[str, tuple[float, ...]]:
    """By level, the limit of each stage, out of the quantiles of groups of stages."""
    of_stage = {stage: told for part, told in parts for stage in part}
    return {
        str(level): tuple(
            1.0 if of_stage[stage][str(level)] is None else of_stage[stage][str(level)]
            for stage in range(STAGES)
        )
        for level in LEVELS
    }
