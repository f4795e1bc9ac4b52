"""The machine that a run has: processor, memory, GPU, and the versions that can change a figure."""

import contextlib
import importlib.metadata
import os
import platform
import subprocess
import textwrap
from pathlib import Path

from nbhelpers.workspace import cores, platform_name

PACKAGES = (
    "numpy",
    "pandas",
    "scikit-image",
    "scikit-learn",
    "opencv-python-headless",
    "xgboost",
    "keras",
    "tensorflow",
)


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
        for line in Path("/proc/cpuinfo").read_text().splitlines():
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


def versions() -> dict[str, str]:
    """Versions of Python and of the installed packages that can change a figure."""
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[package] = importlib.metadata.version(package)
    return found


def versions_text() -> str:
    """The versions as lines of at most 88 characters, for the top of a notebook."""
    return textwrap.fill(", ".join(f"{name} {found}" for name, found in versions().items()), 88)
