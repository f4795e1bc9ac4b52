"""From a hand to film: the frame it lies in, the exposure, and the boxes around its regions.

Beer-Lambert, scatter, noise, blur, collimation and grey levels. Frame, field, marker and exposure
are drawn without a look at the child's age, so that pixels do not give size or age away.

Boxes follow those of Koitka et al. (PLOS ONE 2018) on RSNA radiographs, in classes, joints and
sizes: four DIP (fingers 2 to 5), five PIP (the thumb's one joint with them), five MCP, Radius,
Ulna, Wrist. They are written as Pascal VOC XML.
"""

import xml.etree.ElementTree as ElementTree
from dataclasses import dataclass
from types import SimpleNamespace

import cv2
import numpy as np

from nbhelpers.phantom.hand import SOFT_TISSUE, Hand
from nbhelpers.phantom.shapes import View, add_bone

# Median width and height over the distance from the wrist's box to the highest DIP.
BOX_SIZES = {
    "DIP": (0.096, 0.120),
    "PIP": (0.106, 0.133),
    "MCP": (0.130, 0.158),
    "Radius": (0.233, 0.174),
    "Ulna": (0.146, 0.145),
    "Wrist": (0.459, 0.304),
}


@dataclass(frozen=True)
class Box:
    """A region in pixels; left and top inside, right and bottom the last pixel inside."""

    name: str
    left: int
    top: int
    right: int
    bottom: int


def region_extents(hand: Hand, view: View) -> list[tuple[str, np.ndarray]]:
    """Name and [left, top, right, bottom] in pixels, float, of the 17 regions."""
    reach = np.linalg.norm(np.subtract(hand.joints["DIP3"], hand.joints["Wrist"]))
    extents = []
    for joint, place in hand.joints.items():
        name = joint.rstrip("12345")
        half = np.array(BOX_SIZES[name]) * reach * view.pixels_per_mm / 2
        centre = view.to_pixels(np.array([place]))[0]
        extents.append((name, np.concatenate([centre - half, centre + half])))
    return sorted(extents, key=lambda extent: (list(BOX_SIZES).index(extent[0]), extent[1][0]))


def find_boxes(hand: Hand, view: View) -> list[Box]:
    """The 17 boxes in whole pixels."""
    return [
        Box(name, *(round(float(edge)) for edge in extent))
        for name, extent in region_extents(hand, view)
    ]


def voc_xml(file_name: str, size: tuple[int, int], boxes: list[Box]) -> str:
    """A Pascal VOC annotation of one radiograph; `size` is (height, width)."""
    root = ElementTree.Element("annotation")
    ElementTree.SubElement(root, "filename").text = file_name
    _add_numbers(root, "size", {"width": size[1], "height": size[0], "depth": 1})
    for box in boxes:
        thing = ElementTree.SubElement(root, "object")
        ElementTree.SubElement(thing, "name").text = box.name
        edges = {"xmin": box.left, "ymin": box.top, "xmax": box.right, "ymax": box.bottom}
        _add_numbers(thing, "bndbox", edges)
    ElementTree.indent(root)
    return ElementTree.tostring(root, encoding="unicode") + "\n"


def _add_numbers(parent: ElementTree.Element, name: str, numbers: dict[str, int]) -> None:
    element = ElementTree.SubElement(parent, name)
    for key, value in numbers.items():
        ElementTree.SubElement(element, key).text = str(value)


MARGIN = 3.0  # pixels that every box keeps from the frame's edge
BENT = ((0.7, 0.1), (0.4, 0), (0, 0.15), (0.1, 0.45), (0.65, 0.6), (0.65, 0.9), (0.3, 1), (0, 0.9))
# Letters of straight strokes in a unit square, y down: the side and a radiographer's initials.
STROKES = {
    "A": (((0, 1), (0.4, 0), (0.8, 1)), ((0.15, 0.65), (0.65, 0.65))),
    "E": (((0.7, 0), (0, 0), (0, 1), (0.7, 1)), ((0, 0.5), (0.55, 0.5))),
    "H": (((0, 0), (0, 1)), ((0.7, 0), (0.7, 1)), ((0, 0.5), (0.7, 0.5))),
    "J": (((0.7, 0), (0.7, 0.8), (0.5, 1), (0.2, 1), (0, 0.8)),),
    "K": (((0, 0), (0, 1)), ((0.7, 0), (0, 0.55), (0.7, 1))),
    "L": (((0, 0), (0, 1), (0.65, 1)),),
    "M": (((0, 1), (0, 0), (0.45, 0.7), (0.9, 0), (0.9, 1)),),
    "N": (((0, 1), (0, 0), (0.7, 1), (0.7, 0)),),
    "P": (((0, 1), (0, 0), (0.5, 0), (0.7, 0.15), (0.7, 0.4), (0.5, 0.55), (0, 0.55)),),
    "S": (BENT,),
    "T": (((0, 0), (0.8, 0)), ((0.4, 0), (0.4, 1))),
    "W": (((0, 0), (0.2, 1), (0.45, 0.4), (0.7, 1), (0.9, 0)),),
}


@dataclass(frozen=True)
class Frame:
    """The hand's view, the frame's size in pixels and the collimated field in it.

    `field` is the middle (x, y), half-width, half-height and turn of a rectangle.
    """

    shape: tuple[int, int]
    view: View
    field: tuple[float, float, float, float, float]


def draw_frame(rng: np.random.Generator, hand: Hand, size: int) -> Frame:
    """Choose a frame with `size` pixels on its longer side that holds the hand and its 17 boxes."""
    aspect = float(np.clip(rng.normal(0.79, 0.1), 0.6, 1.3))
    height, width = (size, round(size * aspect)) if aspect <= 1 else (round(size / aspect), size)
    turn = rng.normal(0, 6.5) if rng.random() < 0.75 else rng.normal(0, 20)
    turn = float(np.radians(np.clip(turn, -38, 38)))
    # Distance from the wrist's to the highest DIP box over the frame's height: the RSNA boxes have
    # 0.51, SD 0.08, with a tail of small hands on large plates.
    share = float(np.clip(rng.normal(0.55, 0.06), 0.38, 0.66))
    if rng.random() < 0.12:
        share *= float(rng.uniform(0.6, 0.9))
    places = rng.beta(2.5, 2.5, 2)
    reach = float(np.linalg.norm(np.subtract(hand.joints["DIP3"], hand.joints["Wrist"])))
    seen = _outline(hand, View(1.0, turn, (0.0, 0.0)))
    low, high = seen.min(0), seen.max(0)
    room = np.array([width, height]) - 2 * MARGIN - 2
    scale = min(share * height / reach, *(0.98 * room / (high - low)))
    low, high = low * scale, high * scale
    start = MARGIN + 1 + places * (room - (high - low))
    view = View(scale, turn, tuple(start - low))
    return Frame((height, width), view, _draw_field(rng, hand, view, (height, width)))


def _outline(hand: Hand, view: View) -> np.ndarray:
    """Points [n, 2] in pixels that must be seen: the corners of the boxes and the finger tips."""
    boxes = np.array([extent for _, extent in region_extents(hand, view)])
    corners = np.concatenate(
        [boxes[:, [0, 1]], boxes[:, [2, 3]], boxes[:, [0, 3]], boxes[:, [2, 1]]]
    )
    tips = view.to_pixels(np.array([ray[1] for name, ray in hand.rays.items() if name[:2] == "DP"]))
    beyond = 9.0 * hand.scale * view.pixels_per_mm
    return np.concatenate([corners, tips - beyond, tips + beyond])


def _draw_field(
    rng: np.random.Generator, hand: Hand, view: View, shape: tuple[int, int]
) -> tuple[float, float, float, float, float]:
    """A rectangle around the hand; its lower edge crosses the forearm or leaves the frame."""
    turn = float(rng.choice([0.0, 0.7, 1.0]) * view.turn + np.radians(rng.normal(0, 2.5)))
    cosine, sine = np.cos(turn), np.sin(turn)
    to_field = np.array([[cosine, sine], [-sine, cosine]])
    points = _outline(hand, view) @ to_field.T
    low, high = points.min(0), points.max(0)
    span = high - low
    grow = rng.uniform(0.02, 0.22, 4) * np.array([span[0], span[1], span[0], span[1] * 2.5])
    low, high = low - grow[:2], high + grow[2:]
    middle = (low + high) / 2 @ to_field
    half = (high - low) / 2
    return float(middle[0]), float(middle[1]), float(half[0]), float(half[1]), turn


def field_distance(frame: Frame) -> np.ndarray:
    """Pixels from the field's nearest edge, [height, width] float32, positive inside."""
    centre_x, centre_y, half_x, half_y, turn = frame.field
    x = np.arange(frame.shape[1], dtype=np.float32) - np.float32(centre_x)
    y = np.arange(frame.shape[0], dtype=np.float32)[:, None] - np.float32(centre_y)
    cosine, sine = np.float32(np.cos(turn)), np.float32(np.sin(turn))
    across, down = cosine * x + sine * y, cosine * y - sine * x
    return np.minimum(np.float32(half_x) - np.abs(across), np.float32(half_y) - np.abs(down))


def draw_marker(
    rng: np.random.Generator, frame: Frame, soft: np.ndarray, inside: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Lead letters and their plastic plate: two coverages 0..1, [height, width] float32.

    `soft` is soft tissue's thickness: the marker lies in the field, off the hand.
    """
    height, width = frame.shape
    letters = "".join(rng.choice(list("AEHJKMNPSTW"), int(rng.integers(0, 4))))
    tall = float(rng.uniform(0.035, 0.06)) * height
    turn = float(np.radians(rng.normal(0, 14)))
    half = np.array([0.75 * tall, (1.0 if not letters else 1.5) * tall])
    turned = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    corners = np.array(
        [[-1, -1], [1, -1], [1, 1], [-1, 1], [0, 0], [0, -1], [0, 1], [1, 0], [-1, 0]]
    )
    plate = corners * half @ turned.T
    tries = rng.uniform([0, 0], [width, height], (60, 2))
    seen = np.round(tries[:, None] + plate).astype(int)
    columns, rows = np.clip(seen[..., 0], 0, width - 1), np.clip(seen[..., 1], 0, height - 1)
    cost = (soft[rows, columns] > 0).sum(1) * 4 + (inside[rows, columns] < 2).sum(1)
    place = tries[int(np.argmin(cost))]
    strokes = [(stroke, (-0.3 * tall, half[1] * -0.75), tall) for stroke in STROKES["L"]]
    small = 0.55 * tall
    for number, letter in enumerate(letters):
        corner = ((number - len(letters) / 2) * 0.85 * small, half[1] * 0.25)
        strokes += [(stroke, corner, small) for stroke in STROKES[letter]]
    lead = np.zeros((2 * height, 2 * width), np.uint8)
    plastic = np.zeros_like(lead)
    bits = 4  # fractional bits of OpenCV's coordinates
    for stroke, corner, letter_height in strokes:
        points = (np.array(stroke) * letter_height + corner) @ turned.T + place
        fixed = np.round((2 * points + 0.5) * 2**bits).astype(np.int32)
        thick = max(round(2 * 0.17 * letter_height), 1)
        cv2.polylines(lead, [fixed], False, 255, thick, cv2.LINE_AA, bits)
    fixed = np.round((2 * (plate[:4] + place) + 0.5) * 2**bits).astype(np.int32)
    cv2.fillConvexPoly(plastic, fixed, 255, cv2.LINE_AA, bits)
    small_ones = (
        cv2.resize(each, (width, height), interpolation=cv2.INTER_AREA) for each in (lead, plastic)
    )
    return tuple(each.astype(np.float32) / 255 for each in small_ones)


FINER = 2  # bones are drawn on a grid this much finer, then averaged: anti-aliasing
LEAD = 2.6
PLASTIC = 0.05


def draw_exposure(rng: np.random.Generator) -> SimpleNamespace:
    """How one radiograph is taken and processed: numbers, lengths in pixels.

    Three kinds: dark film (most), a field with a bright rim, a washed-out film of few greys.
    """
    kind = rng.choice(["dark", "rim", "pale"], p=[0.52, 0.28, 0.2])
    if kind == "pale":
        black = float(rng.uniform(80, 150))
        white = black + float(rng.uniform(55, 110))
        outside = black + float(rng.uniform(-60, 25))
    else:
        black = float(rng.uniform(2, 45) if kind == "dark" else rng.uniform(15, 75))
        white = float(rng.uniform(190, 262))
        outside = float(rng.uniform(0, 30) if rng.random() < 0.93 else rng.uniform(60, 140))
    return SimpleNamespace(
        photons=float(np.exp(rng.uniform(np.log(6e3), np.log(4e4)))),  # a pixel in air
        scatter=float(rng.uniform(0.02, 0.1)),
        blur=float(rng.uniform(0.35, 0.75)),  # SD
        gamma=float(np.exp(rng.normal(0.12, 0.2))),
        # Share of the slow brightness changes that the processing takes out.
        flatten=float(rng.uniform(0.0, 0.55)),
        sharpen=float(rng.uniform(0.1, 0.9)),
        black=black,  # grey level of air
        white=white,  # grey level of the densest bone
        top=float(rng.uniform(0.85, 1.1)),  # densest bone over the window's upper end
        outside=outside,  # grey level outside the field
        # Brightness of the field's rim, grey levels.
        edge=float(rng.uniform(0.2, 0.8) if kind != "dark" else 0.1) * (white - black),
        penumbra=float(rng.uniform(0.6, 2.5)),
        # Change of exposure across and down the frame.
        heel=tuple(float(value) for value in rng.normal(0, 0.05, 2)),
    )


def bone_attenuation(rng: np.random.Generator, hand: Hand, frame: Frame) -> np.ndarray:
    """Attenuation of the bones, [height, width] float32."""
    height, width = frame.shape
    fine = frame.view.finer(FINER)
    canvas = np.zeros((height * FINER, width * FINER), np.float32)
    texture = _trabeculae(rng, canvas.shape)
    for bone in hand.bones:
        add_bone(canvas, bone, fine, texture)
    return cv2.resize(canvas, (width, height), interpolation=cv2.INTER_AREA)


def _trabeculae(rng: np.random.Generator, shape: tuple[int, int]) -> np.ndarray:
    """A fine net, drawn out along the hand, around 1."""
    noise = rng.standard_normal((shape[0] // 2, shape[1] // 2), dtype=np.float32)
    net = cv2.GaussianBlur(noise, (0, 0), sigmaX=0.55, sigmaY=1.1)
    net = cv2.resize(net, shape[::-1], interpolation=cv2.INTER_LINEAR)
    return 1.0 + np.float32(float(rng.uniform(0.08, 0.2)) / 0.3) * net


def expose(
    rng: np.random.Generator,
    bones: np.ndarray,
    soft: np.ndarray,
    frame: Frame,
    settings: SimpleNamespace,
) -> np.ndarray:
    """The radiograph, uint8 [height, width], from attenuation of bone and mm of soft tissue."""
    inside = field_distance(frame)
    lead, plastic = draw_marker(rng, frame, soft, inside)
    attenuation = np.float32(SOFT_TISSUE) * soft + bones
    body = attenuation > 0.05
    attenuation = attenuation + LEAD * lead + PLASTIC * plastic
    photons = np.exp(-attenuation)
    photons += np.float32(settings.scatter) * _slow(photons)
    photons *= _heel(frame.shape, settings.heel)
    photons = cv2.GaussianBlur(photons, (0, 0), settings.blur)
    grain = rng.standard_normal(frame.shape, dtype=np.float32)
    photons += np.sqrt(photons) * grain * np.float32(settings.photons**-0.5)
    density = -np.log(np.maximum(photons, 0.02)) + np.float32(np.log1p(settings.scatter))
    density -= np.float32(settings.flatten) * _slow(np.minimum(density, 1.5))
    density += np.float32(settings.sharpen) * (density - cv2.GaussianBlur(density, (0, 0), 1.6))
    seen = body & (inside > 0)
    air, densest = np.quantile(density[~body], 0.3), np.quantile(density[seen][::4], 0.997)
    level = np.maximum((density - air) / (settings.top * (densest - air)), -0.05)
    level = np.sign(level) * np.abs(level) ** np.float32(settings.gamma)
    grey = settings.black + (settings.white - settings.black) * level
    through = 1.0 / (1.0 + np.exp(np.clip(-inside / np.float32(settings.penumbra), -30, 30)))
    rim = np.exp(-np.square(inside / np.float32(2.2 * settings.penumbra)))
    grey = settings.outside + (grey - settings.outside) * through
    grey += np.float32(settings.edge) * rim + grain * np.float32(0.6)
    return np.clip(np.round(grey), 0, 255).astype(np.uint8)


def _slow(field: np.ndarray) -> np.ndarray:
    """The field blurred over a tenth of the frame."""
    small = cv2.resize(field, None, fx=0.125, fy=0.125, interpolation=cv2.INTER_AREA)
    small = cv2.GaussianBlur(small, (0, 0), 4.0)
    return cv2.resize(small, field.shape[::-1], interpolation=cv2.INTER_LINEAR)


def _heel(shape: tuple[int, int], heel: tuple[float, float]) -> np.ndarray:
    x = np.linspace(-heel[0], heel[0], shape[1], dtype=np.float32)
    y = np.linspace(-heel[1], heel[1], shape[0], dtype=np.float32)[:, None]
    return 1.0 + x + y
