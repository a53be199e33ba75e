"""Image files of any mode, decoded to 8-bit RGB or grey."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image


def read_image(path: str | Path, in_chans: int) -> Image.Image:
    """Decode an image file.

    Transparent pixels are laid over white; 16-bit values are scaled to 8 bits, not cut off.

    Args:
        path: The file.
        in_chans: 3 for RGB, 1 for grey.

    Returns:
        An image of mode `RGB` or `L`.

    Raises:
        Exception: Whatever Pillow raises for a damaged file; the kinds are many.
    """
    mode = "RGB" if in_chans == 3 else "L"
    with Image.open(path) as file:
        file.load()
        image: Image.Image = file
        if image.mode.startswith("I") or image.mode == "F":
            return Image.fromarray(_eight_bits(image)).convert(mode)
        if _is_transparent(image):
            image = image.convert("RGBA")
            white = Image.new("RGBA", image.size, "white")
            return Image.alpha_composite(white, image).convert(mode)
        return image.convert(mode)


def verify_image(path: str | Path) -> str | None:
    """Check the structure of an image file without decoding it.

    Returns:
        None if nothing is wrong, otherwise why the file cannot be read, in one line.
    """
    try:
        with Image.open(path) as image:
            image.verify()
    except Exception as error:
        return one_line(error)
    return None


def one_line(error: Exception) -> str:
    """The message of an exception in one line; its type where it has no message."""
    return " ".join(str(error).split()) or type(error).__name__


def _is_transparent(image: Image.Image) -> bool:
    return image.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in image.info


def _eight_bits(image: Image.Image) -> npt.NDArray[np.uint8]:
    """Scale 16-bit, 32-bit or float grey values to 0..255."""
    values = np.asarray(image).astype(np.float64)
    # Mode I of a PNG is 16 bits in older versions of Pillow; elsewhere only the values can tell.
    if image.mode.startswith("I;16") or image.format == "PNG" or values.max(initial=0) > 255:
        values = values / 257  # 65535 / 255
    elif image.mode == "F" and values.max(initial=0) <= 1:
        values = values * 255
    return np.nan_to_num(values).round().clip(0, 255).astype(np.uint8)
