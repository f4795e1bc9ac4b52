"""The index: a scoreboard and a way into every page. (to be written)"""

from pathlib import Path


def write_index(run_folder: Path, profile: object) -> None: ...
