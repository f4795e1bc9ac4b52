"""How a hand grows: when its ossification centres show, cap and fuse, and how long it is.

Ages are months of bone age. Medians of onset: Garn 1967 and Greulich and Pyle, as collected for
this project; the curves between onset, capping and fusion are chosen so that the drawings look
right.
"""

import math
from dataclasses import dataclass

import numpy as np

SEXES = ("female", "male")
# Age in months at which a centre first shows in half of the children: (boys, girls).
CARPALS = {
    "capitate": (3, 2),
    "hamate": (4, 3),
    "triquetrum": (24, 18),
    "lunate": (48, 30),
    "scaphoid": (66, 48),
    "trapezium": (72, 48),
    "trapezoid": (72, 48),
    "pisiform": (132, 114),
    "sesamoid": (153, 129),
}
EPIPHYSES = {
    "radius": (13, 10),
    "ulna": (85, 65),
    **{"MC1": (31, 19), "MC2": (19, 13), "MC3": (21, 14), "MC4": (24, 15), "MC5": (26, 16)},
    **{"PP1": (36, 21), "PP2": (17, 10), "PP3": (16, 10), "PP4": (18, 11), "PP5": (22, 14)},
    **{"MP2": (26, 16), "MP3": (24, 15), "MP4": (25, 15), "MP5": (41, 24)},
    **{"DP1": (18, 12), "DP2": (38, 25), "DP3": (29, 18), "DP4": (29, 18), "DP5": (39, 24)},
}
CENTRES = {**CARPALS, **EPIPHYSES}
# Age in months at which an epiphysis is as wide as its shaft, and at which it has fused: girls.
CAPPING = {"DP": 140, "MC": 148, "PP": 144, "MP": 146, "ulna": 162, "radius": 150}
FUSION = {"DP": 153, "MC": 161, "PP": 169, "MP": 176, "ulna": 190, "radius": 199}
BOYS_LATER = 24.0
RADIUS_BOYS_LATER = 20.0
FUSION_MONTHS = 16.0  # from the first bridge of bone to the last
CARPALS_MATURE = {"female": 164.0, "male": 186.0}

ONSET_SPREAD = 0.07  # SD of the logarithm of an onset between children of one bone age
# Group means of fusion lie 7 months apart or more, so this spread cannot change their order.
FUSION_SPREAD = 2.5  # months, half the width of a uniform distribution

# Mean hand length from the wrist's crease to the tip of the middle finger, mm, by years.
LENGTH_YEARS = (0, 0.5, 1, 2, 3, 10, 12, 13, 14, 15, 16, 17, 19)
LENGTH_MM = {
    "male": (64, 76, 86, 99, 108, 148, 160, 167, 175, 182, 186, 187.5, 188),
    "female": (64, 76, 86, 99, 108, 148, 160, 165.5, 168.5, 169.7, 170, 170, 170),
}
# SD of the logarithm of length at one bone age. Wider than in healthy children (0.05): the
# radiographs of the RSNA set were taken because growth and age did not agree.
LENGTH_SPREAD = 0.08


@dataclass(frozen=True)
class Child:
    """One child. `onset` and `fused` are this child's ages in months for every centre."""

    sex: str
    age_months: float
    ossification_age_months: float
    hand_length_mm: float
    onset: dict[str, float]
    capped: dict[str, float]
    fused: dict[str, float]

    def maturity(self, centre: str) -> float:
        """Share of the time between a centre's onset and its full size that has passed, 0 to 1."""
        start = self.onset[centre]
        done = (self.ossification_age_months - start) / (self.capped[centre] - start)
        return float(np.clip(done, 0.0, 1.0))

    def extent(self, centre: str) -> float:
        """Width of a centre as a share of its final width: 0 before its onset, 1 when mature.

        Centres swell fast and then slowly: a proximal epiphysis has half its width within a year.
        """
        if centre not in CARPALS:
            return self.maturity(centre) ** (0.22 if centre == "radius" else 0.28)
        return self.maturity(centre) ** (0.36 if self.onset[centre] < 12 else 0.48)

    def fusion(self, centre: str) -> float:
        """Share of the growth plate that bone has bridged, 0 to 1; 0 for carpals."""
        if centre in CARPALS:
            return 0.0
        begun = self.fused[centre] - FUSION_MONTHS
        return float(np.clip((self.ossification_age_months - begun) / FUSION_MONTHS, 0.0, 1.0))

    def youth(self, months: float) -> float:
        """1 at birth, falling with the time constant `months`; from the ossification age."""
        return math.exp(-self.ossification_age_months / months)


def mean_hand_length(age_months: float, sex: str) -> float:
    """Mean hand length in mm."""
    return float(np.interp(age_months / 12.0, LENGTH_YEARS, LENGTH_MM[sex]))


def grow_child(
    rng: np.random.Generator,
    sex: str,
    age_months: float,
    ossification_age_months: float | None = None,
) -> Child:
    """Draw the child-level variation around the medians.

    The same numbers are drawn whatever the ages, so the same generator state gives the same child
    at two ages. `ossification_age_months` freezes the bones at another age than the one that sets
    size.
    """
    boy = sex == "male"
    jitter = np.exp(ONSET_SPREAD * np.clip(rng.standard_normal(len(CENTRES)), -2.5, 2.5))
    onset = {
        name: months[0 if boy else 1] * factor
        for (name, months), factor in zip(CENTRES.items(), jitter, strict=True)
    }
    shifts = dict(zip(FUSION, rng.uniform(-1.0, 1.0, len(FUSION)) * FUSION_SPREAD, strict=True))
    mature = CARPALS_MATURE[sex] + float(np.clip(rng.standard_normal() * 4.0, -10, 10))
    capped, fused = {}, {}
    for name in CENTRES:
        if name in CARPALS:
            capped[name] = max(mature, onset[name] + 24.0)
            continue
        group = name[:2] if name[:2] in FUSION else name
        later = (RADIUS_BOYS_LATER if group == "radius" else BOYS_LATER) if boy else 0.0
        capped[name] = CAPPING[group] + later + shifts[group]
        fused[name] = FUSION[group] + later + shifts[group]
    length = mean_hand_length(age_months, sex)
    length *= math.exp(LENGTH_SPREAD * float(np.clip(rng.standard_normal(), -2.8, 2.8)))
    bones = age_months if ossification_age_months is None else ossification_age_months
    return Child(sex, age_months, bones, length, onset, capped, fused)
