"""Image files of any format and mode, decoded to 8-bit RGB or grey, the right way up."""

from __future__ import annotations

from contextlib import suppress
from importlib import import_module
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import ExifTags, Image

# Formats that Pillow names but does not decode by itself; EPS runs Ghostscript on the file.
_NO_PIXELS = {"BUFR", "EPS", "GRIB", "HDF5", "IPTC", "MPEG", "WMF"}
# Formats whose first bytes may be those of any file: their suffix is needed.
_BY_SUFFIX = {"CUR", "DIB", "FLI", "GBR", "IM", "IMT", "PCD", "PCX", "SGI", "SPIDER", "TGA", "XBM"}

# What shows an image upright, by its EXIF orientation; 1 is upright.
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}

with suppress(ImportError):  # so that Pillow reads .heic, also in the workers of a loader
    import_module("pillow_heif").register_heif_opener()


def image_suffixes() -> frozenset[str]:
    """Suffixes of the formats that Pillow decodes here, lower-case, with their dot."""
    Image.preinit()  # the usual formats stay the first that Pillow tries
    suffixes = Image.registered_extensions().items()
    return frozenset(
        suffix for suffix, name in suffixes if name in Image.OPEN and name not in _NO_PIXELS
    )


def begins_as_image(path: str | Path) -> bool:
    """Whether the first bytes of a file are those of an image, whatever its name is."""
    Image.init()
    formats = [name for name in Image.ID if name not in _NO_PIXELS | _BY_SUFFIX]
    try:
        with Image.open(path, formats=formats):
            return True
    except Exception:  # Pillow's decoders raise many kinds
        return False


def read_image(path: str | Path, in_chans: int) -> Image.Image:
    """Decode an image file.

    Transparent pixels are laid over white; 16-bit values are scaled to 8 bits, not cut off. The
    image is turned and mirrored as its EXIF orientation says; of a moving image, the first frame
    is taken.

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
        if file.format == "TIFF":
            file.filename = ""  # Pillow maps files that have a name, and turned ones wrongly
        file.load()
        image = _converted(file, mode)
        turn = _turn_upright(file)
        return image if turn is None else image.transpose(turn)


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


def _converted(image: Image.Image, mode: str) -> Image.Image:
    if image.mode.startswith("I") or image.mode == "F":
        return Image.fromarray(_eight_bits(image)).convert(mode)
    if _is_transparent(image):
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        return Image.alpha_composite(white, image).convert(mode)
    return image.convert(mode)


def _turn_upright(image: Image.Image) -> Image.Transpose | None:
    """What the EXIF orientation of a loaded image asks for; nothing where its EXIF is damaged."""
    if image.format == "TIFF":  # Pillow has turned it, and may still say that it is not
        return None
    try:
        return _UPRIGHT.get(image.getexif().get(ExifTags.Base.Orientation, 1))
    except Exception:  # the pixels are sound
        return None


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
