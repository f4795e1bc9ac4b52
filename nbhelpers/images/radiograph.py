"""One radiograph file: its header checked first, then its grey levels as uint8 [height, width]."""

import contextlib
import io
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

import cv2
import numpy as np
from PIL import Image, UnidentifiedImageError

from nbhelpers.workspace import InputError

FORMATS = ("PNG", "JPEG", "TIFF", "BMP", "WEBP")
DICOM, DICOM_AT = b"DICM", 128  # what tells a DICOM file, and where it stands
SHORTEST_SIDE = 32
# A hand radiograph has up to about 10 megapixels; more than this is a mistake or an attack.
MOST_PIXELS = 100_000_000
Image.MAX_IMAGE_PIXELS = None  # Pillow would warn of such a file before it can be refused
TAIL_BYTES = 4096
PNG_START, PNG_END = b"\x89PNG", b"IEND\xaeB`\x82"
JPEG_START, JPEG_SCAN, JPEG_END = b"\xff\xd8", b"\xff\xda", b"\xff\xd9"
TIFF_STARTS = (b"II", b"MM")
REMEDY = "Check the data folder or remove its row."
# Percentiles of levels of more than 8 bits: all but hot pixels, and the most of a picture.
DARKEST, DARK, BRIGHT, BRIGHTEST = 0.05, 2, 98, 99.95


def check_header(file: BinaryIO, name: str | Path) -> None:
    """Raise InputError naming a file that is no image, too small, too large, or several in one.

    Little more is read than its beginning; no pixel is decoded.
    """
    start = file.read(DICOM_AT + len(DICOM))
    if not start:
        raise InputError(f"{name} is empty. Copy the radiograph again or remove its row.")
    file.seek(0)
    if start.endswith(DICOM):
        width, height, pictures = _of_dicom(
            file, name, lambda data: (data.Columns, data.Rows, int(data.get("NumberOfFrames") or 1))
        )
    else:
        try:
            image = Image.open(file, formats=FORMATS)
            # A camera's JPEG may hold a small copy of itself.
            pictures = image.n_frames if image.format in ("TIFF", "WEBP") else 1
            width, height = image.size
        except (UnidentifiedImageError, OSError, ValueError, SyntaxError):
            raise InputError(
                f"{name} is not an image that can be read ({', '.join(FORMATS)} or DICOM), "
                "whatever its name says. Replace it or remove its row."
            ) from None
    if pictures > 1:
        wrong = f"holds {pictures} pictures"
    elif width * height > MOST_PIXELS:
        wrong = f"says it has {width} x {height} pixels, more than {MOST_PIXELS // 10**6} million"
    elif min(width, height) < SHORTEST_SIDE:
        wrong = f"has {width} x {height} pixels; a radiograph has at least {SHORTEST_SIDE} a side"
    else:
        return
    raise InputError(f"{name} {wrong}. Replace it or remove its row.")


def read_header(path: str | Path) -> None:
    """Check a file as `check_header` does, and that it was not cut short.

    Of a PNG little more is read than its beginning and its end; other kinds than PNG and JPEG are
    found to be cut short when they are decoded.
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
    whole = PNG_END in content or not content.startswith((PNG_START, JPEG_START))
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
    """Grey levels uint8 [height, width] from the bytes of a file.

    Colours become luminance, laid over black where transparent; a picture that is transparent
    everywhere is shown as if it were not. See `to_uint8` for levels of more than 8 bits.
    Raises InputError naming the file when the header or the pixels are damaged.
    """
    check_header(io.BytesIO(content), name)
    _check_end(content, name)
    if content[DICOM_AT:].startswith(DICOM):
        return to_uint8(_of_dicom(io.BytesIO(content), name, _dicom_levels))
    pixels = None
    with contextlib.suppress(cv2.error, OSError):
        if content.startswith(TIFF_STARTS):  # where one is damaged, OpenCV makes levels up
            Image.open(io.BytesIO(content)).load()
        pixels = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED)
    if pixels is None:
        raise InputError(f"{name} is damaged. Copy the radiograph again or remove its row.")
    return to_uint8(_to_grey(pixels))


def read_image(path: str | Path) -> np.ndarray:
    """Grey levels uint8 [height, width] of a radiograph's file (see `decode`)."""
    return decode(read_bytes(path), path)


def to_uint8(levels: np.ndarray) -> np.ndarray:
    """Grey levels [height, width] of any depth as uint8; those of 8 bits stay as they are.

    Others are spread from the darkest to the brightest over 0..255. A hot pixel is cut off, and so
    is what lies further from the middle 96 % than these are wide, as a label burnt in does: neither
    takes levels from the hand.
    """
    if levels.dtype == np.uint8:
        return np.ascontiguousarray(levels)
    levels = np.nan_to_num(levels.astype(np.float32))
    darkest, low, high, brightest = np.percentile(levels, [DARKEST, DARK, BRIGHT, BRIGHTEST])
    width = high - low or np.inf
    low, high = max(darkest, low - width), min(brightest, high + width)
    return cv2.convertScaleAbs((levels.clip(low, high) - low) * (255 / max(high - low, 1e-6)))


def _to_grey(pixels: np.ndarray) -> np.ndarray:
    if pixels.ndim == 2:
        return pixels
    grey = cv2.cvtColor(pixels[..., :3], cv2.COLOR_BGR2GRAY)
    if pixels.shape[2] == 4 and (alpha := pixels[..., 3]).any():
        grey = cv2.multiply(grey, alpha, scale=1 / np.iinfo(alpha.dtype).max)
    return grey


def _of_dicom(file: BinaryIO, name: str | Path, wanted: Callable) -> object:
    """What `wanted` gives of the data set in a DICOM file."""
    try:
        import pydicom

        return wanted(pydicom.dcmread(file))
    except ImportError:
        remedy = "Install what reads it, `pip install pydicom`, or save the radiograph as PNG."
        raise InputError(f"{name} is a DICOM file. {remedy}") from None
    except Exception as error:  # pydicom lets errors of its decoders through
        reason = " ".join(str(error).split())
        raise InputError(f"{name} is damaged, or compressed ({reason}). Save it as PNG.") from None


def _dicom_levels(data: Any) -> np.ndarray:
    """The stored levels, black the least of them."""
    levels = data.pixel_array
    if data.PhotometricInterpretation == "MONOCHROME1":
        return levels.max() - levels
    return levels if levels.ndim == 2 else cv2.cvtColor(levels, cv2.COLOR_RGB2GRAY)
