"""Boxes around the regions that a reader looks at, as Pascal VOC XML.

Classes, joints and sizes follow the boxes of Koitka et al. (PLOS ONE 2018) on RSNA radiographs:
four DIP (fingers 2 to 5), five PIP (the thumb's one joint with them), five MCP, Radius, Ulna,
Wrist.
"""

import xml.etree.ElementTree as ElementTree
from dataclasses import dataclass

import numpy as np

from nbhelpers.phantom_pose import Hand
from nbhelpers.phantom_shapes import View

# Median width and height over the distance from the wrist's box to the highest DIP.
BOX_SIZES = {
    "DIP": (0.096, 0.120),
    "PIP": (0.106, 0.133),
    "MCP": (0.130, 0.158),
    "Radius": (0.233, 0.174),
    "Ulna": (0.146, 0.145),
    "Wrist": (0.459, 0.304),
}
BOXES_IN_A_HAND = 17


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
