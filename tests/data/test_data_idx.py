from __future__ import annotations

import gzip

import numpy as np
import pytest

from vitsearch.data.idx import read_idx, write_idx

ARRAY = np.arange(24, dtype=np.uint8).reshape(2, 3, 4)


@pytest.mark.parametrize("name", ["images", "images.gz"])
def test_round_trip(tmp_path, name):
    path = tmp_path / name
    write_idx(path, ARRAY)
    np.testing.assert_array_equal(read_idx(path, ndim=3), ARRAY)
    first = path.read_bytes()
    write_idx(path, ARRAY)
    assert path.read_bytes() == first


def damaged():
    header = bytes((0, 0, 8, 3)) + np.array([2, 3, 4], dtype=">u4").tobytes()
    whole = header + ARRAY.tobytes()
    yield "truncated", whole[:-1], ("truncated", "23 values", "2x3x4 = 24")
    yield "long", whole + b"x", ("too long",)
    yield "header", whole[:9], ("truncated", "header")
    yield "gzip cut", gzip.compress(whole, mtime=0)[:-12], ("truncated",)
    yield "gzip damaged", gzip.compress(whole, mtime=0)[:10] + b"\xff" * 30, ("cannot be read",)
    yield "foreign", b"\x89PNG....", ("not an IDX file", "PNG")
    yield "empty", b"", ("not an IDX file",)
    yield "floats", bytes((0, 0, 13, 1)) + whole[4:], ("type 0x0d", "0x08")
    yield "dimensions", bytes((0, 0, 8, 1, 0, 0, 0, 1, 5)), ("1 dimensions", "expected 3")


@pytest.mark.parametrize(
    ("content", "words"), [pytest.param(c, w, id=name) for name, c, w in damaged()]
)
def test_damaged_files_are_one_line(tmp_path, one_line_error, content, words):
    path = tmp_path / "file"
    path.write_bytes(content)
    with one_line_error(str(path), *words):
        read_idx(path, ndim=3)


def test_missing_file(tmp_path, one_line_error):
    with one_line_error("does not exist"):
        read_idx(tmp_path / "nothing")
