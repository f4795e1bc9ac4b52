"""What conformal prediction needs whatever is predicted: levels, quantiles, groups large enough.

Vovk, Gammerman, Shafer: Algorithmic Learning in a Random World, 2005.
"""

import math

import numpy as np

LEVELS = (0.8, 0.9, 0.95)
SMALLEST_GROUP = 40


def quantiles(scores: np.ndarray) -> dict[str, float | None]:
    """By level, the smallest score that ceil((n + 1) * level) of the scores do not exceed."""
    ordered = np.sort(scores)
    found = {}
    for level in LEVELS:
        # Rounded first: 0.95 times 20 must not become 20 by a bit.
        rank = math.ceil(round((len(ordered) + 1) * level, 9))
        found[str(level)] = float(ordered[rank - 1]) if rank <= len(ordered) else None
    return found


def runs_of_stages(sizes: list[int]) -> list[list[int]]:
    """Stages as groups of at least `SMALLEST_GROUP` cases, where there are that many.

    The smallest group below that joins its smaller neighbour, until none is left.

    Args:
        sizes: the cases of each stage.
    """
    parts, sizes = [[stage] for stage in range(len(sizes))], list(sizes)
    while len(parts) > 1 and min(sizes) < SMALLEST_GROUP:
        small = sizes.index(min(sizes))
        beside = [place for place in (small - 1, small + 1) if 0 <= place < len(parts)]
        first, second = sorted((small, min(beside, key=lambda place: sizes[place])))
        parts[first : second + 1] = [parts[first] + parts[second]]
        sizes[first : second + 1] = [sizes[first] + sizes[second]]
    return parts
