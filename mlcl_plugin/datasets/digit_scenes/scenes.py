# SPDX-License-Identifier: Apache-2.0
"""Draw scenes of real handwritten digits."""

from dataclasses import dataclass

import cv2
import numpy as np
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

SPLITS = ('train', 'val')
SCAN_SIDE = 8
# A digit of fewer pixels cannot be read.
MIN_HEIGHT = 6


@dataclass(frozen=True)
class SceneOptions:
    """What determines the scenes of a split.

    Args:
        image_size (int): Side of the square images in pixels.
        min_digits (int): Least number of digits in a scene.
        max_digits (int): Largest number of digits in a scene.
        min_scale (float): Least height of a digit as a share of ``image_size``,
            at least 6 pixels.
        max_scale (float): Largest height of a digit as a share of ``image_size``.
        clutter (int): Number of distractors behind the digits of a scene.
        noise (float): Standard deviation of the pixel noise; 1 is white - black.
        overlap (float): Largest IoU of the boxes of two digits.
        min_contrast (float): Least difference in brightness between a digit and
            the mean of the background; 1 is white - black.
        max_rotation (float): Largest rotation of a digit to either side, degrees.
        image_format (str): 'png' or 'jpg'.
        quality (int): JPEG quality, 1 to 100; without effect for PNG.
        seed (int): Seed of the division of the scans and of the scenes.
        val_fraction_of_scans (float): Share of the scans kept for validation.

    Raises:
        ValueError: If an option is out of its range.
    """

    image_size: int = 96
    min_digits: int = 1
    max_digits: int = 5
    min_scale: float = 0.2
    max_scale: float = 0.4
    clutter: int = 6
    noise: float = 0.04
    overlap: float = 0.05
    min_contrast: float = 0.25
    max_rotation: float = 15.0
    image_format: str = 'png'
    quality: int = 90
    seed: int = 0
    val_fraction_of_scans: float = 0.3

    def __post_init__(self) -> None:
        ranges = {
            'image_size': (16, 2048),
            'min_digits': (1, 100),
            'max_digits': (self.min_digits, 100),
            'min_scale': (MIN_HEIGHT / max(self.image_size, 1), 1),
            'max_scale': (self.min_scale, 1),
            'clutter': (0, 1000),
            'noise': (0, 1),
            'overlap': (0, 1),
            # Above 0.45, hardly a colour suits a mid-grey background.
            'min_contrast': (0, 0.45),
            'max_rotation': (0, 45),
            'quality': (1, 100),
            'seed': (0, 2**32 - 1),
            # Both splits get several scans of each digit.
            'val_fraction_of_scans': (0.05, 0.95),
        }
        for name, (low, high) in ranges.items():
            value = getattr(self, name)
            if not low <= value <= high:
                raise ValueError(
                    f'{name} must lie between {low:.6g} and {high:.6g}, got {value}.'
                )
        if self.image_format not in ('png', 'jpg'):
            raise ValueError(
                f"image_format must be 'png' or 'jpg', got '{self.image_format}'."
            )


def split_scans(
    val_fraction: float, seed: int
) -> dict[str, tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Divide the scans of handwritten digits between the splits.

    Args:
        val_fraction (float): Share of the scans of each digit for 'val'.
        seed (int): Seed of the division.

    Returns:
        dict: For 'train' and 'val' the scans ``(N, 8, 8)`` float32 from 0 to 1,
        the digits shown ``(N,)`` and the scans' numbers in scikit-learn ``(N,)``.
    """
    digits = load_digits()
    parts = train_test_split(
        np.arange(len(digits.target)),
        test_size=val_fraction,
        random_state=seed,
        stratify=digits.target,
    )
    scans = (digits.images / digits.images.max()).astype(np.float32)
    return {
        split: (scans[part], digits.target[part], part)
        for split, part in zip(SPLITS, map(np.sort, parts))
    }


def render_patch(
    scan: np.ndarray, size: float, angle: float, stretch: float
) -> np.ndarray:
    """Enlarge a small grey image bilinearly, rotated, as an opacity mask.

    Args:
        scan (np.ndarray): ``(h, w)`` float32 from 0 to 1.
        size (float): Height of an enlarged 8-pixel scan in pixels.
        angle (float): Rotation in degrees.
        stretch (float): Width of the result relative to ``scan``'s own.

    Returns:
        np.ndarray: ``(H, W)`` float32 from 0 to 1, cut to what is visible.
    """
    factor = size / SCAN_SIDE
    turn = np.deg2rad(angle)
    matrix = factor * np.array(
        [
            [stretch * np.cos(turn), -np.sin(turn)],
            [stretch * np.sin(turn), np.cos(turn)],
        ]
    )
    # Without a border, strokes at the edge of the scan would be cut off.
    scan = cv2.copyMakeBorder(scan, 1, 1, 1, 1, cv2.BORDER_CONSTANT, value=0)
    side = int(np.ceil(1.5 * factor * max(scan.shape))) + 1
    shift = side / 2 - 0.5 - matrix @ (np.array(scan.shape[::-1]) / 2 - 0.5)
    mask = cv2.warpAffine(
        scan, np.column_stack([matrix, shift]), (side, side), flags=cv2.INTER_LINEAR
    )
    # Enlargement blurs the edges of pen strokes; a steeper ramp sharpens them.
    mask = np.clip((mask - 0.3) / 0.35, 0, 1)
    rows, columns = np.nonzero(mask.max(1) > 0.5)[0], np.nonzero(mask.max(0) > 0.5)[0]
    if rows.size == 0:
        return mask[:0, :0]
    return mask[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]


def _random_colour(
    rng: np.random.Generator, background: np.ndarray, min_contrast: float
) -> np.ndarray:
    """Draw a BGR colour that stands out from ``background`` in brightness."""
    weights = np.array([0.114, 0.587, 0.299])
    colours = rng.random((64, 3))
    contrast = np.abs((colours - background) @ weights)
    # The first colour with enough contrast, or the best of the 64.
    good = contrast >= min_contrast
    return colours[good.argmax() if good.any() else contrast.argmax()]


def _background(rng: np.random.Generator, size: int) -> np.ndarray:
    """A smooth field of colour, ``(size, size, 3)`` float32."""
    colour = rng.uniform(0.1, 0.9, 3)
    coarse = colour + rng.uniform(-0.15, 0.15, (3, 3, 3))
    return cv2.resize(
        coarse.astype(np.float32), (size, size), interpolation=cv2.INTER_LINEAR
    )


def _paint(image: np.ndarray, mask: np.ndarray, x: int, y: int, colour) -> None:
    """Blend ``colour`` into ``image`` by ``mask``; what is outside is cut off."""
    size = image.shape[0]
    left, top = max(x, 0), max(y, 0)
    right, bottom = min(x + mask.shape[1], size), min(y + mask.shape[0], size)
    if left >= right or top >= bottom:
        return
    part = mask[top - y : bottom - y, left - x : right - x, None]
    window = image[top:bottom, left:right]
    window += part * (np.asarray(colour, np.float32) - window)


def _draw_distractor(
    rng: np.random.Generator,
    image: np.ndarray,
    scans: np.ndarray,
    colour: np.ndarray,
    options: SceneOptions,
) -> None:
    """Draw something that resembles a digit but is none."""
    size = options.image_size
    height = rng.uniform(options.min_scale, options.max_scale) * size
    centre = rng.uniform(0, size, 2)
    scan = scans[rng.integers(len(scans))]
    kind = rng.integers(3)
    if kind == 0:
        # A pen stroke: a quadratic Bezier curve with the thickness of a digit's.
        ends = centre + rng.uniform(-0.7, 0.7, (3, 2)) * height
        t = np.linspace(0, 1, 12)[:, None]
        curve = (1 - t) ** 2 * ends[0] + 2 * t * (1 - t) * ends[1] + t**2 * ends[2]
        mask = np.zeros((size, size), np.uint8)
        # Points in 1/16 pixel.
        cv2.polylines(
            mask,
            [np.round(curve * 16).astype(np.int32)],
            False,
            255,
            max(1, round(height / 9)),
            cv2.LINE_AA,
            4,
        )
        _paint(image, mask.astype(np.float32) / 255, 0, 0, colour)
        return
    if kind == 1:
        # A fragment: a quarter of a scan, too little to recognise the digit.
        row, column = rng.integers(2, size=2) * (SCAN_SIDE // 2)
        scan = scan[row : row + SCAN_SIDE // 2, column : column + SCAN_SIDE // 2]
    else:
        # A scramble: the scan's 2x2-pixel blocks in random order.
        blocks = scan.reshape(4, 2, 4, 2).swapaxes(1, 2).reshape(16, 2, 2)
        blocks = blocks[rng.permutation(16)].reshape(4, 4, 2, 2)
        scan = np.ascontiguousarray(blocks.swapaxes(1, 2).reshape(8, 8))
    mask = render_patch(scan, height, rng.uniform(0, 360), 1.0)
    x, y = (centre - np.array(mask.shape[::-1]) / 2).astype(int)
    _paint(image, mask, int(x), int(y), colour)


def _largest_iou(box: np.ndarray, boxes: list[np.ndarray]) -> float:
    """The largest IoU of one box (x, y, w, h) with others."""
    if not boxes:
        return 0.0
    others = np.asarray(boxes)
    overlap = np.minimum(box[:2] + box[2:], others[:, :2] + others[:, 2:])
    overlap = np.clip(overlap - np.maximum(box[:2], others[:, :2]), 0, None).prod(1)
    union = box[2:].prod() + others[:, 2:].prod(1) - overlap
    return float((overlap / union).max())


def _place_digits(
    rng: np.random.Generator,
    scans: np.ndarray,
    labels: np.ndarray,
    options: SceneOptions,
) -> list[tuple[int, np.ndarray, list[int]]] | None:
    """Choose scans, masks and boxes for a scene; None if they do not fit."""
    size, placed = options.image_size, []
    boxes: list[np.ndarray] = []
    for digit in rng.integers(
        10, size=rng.integers(options.min_digits, options.max_digits + 1)
    ):
        scan = int(rng.choice(np.flatnonzero(labels == digit)))
        scale = rng.uniform(options.min_scale, options.max_scale)
        angle = rng.uniform(-options.max_rotation, options.max_rotation)
        stretch = rng.uniform(0.85, 1.15)
        # A digit that does not fit is tried in smaller sizes.
        for height in np.linspace(scale, options.min_scale, 3) * size:
            mask = render_patch(scans[scan], height, angle, stretch)
            room = size - np.array(mask.shape[::-1])
            if mask.size == 0 or (room < 0).any():
                continue
            corners = rng.integers(room + 1, size=(30, 2))
            candidates = [np.append(c, mask.shape[::-1]) for c in corners]
            box = next(
                (b for b in candidates if _largest_iou(b, boxes) <= options.overlap),
                None,
            )
            if box is not None:
                break
        else:
            return None
        boxes.append(box)
        placed.append((scan, mask, box.tolist()))
    return placed


def make_scene(
    rng: np.random.Generator,
    scans: np.ndarray,
    labels: np.ndarray,
    options: SceneOptions,
) -> tuple[np.ndarray, list[tuple[int, list[int]]]]:
    """Draw one scene.

    Digits that do not fit are drawn again, so scenes of fewer and smaller digits become
    more frequent where there is little room.

    Args:
        rng (np.random.Generator): Source of all random numbers.
        scans (np.ndarray): ``(N, 8, 8)`` float32 from 0 to 1.
        labels (np.ndarray): ``(N,)`` the digits shown.
        options (SceneOptions): The kind of scenes.

    Returns:
        tuple: The image ``(image_size, image_size, 3)`` uint8, BGR, and for each
        digit the row of its scan in ``scans`` and its box ``[x, y, w, h]`` in
        pixels.

    Raises:
        ValueError: If the digits do not fit into the image.
    """
    for _ in range(50):
        placed = _place_digits(rng, scans, labels, options)
        if placed is not None:
            break
    else:
        raise ValueError(
            f'{options.min_digits} to {options.max_digits} digits of at least '
            f'{options.min_scale} of the image side do not fit into an image with '
            f'an overlap of at most {options.overlap}. Lower max_digits or min_scale, '
            'or raise overlap.'
        )

    image = _background(rng, options.image_size)
    mean = image.mean((0, 1))
    for _ in range(options.clutter):
        colour = _random_colour(rng, mean, options.min_contrast)
        _draw_distractor(rng, image, scans, colour, options)
    for _, mask, (x, y, _, _) in placed:
        colour = _random_colour(rng, mean, options.min_contrast)
        _paint(image, mask, x, y, colour)
    image += options.noise * rng.standard_normal(image.shape, dtype=np.float32)
    image = np.round(np.clip(image, 0, 1) * 255).astype(np.uint8)
    return image, [(scan, box) for scan, _, box in placed]
