"""A folder of colour pictures to try things on, a folder for each class.

python examples/own_images/make_images.py images
python examples/own_images/make_images.py images --clipart   # of Debian's package openclipart-png

Without --clipart they are drawn: shapes of any colour, size and place on any other colour.
"""

from __future__ import annotations

import argparse
import random
from collections.abc import Callable
from pathlib import Path

from PIL import Image, ImageDraw

CLIPART = Path("/usr/share/openclipart/png")
CATEGORIES = ["animals", "food", "people", "transportation"]
SIDE = 48
Box = tuple[float, float, float, float]


def disc(draw: ImageDraw.ImageDraw, box: Box, colour: str) -> None:
    draw.ellipse(box, fill=colour)


def ring(draw: ImageDraw.ImageDraw, box: Box, colour: str) -> None:
    draw.ellipse(box, outline=colour, width=5)


def square(draw: ImageDraw.ImageDraw, box: Box, colour: str) -> None:
    draw.rectangle(box, fill=colour)


def triangle(draw: ImageDraw.ImageDraw, box: Box, colour: str) -> None:
    left, top, right, bottom = box
    draw.polygon([((left + right) / 2, top), (right, bottom), (left, bottom)], fill=colour)


def cross(draw: ImageDraw.ImageDraw, box: Box, colour: str) -> None:
    left, top, right, bottom = box
    draw.line([(left, top), (right, bottom)], fill=colour, width=6)
    draw.line([(left, bottom), (right, top)], fill=colour, width=6)


SHAPES: dict[str, Callable[[ImageDraw.ImageDraw, Box, str], None]] = {
    "cross": cross,
    "disc": disc,
    "ring": ring,
    "square": square,
    "triangle": triangle,
}


def drawn(folder: Path, per_class: int) -> None:
    """Draw pictures; the same every time."""
    for name, shape in SHAPES.items():
        (folder / name).mkdir(parents=True, exist_ok=True)
        for number in range(per_class):
            rng = random.Random(f"{name}/{number}")
            hue = rng.randrange(360)
            ground, colour = f"hsl({hue}, 45%, 80%)", f"hsl({(hue + 150) % 360}, 75%, 40%)"
            picture = Image.new("RGB", (SIDE, SIDE), ground)
            size = rng.uniform(18, 36)
            x, y = rng.uniform(3, SIDE - size - 3), rng.uniform(3, SIDE - size - 3)
            shape(ImageDraw.Draw(picture), (x, y, x + size, y + size), colour)
            picture.save(folder / name / f"{number:04d}.png")


def clipart(folder: Path, per_class: int, categories: list[str]) -> None:
    """Copy pictures of some categories, small and on white."""
    Image.MAX_IMAGE_PIXELS = None  # a few are large, and all come from Debian
    for category in categories:
        if not (CLIPART / category).is_dir():
            raise SystemExit(
                f"{CLIPART / category} does not exist: apt-get install openclipart-png"
            )
        target = folder / category
        target.mkdir(parents=True, exist_ok=True)
        found = sorted((CLIPART / category).rglob("*.png"))
        for number, path in enumerate(found[:per_class]):
            with Image.open(path) as opened:
                opened.thumbnail((96, 96))
                picture = opened.convert("RGBA")
            white = Image.new("RGBA", picture.size, "white")
            Image.alpha_composite(white, picture).convert("RGB").save(target / f"{number:04d}.png")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--per-class", type=int, default=300)
    parser.add_argument("--clipart", nargs="*", help="categories of openclipart-png")
    given = parser.parse_args()
    if given.clipart is not None:
        clipart(given.folder, given.per_class, given.clipart or CATEGORIES)
    else:
        drawn(given.folder, given.per_class)
    classes = sorted(path for path in given.folder.iterdir() if path.is_dir())
    print(f"{given.folder}: {sum(len(list(c.iterdir())) for c in classes)} pictures of")
    print(", ".join(path.name for path in classes))
