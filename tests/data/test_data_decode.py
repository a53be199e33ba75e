from __future__ import annotations

import sys
from importlib import reload
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import ExifTags, Image, ImageOps

from vitsearch.data import decode
from vitsearch.data.decode import begins_as_image, image_suffixes, read_image, verify_image

KINDS = (("RGB", "jpg"), ("L", "jpg"), ("CMYK", "jpg"), ("RGB", "png"), ("RGBA", "png"))
KINDS += (("LA", "png"), ("P", "png"), ("1", "png"), ("I;16", "png"), ("RGB", "webp"))
KINDS += (
    ("RGB", "tif"),
    ("L", "tif"),
    ("CMYK", "tif"),
    ("I;16", "tif"),
    ("F", "tif"),
    ("RGB", "mpo"),
)


def corners(mode: str) -> Image.Image:
    """An image whose left half is white, and the upper quarter of the right one grey."""
    pixels = np.zeros((40, 80), np.uint8)
    pixels[:, :40], pixels[:20, 40:60] = 255, 128
    if mode == "I;16":
        return Image.fromarray(pixels.astype(np.uint16) * 257)
    if mode == "F":
        return Image.fromarray(pixels.astype(np.float32) / 255)
    return Image.fromarray(pixels).convert("RGB").convert(mode)


@pytest.mark.parametrize("in_chans", [1, 3])
@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize(("mode", "suffix"), KINDS)
def test_images_are_upright(tmp_path, mode, suffix, orientation, in_chans):
    exif = Image.Exif()
    path, plain = tmp_path / f"turned.{suffix}", tmp_path / f"plain.{suffix}"
    options = {"lossless": True} if suffix == "webp" else {}
    corners(mode).save(plain, **options)
    exif[ExifTags.Base.Orientation] = orientation
    corners(mode).save(path, exif=exif, **options)
    image = read_image(path, in_chans)
    assert image.size == ((80, 40) if orientation < 5 else (40, 80))
    # Turning what is read without EXIF gives the same pixels, bit by bit.
    upright = read_image(plain, in_chans)
    upright.getexif()[ExifTags.Base.Orientation] = orientation
    assert np.array_equal(np.asarray(image), np.asarray(ImageOps.exif_transpose(upright)))


@pytest.mark.parametrize("exif", [b"Exif\0\0II*\0\xff\xff\xff\xff", b"Exif\0\0nonsense", b"x"])
@pytest.mark.filterwarnings("ignore:.*EXIF.*", "ignore:Truncated")
def test_damaged_exif_is_no_damaged_image(tmp_path, exif):
    corners("RGB").save(tmp_path / "plain.jpg")
    corners("RGB").save(tmp_path / "damaged.jpg", exif=exif)
    seen, plain = (np.asarray(read_image(tmp_path / f"{n}.jpg", 3)) for n in ("damaged", "plain"))
    assert np.array_equal(seen, plain)


@pytest.mark.parametrize("orientation", [0, 9, 65535])
def test_orientations_that_do_not_exist(tmp_path, orientation):
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    corners("RGB").save(tmp_path / "image.jpg", exif=exif)
    assert read_image(tmp_path / "image.jpg", 3).size == (80, 40)


def test_modes(tmp_path):
    grey = np.full((4, 4), 100, dtype=np.uint8)
    Image.fromarray(grey.astype(np.uint16) * 257).save(tmp_path / "deep.png")
    Image.fromarray(grey.astype(np.int32) * 257).save(tmp_path / "deeper.tif")
    Image.fromarray(grey.astype(np.float32) / 255).save(tmp_path / "float.tif")
    Image.fromarray(grey).save(tmp_path / "grey.png")
    for name in ("deep.png", "deeper.tif", "float.tif", "grey.png"):
        for in_chans, mode in ((1, "L"), (3, "RGB")):
            image = read_image(tmp_path / name, in_chans)
            assert image.mode == mode
            assert np.unique(np.asarray(image)).tolist() == [100], name
    clear = Image.new("RGBA", (4, 4), (0, 0, 0, 0))
    clear.putpixel((0, 0), (255, 0, 0, 255))
    clear.save(tmp_path / "clear.png")
    palette = clear.convert("RGB").quantize(2)
    palette.save(tmp_path / "palette.png", transparency=palette.getpixel((1, 1)))
    for name in ("clear.png", "palette.png"):
        image = read_image(tmp_path / name, 3)
        assert image.getpixel((0, 0)) == (255, 0, 0)
        assert image.getpixel((1, 1)) == (255, 255, 255)
    Image.new("CMYK", (4, 4), (0, 255, 255, 0)).save(tmp_path / "print.jpg", quality=100)
    assert read_image(tmp_path / "print.jpg", 3).getpixel((0, 0))[0] > 200


def test_the_first_frame_of_a_moving_image(tmp_path):
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "blue")]
    for name in ("moving.gif", "moving.png", "moving.webp"):
        frames[0].save(tmp_path / name, save_all=True, append_images=frames[1:])
        red, _, blue = read_image(tmp_path / name, 3).getpixel((4, 4))
        assert red > 200 > 50 > blue


@pytest.mark.parametrize("suffix", ["gif", "jfif", "bmp", "webp", "tiff", "jp2", "avif", "ppm"])
def test_images_are_known_by_suffix_or_by_their_first_bytes(tmp_path, suffix):
    if f".{suffix}" not in image_suffixes():
        pytest.skip(f"this Pillow does not read .{suffix}")
    path = tmp_path / f"image.{suffix}"
    corners("RGB").save(path)
    assert verify_image(path) is None
    assert begins_as_image(path.rename(tmp_path / "image"))
    assert read_image(tmp_path / "image", 3).size == (80, 40)


def test_what_is_no_image(tmp_path):
    rng = np.random.default_rng(0)
    contents = [rng.bytes(200) for _ in range(200)]
    contents += [b"", b"Name: notes\nDate: today\n", b"a,b\n1,2\n", b"#define size_width 10\n"]
    contents += [b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n"]
    contents += [b"\x89HDF\r\n\x1a\n" + bytes(100), np.int32(40).tobytes() + bytes(99)]
    for content in contents:
        (tmp_path / "file").write_bytes(content)
        assert not begins_as_image(tmp_path / "file"), content
    assert not begins_as_image(tmp_path / "absent")
    assert not image_suffixes() & {".txt", ".db", ".csv", ".h5", ".eps", ".pdf", ".mpg", ""}


def test_pillow_heif_is_used_where_it_is_installed(monkeypatch):
    calls = []
    opener = SimpleNamespace(register_heif_opener=lambda: calls.append(1))
    monkeypatch.setitem(sys.modules, "pillow_heif", opener)
    reload(decode)
    assert calls == [1]
