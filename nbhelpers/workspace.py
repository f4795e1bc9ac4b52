"""The ground that everything stands on: where data and outputs are, safe writes, clear errors.

Also the lock of a run folder, the log and progress bars, work on all cores, and the machine and
versions that a run records because they can change a figure.
"""

import contextlib
import errno
import fcntl
import hashlib
import importlib.metadata
import json
import logging
import os
import platform
import re
import subprocess
import sys
import tempfile
import threading
import time
import tomllib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TextIO, TypeVar

import cv2
import joblib
from joblib.externals.loky.process_executor import TerminatedWorkerError

# TensorFlow takes a GPU's memory as it needs it, not all of it at once, and leaves pages alone with
# the processor's kind and with graphs that it traced anew: what is wrong it raises.
os.environ.setdefault("TF_FORCE_GPU_ALLOW_GROWTH", "true")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
logging.getLogger("tensorflow").addFilter(lambda record: record.levelno >= logging.ERROR)

KAGGLE_INPUT = Path("/kaggle/input")
KAGGLE_WORKING = Path("/kaggle/working")
COLAB = Path("/content")
# How deep below Kaggle's inputs things are looked for. A data set lies at `<name>` or, since 2026,
# at `datasets/<owner>/<name>`, the output of a notebook at `notebooks/<owner>/<name>`: an archive
# in one lies a folder deeper, a run folder in the other two, below `reports`. A model lies deepest,
# at `models/<owner>/<name>/<framework>/<variation>/<version>`.
DEEPEST = 6
TRAINING_TABLE = "boneage-training-dataset.csv"  # of the RSNA set as Kaggle has it
RSNA_ON_KAGGLE = "kmader/rsna-bone-age"
DOWNLOAD = "download"  # what data_folder says to have it fetched
SECONDS_BETWEEN_LOG_LINES = 20.0
# Which notebook makes a file of the run folder: the first whose pattern is found in its name.
MAKERS = {
    "05_ensembling": r"/ensemble|\.intervals\.json$|\.sets\.json$",  # of every model
    "04_hog_xgboost": "/hog",
    "02_cnn_tuning": "/cnn",
    "03_transfer_learning": "^(models|predictions)/",
    "01_preprocessing": r"^(cases|data|images|geometry|preparation)\.",
}

Result = TypeVar("Result")

# Run folder -> attached outputs of earlier notebooks; filled when the folder is opened.
_attached: dict[Path, tuple[Path, ...]] = {}


class InputError(ValueError):
    """Something the user gave cannot be used. The message names it and says what to do."""

    def _render_traceback_(self) -> list[str]:
        """What a notebook shows of it: the message, since the code is not at fault."""
        return [f"{type(self).__name__}: {self}"]


def platform_name() -> str:
    """`kaggle`, `colab` or `local`, recognised by the variables that the two services set."""
    if os.environ.get("KAGGLE_KERNEL_RUN_TYPE"):
        return "kaggle"
    return "colab" if os.environ.get("COLAB_RELEASE_TAG") else "local"


def require_tensorflow() -> None:
    """Raise InputError unless Keras runs on TensorFlow.

    Notebooks choose it before they import Keras; a kernel that has imported Keras before may run on
    another. Where the packages of another backend are not installed, importing Keras fails.
    """
    try:
        from keras.backend import backend

        found = backend()
    except (ImportError, ValueError) as error:
        found = f"a backend that cannot be loaded ({error})"
    if found != "tensorflow":
        raise InputError(
            f"Keras runs on {found} and this suite needs tensorflow: set KERAS_BACKEND=tensorflow, "
            'or "backend": "tensorflow" in keras.json (in ~/.keras or $KERAS_HOME), and restart '
            "the kernel."
        )


def find_data_folder(data_folder: str) -> Path | None:
    """The folder of radiographs: as named, else an RSNA set that lies ready, else None.

    On Kaggle it is looked for among the attached inputs, on Colab in /content and in a mounted
    Drive. `download` fetches it with kagglehub. Raises InputError where the folder named is none,
    or nothing can be fetched.
    """
    if data_folder == DOWNLOAD:
        return _download_rsna()
    if data_folder:
        folder = Path(data_folder).expanduser().resolve()
        if not folder.is_dir():
            raise InputError(f"data_folder: {folder} is not a folder. Name the folder of the set.")
        return folder
    tables: Iterable[Path] = ()
    if platform_name() == "kaggle":
        tables = find_attached(TRAINING_TABLE)
    if platform_name() == "colab":
        places = (COLAB, COLAB / "drive" / "MyDrive")
        depths = [depth + TRAINING_TABLE for depth in ("", "*/", "*/*/")]
        tables = (table for at in places for depth in depths for table in sorted(at.glob(depth)))
    return next((table.parent for table in tables), None)


def _download_rsna() -> Path:
    """Kaggle's copy of the RSNA set, fetched or already fetched by kagglehub."""
    try:
        import kagglehub

        return Path(kagglehub.dataset_download(RSNA_ON_KAGGLE))
    except Exception as error:  # of many kinds: no package, no network, no permission
        raise InputError(
            f"data_folder is {DOWNLOAD!r}, but {RSNA_ON_KAGGLE} cannot be fetched ({error}). Run "
            "`pip install kagglehub`, check the network, or name a folder."
        ) from error


def is_synthetic(data_folder: Path | str) -> bool:
    """Whether a folder holds radiographs that a run has drawn for itself, as its name shows."""
    return bool(re.fullmatch(r"synthetic-\d+-\d+-v\d+", Path(data_folder).name))


def find_attached(name: str) -> Iterator[Path]:
    """Files and folders of that relative path below Kaggle's inputs, the shallowest first."""
    for depth in range(1, DEEPEST + 1):
        yield from sorted(KAGGLE_INPUT.glob("*/" * depth + name))


def open_run_folder(run_folder: str, quick: bool = False) -> Path:
    """Make the run folder, check that it can be written, look for outputs of earlier notebooks.

    An empty name means `reports/interactive`, of a quick look `reports/quick`, under Kaggle's
    working folder where there is one. Run folders attached on Kaggle serve as if their files lay in
    this one, unless they were made from other radiographs; a line of the log names them.
    """
    if run_folder:
        folder = Path(run_folder).expanduser().resolve()
    else:
        root = Path.cwd().parent if Path.cwd().name == "notebooks" else Path.cwd()
        root = KAGGLE_WORKING if platform_name() == "kaggle" else root
        folder = root / "reports" / ("quick" if quick else "interactive")
    with explained_errors(folder):
        for name in ("results", "predictions", "models"):
            (folder / name).mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    _attached[folder] = _attached_outputs(folder)
    return folder


def _attached_outputs(run_folder: Path) -> tuple[Path, ...]:
    places = []
    for place, folders, files in os.walk(KAGGLE_INPUT):
        is_run_folder = "cases.parquet" in files or {"results", "predictions"} <= {*folders}
        if is_run_folder:
            places.append(Path(place))
        if is_run_folder or len(Path(place).relative_to(KAGGLE_INPUT).parts) == DEEPEST:
            folders.clear()
    data = {place: _data_hash(place) for place in (run_folder, *sorted(places))}
    own = next((found for found in data.values() if found), None)
    same = tuple(place for place in sorted(places) if data[place] in (own, None))
    if same:
        log(f"outputs of earlier notebooks: {', '.join(map(str, same))}")
    if others := [str(place) for place in sorted(places) if place not in same]:
        log(f"left out because they were made from other radiographs: {', '.join(others)}")
    return same


def _data_hash(run_folder: Path) -> str | None:
    """The fingerprint of the data that a run folder was made from; None where nothing tells, an
    empty one where results are not of this suite."""
    if (run_folder / "data.json").exists():
        return read_json(run_folder / "data.json")["fingerprint"]["hash"]
    results = sorted((run_folder / "results").glob("*.json"))
    return read_json(results[0]).get("fingerprint", "") if results else None


def find_run_file(run_folder: Path, name: str) -> Path:
    """A file of the run folder, or of one that was attached when it was opened.

    Raises InputError with the notebook that makes the file when it is in neither.
    """
    for found in _run_files(run_folder, name):
        return found
    maker = next((maker for maker, made in MAKERS.items() if re.search(made, name)), "")
    remedy = f"Run notebook {maker} into this folder first" if maker else "Run it first"
    raise InputError(f"{run_folder} has no {name}. {remedy}.")


def find_run_files(run_folder: Path, pattern: str) -> list[Path]:
    """Files of the run folder and of those attached to it, one of each name, sorted by name."""
    paths = [path for path in _run_files(run_folder, pattern) if path.name[0] != "."]
    found = {path.name: path for path in reversed(paths)}
    return [found[name] for name in sorted(found)]


def _run_files(run_folder: Path, pattern: str) -> Iterator[Path]:
    for place in (run_folder, *_attached.get(run_folder, ())):
        yield from sorted(place.glob(pattern))


@contextlib.contextmanager
def explained_errors(path: Path) -> Iterator[None]:
    """Turn a full disk or a refused write into one line that says what to do."""
    remedies = {
        errno.ENOSPC: "the disk is full. Free some space and run the same command again",
        errno.EDQUOT: "the disk quota is used up. Free some space and run the command again",
        errno.EACCES: "writing is not allowed. Choose a folder that you may write to",
        errno.EPERM: "writing is not allowed. Choose a folder that you may write to",
        errno.EROFS: "the file system is read-only. Choose a folder that you may write to",
    }
    try:
        yield
    except OSError as error:
        if error.errno not in remedies:
            raise
        raise InputError(f"Cannot write {path}: {remedies[error.errno]}.") from error


@contextlib.contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Give a temporary name next to `path` and rename it when the block ends without an error.

    The temporary name keeps the suffix of `path`, since some libraries choose a format by it.
    """
    temporary = path.with_name(f".{path.stem}.{os.getpid()}{path.suffix}")
    with explained_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            yield temporary
            with temporary.open("rb") as written:
                os.fsync(written.fileno())
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> Path:
    """Write a text atomically; returns its path."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
    return path


def write_json(path: Path, content: object) -> None:
    """Write JSON atomically, with sorted keys and no NaN."""
    text = json.dumps(content, indent=1, sort_keys=True, allow_nan=False)
    write_text(path, text + "\n")


def read_json(path: Path, remedy: str = "Delete it and run again") -> dict:
    """Read a JSON file; raises InputError with a remedy when it is not JSON."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise InputError(f"{path} is not valid JSON ({error}). {remedy}.") from error


def hash_of(content: object) -> str:
    """The first 16 hex digits of the SHA-256 of `content` as canonical JSON."""
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def cores() -> int:
    """Cores that this run may use: `NBHELPERS_CORES` if the batch sets it, else all it may see."""
    named = os.environ.get("NBHELPERS_CORES", "")
    if named.isdigit() and int(named) > 0:
        return int(named)
    return joblib.cpu_count()


def interactive() -> bool:
    """True where a person watches: a terminal, or a notebook that no batch runs."""
    if os.environ.get("NBHELPERS_HEADLESS"):
        return False
    return "ipykernel" in sys.modules or sys.stderr.isatty()


def log(text: str) -> None:
    """Print one line with the time, at once, and whole among lines of other processes."""
    sys.stdout.write(f"{time.strftime('%H:%M:%S')} {text}\n")
    sys.stdout.flush()


def progress(items: Iterable, total: int, label: str) -> Iterator:
    """Pass `items` on with a progress bar, or with a log line now and then when headless."""
    if interactive():
        from tqdm.auto import tqdm

        yield from tqdm(items, total=total, desc=label)
        return
    started = last = time.monotonic()
    done = 0
    for item in items:
        yield item
        done += 1
        now = time.monotonic()
        if now - last >= SECONDS_BETWEEN_LOG_LINES and done < total:
            last = now
            left = (now - started) / done * (total - done)
            log(f"{label}: {done:,} of {total:,}, about {left:,.0f} s left")
    log(f"{label}: {done:,} in {time.monotonic() - started:.1f} s")


def lock_folder(run_folder: Path, alone: bool = False) -> TextIO:
    """Hold a run folder until the file that is given is closed, or its process ends.

    The lock is the system's, so it is free again however its holder ends.

    Args:
        alone: refuse every other holder; otherwise share the folder with those who share it.

    Raises:
        InputError: naming the processes that hold it.
    """
    path = run_folder / "state" / "lock"
    with explained_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        held = path.open("a+", encoding="utf-8")
        take_lock(held, alone)
        held.write(f"{os.getpid()}\n")
        held.flush()
    return held


def take_lock(held: TextIO, alone: bool) -> None:
    """Change how a run folder is held; raises InputError as `lock_folder`."""
    try:
        fcntl.flock(held, (fcntl.LOCK_EX if alone else fcntl.LOCK_SH) | fcntl.LOCK_NB)
    except BlockingIOError:
        held.seek(0)
        known = dict.fromkeys(int(line) for line in held if int(line) != os.getpid())
        holders = " ".join(str(process) for process in known if _lives(process)) or "unknown"
        raise InputError(
            f"{Path(held.name).parents[1]} is in use by process {holders}. Wait for it, end it "
            f"with `kill {holders}`, or name another folder with RUN=."
        ) from None


def _lives(process: int) -> bool:
    try:
        os.kill(process, 0)
    except OSError as error:
        return error.errno == errno.EPERM
    return True


IDLE_SECONDS = 20  # after which joblib's workers leave


def parallel(
    function: Callable[..., Result], items: Iterable, *arguments: object
) -> Iterator[Result]:
    """Give what `function(item, *arguments)` gives of each item, in their order, on all cores.

    The workers are processes of joblib's: finding a hand is many short calls, for which threads
    would wait for each other. They are kept for the next call.

    Args:
        function: stands in a module that imports neither TensorFlow nor Keras, since every worker
            imports it.

    Raises:
        InputError: as `function` does, and where a worker was ended from outside.
    """
    with joblib.Parallel(
        n_jobs=cores(),
        return_as="generator",
        idle_worker_timeout=IDLE_SECONDS,
        initializer=_end_with,
        initargs=(os.getpid(),),
    ) as pool:
        try:
            yield from pool(joblib.delayed(_alone)(function, item, *arguments) for item in items)
        except TerminatedWorkerError as error:
            raise InputError(
                "A worker process was ended from outside, most likely for lack of memory. "
                "Set NBHELPERS_CORES to fewer cores and run again."
            ) from error


def _end_with(owner: int) -> None:
    """End this worker when its owner has gone: one that was killed never takes what is left.

    Else the worker would wait for ever to hand over a picture, and keep its output open.
    """

    def watch() -> None:
        while os.getppid() == owner:
            time.sleep(1)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _alone(function: Callable[..., Result], *arguments: object) -> Result:
    """Call a function with OpenCV on one thread: every core has a process already."""
    cv2.setNumThreads(1)
    return function(*arguments)


PACKAGES = "numpy pandas scikit-image scikit-learn opencv-python-headless xgboost keras tensorflow"


def hardware() -> dict[str, object]:
    """Processor, cores, memory in GB, and the name of the first NVIDIA GPU (or null)."""
    memory_bytes = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {
        "processor": _processor_name(),
        "cores": cores(),
        "memory_gb": round(memory_bytes / 1e9, 1),
        "gpu": _gpu_name(),
        "platform": platform_name(),
    }


def _processor_name() -> str:
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _gpu_name() -> str | None:
    command = ["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"]
    try:
        found = subprocess.run(command, capture_output=True, text=True, timeout=20, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return found.stdout.strip().splitlines()[0] if found.stdout.strip() else None


def own_version() -> str:
    """The version of nbhelpers: of the project around it, else as installed, else unknown."""
    project = Path(__file__).parents[1] / "pyproject.toml"
    if project.is_file():
        return tomllib.loads(project.read_text(encoding="utf-8"))["project"]["version"]
    with contextlib.suppress(importlib.metadata.PackageNotFoundError):
        return importlib.metadata.version("nbhelpers")
    return "unknown"


def versions() -> dict[str, str]:
    """Versions of this suite, of Python and of the packages that can change a figure."""
    found = {"nbhelpers": own_version(), "python": platform.python_version()}
    for package in PACKAGES.split():
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[package] = importlib.metadata.version(package)
    return found


def require_same_fingerprint(run_folder: Path, fingerprint: dict[str, object]) -> None:
    """Refuse a run folder made from other data; a folder without any data passes.

    Raises InputError naming both folders and both hashes.
    """
    path = run_folder / "data.json"
    if not path.exists():
        return
    before = read_json(path)["fingerprint"]
    if before["hash"] != fingerprint["hash"]:
        raise InputError(
            f"{run_folder} was made from other data: {before['data_folder']} "
            f"(fingerprint {before['hash']}), and this run reads {fingerprint['data_folder']} "
            f"(fingerprint {fingerprint['hash']}). Choose another run folder, or delete this one."
        )
