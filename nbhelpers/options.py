"""The command line of `execute`: what to run, where, on which radiographs."""

import argparse
import re
from pathlib import Path

from nbhelpers.profiles import RANDOM_WEIGHTS
from nbhelpers.workspace import InputError


def parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m nbhelpers.execute")
    commands = parser.add_subparsers(dest="command", required=True)
    score = "another folder of radiographs, by the models of a finished run"
    texts = {"profile": "all runs of a profile", "run": "one run of a profile", "score": score}
    for name, text in texts.items():
        command = commands.add_parser(name, help=text)
        if name != "score":
            command.add_argument("profile", help="a folder of params/")
            command.add_argument("--weights", default="", help="none: random ones, not ImageNet's")
        if name == "run":
            command.add_argument("name", help="a file of that folder, without .yaml")
            command.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
        command.add_argument("--run", default="", help="name of the run folder below reports/")
        command.add_argument("--folder", default="", help="the run folder itself, instead of --run")
        command.add_argument("--data", default="", help="folder of radiographs")
        command.add_argument("--cores", type=int, default=0, help="cores to use (default: all)")
        command.add_argument("--project", default="", help="folder with notebooks/ and params/")
        command.add_argument("--bound", type=int, default=0, help=argparse.SUPPRESS)
    return parser.parse_args(arguments)


def find_project(named: str) -> Path:
    """The folder with `notebooks` and `params`: as named, else here, else where nbhelpers is."""
    places = [Path(named)] if named else [Path.cwd(), Path(__file__).parents[1]]
    for place in places:
        if (place / "notebooks").is_dir() and (place / "params").is_dir():
            return place.resolve()
    raise InputError(
        f"{places[0]} has no notebooks/ and params/. Run this in the project's folder."
    )


def find_run_folder(project: Path, options: argparse.Namespace) -> Path:
    if options.folder:
        return Path(options.folder).expanduser().resolve()
    name = options.run or getattr(options, "profile", "")
    if not re.fullmatch(r"[\w-][\w.-]*", name):
        raise InputError(f"RUN={name!r} must be a plain name: letters, digits, points and dashes.")
    return project / "reports" / name


def find_data(data: str) -> str:
    """DATA as an absolute path; raises InputError when it is not a folder."""
    if data and not Path(data).expanduser().is_dir():
        raise InputError(f"DATA={data} is not a folder. Name the folder of the radiographs.")
    return str(Path(data).expanduser().resolve()) if data else ""


def find_weights(weights: str) -> str:
    """WEIGHTS as it was given; raises InputError unless it is empty or "none"."""
    if weights in ("", RANDOM_WEIGHTS):
        return weights
    raise InputError(
        f"WEIGHTS={weights} is not known. WEIGHTS={RANDOM_WEIGHTS} starts from random weights; "
        "leave it out to start as the profile says. A file is named in the run's YAML, by weights."
    )
