"""One radiograph file: its header checked first, then its grey levels as uint8 [height, width]."""

import contextlib
import io
import os
from pathlib import Path
from typing import BinaryIO

import cv2
import numpy as np
from PIL import Image, UnidentifiedImageError

from nbhelpers.workspace import InputError

FORMATS = ("PNG", "JPEG")
SHORTEST_SIDE = 32
# A hand radiograph has up to about 10 megapixels; more than this is a mistake or an attack.
MOST_PIXELS = 100_000_000
Image.MAX_IMAGE_PIXELS = None  # Pillow would warn of such a file before it can be refused
TAIL_BYTES = 4096
PNG_END = b"IEND\xaeB`\x82"
JPEG_START, JPEG_SCAN, JPEG_END = b"\xff\xd8", b"\xff\xda", b"\xff\xd9"
REMEDY = "Check the data folder or remove its row."
# 16-bit files that use no more than this hold 12-bit data, as detectors deliver it.
LARGEST_12_BIT = 4095


def check_header(file: BinaryIO, name: str | Path) -> None:
    """Raise InputError naming a file that is no PNG or JPEG, too small or too large.

    Little more is read than its beginning; no pixel is decoded.
    """
    if not file.read(1):
        raise InputError(f"{name} is empty. Copy the radiograph again or remove its row.")
    try:
        width, height = Image.open(file, formats=FORMATS).size
    except (UnidentifiedImageError, OSError, ValueError, SyntaxError):
        raise InputError(
            f"{name} is not a PNG or JPEG image, whatever its name says. "
            "Replace it or remove its row."
        ) from None
    if width * height > MOST_PIXELS:
        raise InputError(
            f"{name} says it has {width} x {height} pixels, more than "
            f"{MOST_PIXELS // 1_000_000} million. Reduce it or remove its row."
        )
    if min(width, height) < SHORTEST_SIDE:
        raise InputError(
            f"{name} has {width} x {height} pixels; a radiograph has at least {SHORTEST_SIDE} "
            "a side. Replace it or remove its row."
        )


def read_header(path: str | Path) -> None:
    """Check a file as `check_header` does, and that it was not cut short.

    Of a PNG little more is read than its beginning and its end.
    """
    with _opened(path) as file:
        check_header(file, path)
        length = file.seek(0, os.SEEK_END)
        file.seek(max(0, length - TAIL_BYTES))
        if PNG_END not in file.read():
            file.seek(0)
            _check_end(file.read(), path)


def _check_end(content: bytes, path: str | Path) -> None:
    """Decoders fill what a file lacks with black or grey, but the mark of its end is then missing.

    The two marks of a JPEG cannot stand inside its coded pixels.
    """
    whole = PNG_END in content
    if content.startswith(JPEG_START):
        whole = content.rfind(JPEG_END) > content.rfind(JPEG_SCAN)
    if not whole:
        raise InputError(f"{path} is cut short. Copy the radiograph again or remove its row.")


def read_bytes(path: str | Path) -> bytes:
    """The bytes of a file; raises InputError when it is missing or may not be read."""
    with _opened(path) as file:
        return file.read()


def _opened(path: str | Path) -> BinaryIO:
    try:
        return Path(path).open("rb")
    except OSError as error:
        raise InputError(f"{path} cannot be opened ({error.strerror}). {REMEDY}") from None


def decode(content: bytes, name: str | Path) -> np.ndarray:
    """Grey levels uint8 [height, width] from the bytes of a PNG or JPEG file.

    Colours become luminance, laid over black where transparent. 16-bit levels are divided by 257,
    so that the full range maps onto the full range; a file that uses at most 4,095 of the 65,536
    levels holds 12-bit data and is divided by 16.0588 (4095 / 255) instead.
    Raises InputError naming the file when the header or the pixels are damaged.
    """
    check_header(io.BytesIO(content), name)
    _check_end(content, name)
    pixels = None
    with contextlib.suppress(cv2.error):
        pixels = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED)
    if pixels is None:
        raise InputError(f"{name} is damaged. Copy the radiograph again or remove its row.")
    return _to_grey(pixels)


def read_image(path: str | Path) -> np.ndarray:
    """Grey levels uint8 [height, width] of a PNG or JPEG file (see `decode`)."""
    return decode(read_bytes(path), path)


def _to_grey(pixels: np.ndarray) -> np.ndarray:
    if pixels.ndim == 3:
        alpha = pixels[..., 3] if pixels.shape[2] == 4 else None
        pixels = cv2.cvtColor(pixels[..., :3], cv2.COLOR_BGR2GRAY)
        if alpha is not None:
            opaque = np.iinfo(alpha.dtype).max
            pixels = cv2.multiply(pixels, alpha, scale=1 / opaque)
    if pixels.dtype == np.uint16:
        largest = LARGEST_12_BIT if pixels.max(initial=0) <= LARGEST_12_BIT else 65535
        pixels = cv2.convertScaleAbs(pixels, alpha=255 / largest)
    return np.ascontiguousarray(pixels)
