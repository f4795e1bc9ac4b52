"""Run every benchmark of this folder and write their figures into one file.

    python tests/benchmarks/run.py reports/bench.json

A benchmark is a script `bench_*.py` that takes the file to write and ends with an error when a
relation that it promises does not hold.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from nbhelpers.workspace import hardware, versions, write_json


def run(script: Path, figures: Path) -> tuple[bool, object]:
    """Whether the benchmark held, and its figures (null where it wrote none)."""
    print(f"--- {script.stem}", flush=True)
    shared = os.environ | {"PYTHONPATH": f"{script.parents[1]}:{script.parents[2]}"}
    ended = subprocess.run([sys.executable, script, figures], env=shared, check=False)
    return ended.returncode == 0, json.loads(figures.read_text()) if figures.exists() else None


def main(path: Path) -> int:
    """Write `path`; returns 1 when a benchmark did not hold."""
    scripts = sorted(Path(__file__).parent.glob("bench_*.py"))
    with tempfile.TemporaryDirectory() as folder:
        ended = {one.stem: run(one, Path(folder) / f"{one.stem}.json") for one in scripts}
    content = {
        "finished": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "hardware": hardware(),
        "versions": versions(),
        "held": {name: held for name, (held, _) in ended.items()},
        "figures": {name: figures for name, (_, figures) in ended.items()},
    }
    write_json(path, content)
    print(f"Wrote {path}")
    return 0 if all(held for held, _ in ended.values()) else 1


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
