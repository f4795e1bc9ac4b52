"""What must not change while files move: hashes of a finished run of profile `smoke`.

    make report PROFILE=smoke RUN=yardstick
    .venv/bin/python tests/yardstick.py reports/yardstick            # compares with yardstick.json
    .venv/bin/python tests/yardstick.py reports/yardstick --write    # on the commit it starts from

It reads files by their names and asks the package for nothing but HOG features and predictions, so
it runs on the commit named in yardstick.json and on every one after it. Trainings repeat to the bit
on one machine; on another only what needs no training must be equal.
"""

import hashlib
import importlib
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import xgboost

HERE = Path(__file__).with_suffix(".json")
ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))


def module(*names: str):
    """The first of these modules that there is: a file's place before the moves, and after."""
    for name in names:
        try:
            return importlib.import_module(f"nbhelpers.{name}")
        except ModuleNotFoundError:
            continue
    raise ModuleNotFoundError(names)


def hash_of(*parts: object) -> str:
    found = hashlib.sha256()
    for part in parts:
        if isinstance(part, np.ndarray):
            part = str(part.dtype).encode() + str(part.shape).encode() + part.tobytes()
        elif not isinstance(part, bytes):
            part = json.dumps(part, sort_keys=True, default=str).encode()
        found.update(part)
    return found.hexdigest()[:16]


def hash_of_table(path: Path, without: tuple[str, ...] = ()) -> str:
    table = pd.read_parquet(path).drop(columns=[*without], errors="ignore")
    return hash_of(table.to_csv(index=False).encode())


def hash_of_predictions(path: Path) -> str:
    """Without rows of train that the model was trained on, which nothing reads."""
    table = pd.read_parquet(path)
    table = table[(table["split"] != "train") | table["fold"].notna()]
    return hash_of(table.to_csv(index=False).encode())


def read_without(path: Path, *keys: str) -> dict:
    return {key: value for key, value in json.loads(path.read_text()).items() if key not in keys}


def yardstick(folder: Path) -> dict[str, str]:
    """Name of a product to its hash."""
    found = {"case table": hash_of_table(folder / "cases.parquet", ("image_path",))}
    found["geometry"] = hash_of_table(folder / "geometry.hand.parquet")
    pictures = np.load(folder / "images.hand.npy")
    found["prepared pictures"] = hash_of(pictures)
    for drawn in sorted(folder.glob("synthetic-*")):
        files = sorted(path for path in drawn.rglob("*") if path.is_file() and path.name[0] != ".")
        found[f"phantom {drawn.name}"] = hash_of(*(path.read_bytes() for path in files))
    hog = module("models.hog", "hog")
    found["HOG features"] = hash_of(np.asarray(hog.features(pictures[:40], hog.HogSettings())))
    for path in sorted((folder / "models").glob("*.ubj")):
        trees = xgboost.Booster(model_file=str(path))
        found[f"trees {path.name}"] = hash_of(trees.get_dump(with_stats=True))
    for path in sorted((folder / "models").glob("*.json")):
        found[f"fit {path.name}"] = hash_of(read_without(path, "files", "preparation"))
    for path in sorted((folder / "predictions").glob("*.parquet")):
        found[f"predictions {path.name}"] = hash_of_predictions(path)
    saved = module("models.saved", "prediction")
    sex = np.arange(20) % 2
    for path in sorted((folder / "models").iterdir()):
        model, task, *_ = path.name.split(".")
        if path.suffix in (".keras", ".ubj") and path.name[0] != ".":
            said = saved.predict_saved(folder, model, task, pictures[:20], sex)
            found[f"asked {path.name}"] = hash_of(np.asarray(said))
    for path in sorted((folder / "results").glob("0[1-7]*.json")):
        found[f"scores {path.stem}"] = hash_of(json.loads(path.read_text())["scores"])
    return found


if __name__ == "__main__":
    now = yardstick(Path(sys.argv[1]).resolve())
    if "--write" in sys.argv:
        git = ["git", "-C", str(ROOT), "rev-parse", "HEAD"]
        commit = subprocess.run(git, capture_output=True, text=True, check=True).stdout.strip()
        HERE.write_text(json.dumps({"commit": commit, "hashes": now}, indent=1) + "\n")
        sys.exit()
    before = json.loads(HERE.read_text())["hashes"]
    names = sorted(before.keys() | now.keys())
    different = [name for name in names if before.get(name) != now.get(name)]
    print(f"{len(names) - len(different)} of {len(names)} equal")
    print("\n".join(f"different: {name}" for name in different))
    sys.exit(bool(different))
