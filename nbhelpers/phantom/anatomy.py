"""How a hand grows: when its ossification centres show, cap and fuse, and how long it is.

Ages are months of bone age. Medians of onset: Garn 1967 and Greulich and Pyle, as collected for
this project; the curves between onset, capping and fusion are chosen so that the drawings look
right.

The grown hand that every drawing is scaled from was measured on radiographs and scaled to 188 mm:
lengths, widths (halves) and places in mm, x to the thumb, y up, the capitate's middle at the
origin. `hand` makes a child's shapes and poses from it.
"""

import math
from dataclasses import dataclass

import numpy as np

HAND_LENGTH = 188.0
DIGITS = (1, 2, 3, 4, 5)
# Place of a metacarpal's base; its direction in degrees in a closed hand, and what full spread
# adds.
METACARPAL_BASES = {1: (26, -2), 2: (13.0, 9.0), 3: (1.5, 10.5), 4: (-9.2, 10.5), 5: (-18.5, 7)}
METACARPAL_DIRECTIONS = {1: (27, 14), 2: (3, 5), 3: (-1, -2), 4: (-6, -7), 5: (-13, -12)}
FINGER_DIRECTIONS = {1: (20, 14), 2: (3, 17), 3: (0, -1), 4: (-3, -12), 5: (-8, -28)}
LENGTHS = {
    "MC": {1: 44.0, 2: 63.0, 3: 60.5, 4: 52.5, 5: 47.5},
    "PP": {1: 28.5, 2: 39.0, 3: 43.0, 4: 40.0, 5: 31.5},
    "MP": {2: 22.5, 3: 26.5, 4: 25.0, 5: 18.0},
    "DP": {1: 22.5, 2: 16.0, 3: 17.5, 4: 17.0, 5: 15.5},
}
# Half the width of the metaphysis (of the head, for metacarpals 2 to 5).
WIDTHS = {
    "MC": {1: 7.0, 2: 7.0, 3: 6.7, 4: 5.7, 5: 5.9},
    "PP": {1: 6.4, 2: 6.7, 3: 7.0, 4: 6.5, 5: 5.5},
    "MP": {2: 5.7, 3: 6.1, 4: 5.7, 5: 4.7},
    "DP": {1: 6.1, 2: 4.6, 3: 4.9, 4: 4.8, 5: 4.0},
}
PLATE = {"MC": 10.6, "PP": 4.6, "MP": 3.9, "DP": 3.4}  # full height of an epiphysis along its bone
THUMB_PLATE = 4.8
SOFT_TIP = 4.0  # skin beyond the last bone
SOFT_WIDTHS = {1: (11.2, 8.2), 2: (9.6, 7.0), 3: (9.8, 7.2), 4: (9.2, 6.8), 5: (8.2, 6.0)}

# Carpals: place, half-width, half-length, direction in degrees, lobes (waves, amplitude, phase).
CARPAL_PLACES = {
    "capitate": ((0.3, -0.5), 7.4, 11.8, -3, ((2, 0.04, 0.0), (3, 0.06, 1.6))),
    "hamate": ((-12.0, 0.8), 7.2, 9.4, 14, ((3, 0.1, 1.6),)),
    "triquetrum": ((-19.3, -10.2), 6.4, 7.2, 35, ((3, 0.07, 0.4),)),
    "lunate": ((-7.2, -16.0), 8.0, 7.0, -8, ((2, 0.05, 0.5), (3, 0.07, 4.7))),
    "scaphoid": ((9.2, -13.2), 6.2, 10.6, 42, ((2, 0.05, 0.9), (3, 0.06, 0.6))),
    "trapezium": ((21.0, -4.5), 7.0, 6.6, 35, ((4, 0.06, 0.7),)),
    "trapezoid": ((12.8, 3.8), 6.0, 5.8, 10, ((3, 0.08, 0.9),)),
    "pisiform": ((-20.5, -12.5), 4.4, 5.0, 10, ()),
}
# Where the hand turns on the forearm.
WRIST_PIVOT = (-5.0, -14.0)
# Middle of the end of the shaft, half its width, height of the epiphysis, the share by which its
# thumb side is higher, how far to the thumb it begins, thickness over width, degrees of lean.
FOREARM = {
    "radius": ((2.0, -34.5), 14.0, 9.0, 0.32, 0.3, 0.62, -1.0),
    "ulna": ((-21.5, -36.0), 6.6, 7.0, -0.3, 0.0, 0.85, 1.5),
}
FOREARM_LENGTH = 190.0


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
        """Share of an epiphysis' growth plate that bone has bridged, 0 to 1."""
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
    return Child(bones, length, onset, capped, fused)
