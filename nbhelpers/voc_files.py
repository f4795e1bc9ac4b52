"""Boxes around regions of one radiograph, from a Pascal VOC XML file that anyone may have written.

A file holds the radiograph's width and height and an `<object>` a box. Nothing in it is trusted:
its size is capped, no entity is expanded, every number and name is checked.
"""

import re
import xml.etree.ElementTree as ElementTree
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from nbhelpers.workspace import InputError

REGIONS = ("DIP", "PIP", "MCP", "Radius", "Ulna", "Wrist")
LARGEST_FILE = 256 * 1024  # bytes; a file of 17 boxes has some 4,000
QUOTED = 40  # characters of a wrong value that a message repeats


@dataclass(frozen=True)
class Annotation:
    """size: (width, height) of the radiograph, pixels. regions: the name of each box, n of them.

    edges: float [n, 4], left, top, right, bottom: the first and the last pixel inside, from 0.
    """

    size: tuple[float, float]
    regions: list[str]
    edges: np.ndarray


def read_annotation(path: Path) -> Annotation:
    """The boxes of a file, all inside the frame that it declares.

    An edge may equal the width or height, as in files that count pixels from 1. Raises InputError
    naming the file, what is wrong in it and the remedy.
    """
    root = _parse(path)
    size = _size(path, root)
    things = root.findall("object")
    if not things:
        raise _fault(path, "it has no <object>", "Mark a region, or remove the file")
    regions, edges = [], []
    for number, thing in enumerate(things, 1):
        regions.append(_region(path, number, thing))
        edges.append(_edges(path, f"box {number} ({regions[-1]})", thing, size))
    return Annotation(size, regions, np.array(edges))


def _parse(path: Path) -> ElementTree.Element:
    """The root of an XML file without a document type, so without entities of its own."""
    if not path.is_file():  # a pipe would never end
        raise _fault(path, "not a file", "Remove it")
    try:
        with path.open("rb") as file:
            content = file.read(LARGEST_FILE + 1)
    except OSError as error:
        raise _fault(
            path, f"cannot be read ({error.strerror})", "Allow it, or remove it"
        ) from error
    if len(content) > LARGEST_FILE:
        wrong = f"larger than {LARGEST_FILE // 1024} KiB, so no file of boxes"
        raise _fault(path, wrong, "Remove it")
    try:
        text = content.decode("utf-8-sig")
        # Text spells a DOCTYPE in one way only: of text, the parser heeds no declared encoding.
        if "<!DOCTYPE" in text or "<!ENTITY" in text:
            raise _fault(path, "it has a DOCTYPE or entities", "Remove them: boxes need neither")
        return ElementTree.fromstring(text)
    except UnicodeDecodeError as error:
        raise _fault(path, "not UTF-8 text", "Save it as UTF-8, or remove it") from error
    except ElementTree.ParseError as error:
        raise _fault(path, f"not XML ({error})", "Mark it again, or remove it") from error


def _size(path: Path, root: ElementTree.Element) -> tuple[float, float]:
    remedy = "Write width and height of the radiograph, in pixels, into <size>"
    if root.find("size/width") is None or root.find("size/height") is None:
        raise _fault(path, "it does not say how large the radiograph is", remedy)
    width, height = (_number(path, root, f"size/{name}", "<size>") for name in ("width", "height"))
    if min(width, height) < 1:
        raise _fault(path, f"a radiograph of {width:g} x {height:g} pixels", remedy)
    return width, height


def _region(path: Path, number: int, thing: ElementTree.Element) -> str:
    name = (thing.findtext("name") or "").strip()
    if name not in REGIONS:
        wrong = f"box {number}: {name[:QUOTED]!r} is no region"
        raise _fault(path, wrong, f"Name it one of {', '.join(REGIONS)}, or remove it")
    return name


def _edges(
    path: Path, box: str, thing: ElementTree.Element, size: tuple[float, float]
) -> list[float]:
    names = ("xmin", "ymin", "xmax", "ymax")
    left, top, right, bottom = (_number(path, thing, f"bndbox/{name}", box) for name in names)
    edges = f"{left:g}, {top:g} to {right:g}, {bottom:g}"
    if left >= right or top >= bottom:
        raise _fault(path, f"{box}: {edges} is not upper left to lower right", "Mark it again")
    if min(left, top) < 0 or right > size[0] or bottom > size[1]:
        wrong = f"{box}: {edges} leaves the frame of {size[0]:g} x {size[1]:g} pixels"
        raise _fault(path, wrong, "Correct the box, or the file's <size>")
    return [left, top, right, bottom]


def _number(path: Path, element: ElementTree.Element, name: str, of: str) -> float:
    text = (element.findtext(name) or "").strip()
    if not re.fullmatch(r"[+-]?[0-9]{1,6}(\.[0-9]{0,6})?", text):
        field = f"{of}: <{name.rpartition('/')[2]}>"
        raise _fault(path, f"{field} is {text[:QUOTED]!r}, not a number", "Write it in pixels")
    return float(text)


def _fault(path: Path, wrong: str, remedy: str) -> InputError:
    return InputError(f"{path}: {wrong}. {remedy}.")
