"""What the benchmarks share: times, and how a benchmark ends."""

import json
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

ROUNDS = 3


def seconds(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def ratio(slow: Callable[[], object], quick: Callable[[], object]) -> float:
    """Median over rounds of the time of `slow` over that of `quick`, after one call of each."""
    slow(), quick()
    return statistics.median(seconds(slow) / seconds(quick) for _ in range(ROUNDS))


def end(figures: dict, held: bool) -> None:
    """Print the figures, write them into the file that the command names, and exit."""
    text = json.dumps(figures, indent=1)
    print(text, "holds" if held else "DOES NOT HOLD", sep="\n")
    if sys.argv[1:]:
        Path(sys.argv[1]).write_text(text + "\n")
    sys.exit(not held)
