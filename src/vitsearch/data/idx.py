"""Reader and writer of IDX files, the format of MNIST and its relatives, plain or gzipped.

A file is two zero bytes, the type of the values (8: unsigned byte), the number of dimensions, each
dimension as a big-endian 32-bit integer, and the values.
"""

from __future__ import annotations

import gzip
import zlib
from pathlib import Path

import numpy as np
import numpy.typing as npt

from vitsearch.errors import DataError

_UNSIGNED_BYTE = 8


def read_idx(path: str | Path, *, ndim: int | None = None) -> npt.NDArray[np.uint8]:
    """Read an IDX file of unsigned bytes.

    Args:
        path: The file; gzipped if its first two bytes say so, whatever its name.
        ndim: Number of dimensions that the file must have; any where None.

    Returns:
        The values; the array is writable.

    Raises:
        DataError: If the file is missing, truncated, too long, or something else.
    """
    path = Path(path)
    try:
        content = path.read_bytes()
        if content[:2] == b"\x1f\x8b":
            content = gzip.decompress(content)
    except FileNotFoundError:
        raise DataError(f"IDX file {path} does not exist") from None
    except EOFError:
        raise DataError(f"IDX file {path} is truncated: its gzip stream ends early") from None
    except (OSError, zlib.error) as error:
        raise DataError(f"IDX file {path} cannot be read: {error}") from None
    if len(content) < 4 or content[:2] != b"\0\0" or not content[3]:
        raise DataError(f"{path} is not an IDX file: it begins with {content[:4]!r}")
    if content[2] != _UNSIGNED_BYTE:
        raise DataError(
            f"IDX file {path} holds values of type 0x{content[2]:02x}; "
            f"legal is 0x{_UNSIGNED_BYTE:02x} (unsigned byte)"
        )
    dims = content[3]
    if ndim is not None and dims != ndim:
        raise DataError(f"IDX file {path} has {dims} dimensions; expected {ndim}")
    begin = 4 + 4 * dims
    if len(content) < begin:
        raise DataError(f"IDX file {path} is truncated: its header ends early")
    shape = tuple(int(size) for size in np.frombuffer(content[4:begin], dtype=">u4"))
    expected = int(np.prod(shape, dtype=object))
    found = len(content) - begin
    if found != expected:
        what = "is truncated" if found < expected else "is too long"
        raise DataError(
            f"IDX file {path} {what}: {found} values, but its header says "
            f"{'x'.join(map(str, shape))} = {expected}"
        )
    return np.frombuffer(content, dtype=np.uint8, offset=begin).reshape(shape).copy()


def write_idx(path: str | Path, array: npt.NDArray[np.uint8]) -> None:
    """Write an IDX file of unsigned bytes; gzipped, and equal for equal arrays, if named `.gz`.

    Args:
        path: The file to write.
        array: The values.
    """
    path = Path(path)
    header = bytes((0, 0, _UNSIGNED_BYTE, array.ndim))
    content = header + np.array(array.shape, dtype=">u4").tobytes() + array.tobytes()
    if path.suffix == ".gz":
        content = gzip.compress(content, compresslevel=9, mtime=0)
    path.write_bytes(content)
