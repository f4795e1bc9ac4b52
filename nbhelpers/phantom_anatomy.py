"""The grown hand that every drawing is scaled from: lengths, widths and places in mm.

Measured on radiographs and scaled to a hand of 188 mm. x to the thumb, y up, the middle of the
capitate at the origin. Widths are halves. Shapes and poses of a child are made from these in
`phantom_bones`.
"""

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
CARPALS = {
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
    "radius": {
        "end": (2.0, -34.5),
        "width": 14.0,
        "plate": 9.0,
        "wedge": 0.32,
        "offset": 0.3,
        "depth": 0.62,
        "lean": -1.0,
    },
    "ulna": {
        "end": (-21.5, -36.0),
        "width": 6.6,
        "plate": 7.0,
        "wedge": -0.3,
        "offset": 0.0,
        "depth": 0.85,
        "lean": 1.5,
    },
}
FOREARM_LENGTH = 190.0
