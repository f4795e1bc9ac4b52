"""What the suite promises of its speed and memory: measured, compared, written into one file.

    python tests/benchmarks/run.py reports/bench.json

Every figure is a relation and no time, so that it holds on any machine. Ends with 1 where a promise
does not hold.
"""

import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))  # of what tests share

from nbhelpers.workspace import hardware, versions, write_json

ROUNDS = 3
LEAST = {"prepared_of_decoded": 0.6, "prepared_of_skimage": 4, "head_speedup": 5}
LEAST |= {"heat_map_speedup": 5}
MOST = {"memory_growth": 1.2, "store_cnn": 1.05, "store_one_convolution": 1.25}
MOST |= {"augmentation_share": 0.2, "sam_step": 2.2}


def seconds(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def ratio(slow: Callable[[], object], quick: Callable[[], object]) -> float:
    """Median over rounds of the time of `slow` over that of `quick`, after one call of each."""
    slow(), quick()
    return statistics.median(seconds(slow) / seconds(quick) for _ in range(ROUNDS))


def main(path: Path) -> int:
    """Write `path`; returns 1 when a promise did not hold."""
    import bench_grad_cam
    import bench_preparation
    import bench_training

    figures = {}
    for bench in (bench_preparation, bench_training, bench_grad_cam):
        print(f"--- {bench.__name__}", flush=True)
        figures |= bench.figures()
    broken = [name for name, least in LEAST.items() if figures[name] < least]
    broken += [name for name, most in MOST.items() if figures[name] > most]
    for name, figure in figures.items():
        print(f"{name} {figure:.2f}{', NOT AS PROMISED' if name in broken else ''}")
    finished = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    content = {"finished": finished, "hardware": hardware(), "versions": versions()}
    write_json(path, content | {"broken": broken, "figures": figures})
    print(f"Wrote {path}")
    return int(bool(broken))


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
