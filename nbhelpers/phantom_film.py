"""From attenuation to film: Beer-Lambert, scatter, noise, blur, collimation, grey levels."""

from dataclasses import dataclass

import cv2
import numpy as np

from nbhelpers import phantom_frame as framing
from nbhelpers.phantom_frame import Frame
from nbhelpers.phantom_growth import CENTRES
from nbhelpers.phantom_pose import Hand
from nbhelpers.phantom_shapes import add_bone
from nbhelpers.phantom_tissue import SOFT_TISSUE

FINER = 2  # bones are drawn on a grid this much finer, then averaged: anti-aliasing
LEAD = 2.6
PLASTIC = 0.05


@dataclass(frozen=True)
class Exposure:
    """How one radiograph was taken and processed."""

    photons: float  # a pixel in air
    scatter: float
    blur: float  # pixels, SD
    gamma: float
    flatten: float  # share of the slow brightness changes that the processing takes out
    sharpen: float
    black: float  # grey level of air
    white: float  # grey level of the densest bone
    top: float  # densest bone over the window's upper end
    outside: float  # grey level outside the field
    edge: float  # brightness of the field's rim, grey levels
    penumbra: float  # pixels
    heel: tuple[float, float]  # change of exposure across and down the frame


def draw_exposure(rng: np.random.Generator) -> Exposure:
    """Three kinds: dark film (most), a field with a bright rim, a washed-out film of few greys."""
    kind = rng.choice(["dark", "rim", "pale"], p=[0.52, 0.28, 0.2])
    if kind == "pale":
        black = float(rng.uniform(80, 150))
        white = black + float(rng.uniform(55, 110))
        outside = black + float(rng.uniform(-60, 25))
    else:
        black = float(rng.uniform(2, 45) if kind == "dark" else rng.uniform(15, 75))
        white = float(rng.uniform(190, 262))
        outside = float(rng.uniform(0, 30) if rng.random() < 0.93 else rng.uniform(60, 140))
    return Exposure(
        photons=float(np.exp(rng.uniform(np.log(6e3), np.log(4e4)))),
        scatter=float(rng.uniform(0.02, 0.1)),
        blur=float(rng.uniform(0.35, 0.75)),
        gamma=float(np.exp(rng.normal(0.12, 0.2))),
        flatten=float(rng.uniform(0.0, 0.55)),
        sharpen=float(rng.uniform(0.1, 0.9)),
        black=black,
        white=white,
        top=float(rng.uniform(0.85, 1.1)),
        outside=outside,
        edge=float(rng.uniform(0.2, 0.8) if kind != "dark" else 0.1) * (white - black),
        penumbra=float(rng.uniform(0.6, 2.5)),
        heel=tuple(float(value) for value in rng.normal(0, 0.05, 2)),
    )


def bone_attenuation(
    rng: np.random.Generator, hand: Hand, frame: Frame
) -> tuple[np.ndarray, dict[str, float]]:
    """Attenuation of the bones [height, width] float32, and drawn area in mm2 of every
    ossification centre that stands free (0 before its onset and once it is fused)."""
    height, width = frame.shape
    fine = frame.view.finer(FINER)
    canvas = np.zeros((height * FINER, width * FINER), np.float32)
    texture = _trabeculae(rng, canvas.shape)
    areas = dict.fromkeys(CENTRES, 0.0)
    for bone in hand.bones:
        touched = add_bone(canvas, bone, fine, texture)
        name = getattr(bone, "name", None)
        if name:
            areas[name] = touched / fine.pixels_per_mm**2
    return cv2.resize(canvas, (width, height), interpolation=cv2.INTER_AREA), areas


def _trabeculae(rng: np.random.Generator, shape: tuple[int, int]) -> np.ndarray:
    """A fine net, drawn out along the hand, around 1."""
    noise = rng.standard_normal((shape[0] // 2, shape[1] // 2), dtype=np.float32)
    net = cv2.GaussianBlur(noise, (0, 0), sigmaX=0.55, sigmaY=1.1)
    net = cv2.resize(net, shape[::-1], interpolation=cv2.INTER_LINEAR)
    return 1.0 + np.float32(float(rng.uniform(0.08, 0.2)) / 0.3) * net


def expose(
    rng: np.random.Generator, bones: np.ndarray, soft: np.ndarray, frame: Frame, settings: Exposure
) -> np.ndarray:
    """The radiograph, uint8 [height, width], from attenuation of bone and mm of soft tissue."""
    inside = framing.field_distance(frame)
    lead, plastic = framing.draw_marker(rng, frame, soft, inside)
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
    return _grey_levels(density, body, inside, settings, grain)


def _slow(field: np.ndarray) -> np.ndarray:
    """The field blurred over a tenth of the frame."""
    small = cv2.resize(field, None, fx=0.125, fy=0.125, interpolation=cv2.INTER_AREA)
    small = cv2.GaussianBlur(small, (0, 0), 4.0)
    return cv2.resize(small, field.shape[::-1], interpolation=cv2.INTER_LINEAR)


def _heel(shape: tuple[int, int], heel: tuple[float, float]) -> np.ndarray:
    x = np.linspace(-heel[0], heel[0], shape[1], dtype=np.float32)
    y = np.linspace(-heel[1], heel[1], shape[0], dtype=np.float32)[:, None]
    return 1.0 + x + y


def _grey_levels(
    density: np.ndarray,
    body: np.ndarray,
    inside: np.ndarray,
    settings: Exposure,
    grain: np.ndarray,
) -> np.ndarray:
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
