"""Classify pictures with an exported network: no torch, no vitsearch, but onnxruntime and Pillow.

pip install onnxruntime pillow
python examples/onnx/classify.py runs/retrained/export/model.onnx picture.png ...
"""

import json
import sys
from pathlib import Path

import numpy as np
import onnxruntime
from PIL import Image, ImageOps


def prepare(path: Path, facts: dict) -> np.ndarray:
    """A picture as the network has seen its own: (C, H, W)."""
    _, chans, side, _ = facts["shape"]
    picture = ImageOps.exif_transpose(Image.open(path)).convert("L" if chans == 1 else "RGB")
    shortest = int(side / facts["crop_pct"])
    size = [shortest * length // min(picture.size) for length in picture.size]
    picture = picture.resize(size, Image.Resampling[facts["interpolation"].upper()])
    left, top = (round((length - side) / 2) for length in size)
    pixels = np.asarray(picture.crop((left, top, left + side, top + side)), dtype=np.float32)
    pixels = pixels.reshape(side, side, chans).transpose(2, 0, 1) / 255
    if facts["normalisation"]:
        mean, std = (np.float32(facts["normalisation"][name]) for name in ("mean", "std"))
        pixels = (pixels - mean[:, None, None]) / std[:, None, None]
    return pixels


def main(model: Path, pictures: list[Path]) -> None:
    facts = json.loads(model.with_name(f"{model.name}.json").read_text(encoding="utf-8"))
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    images = np.stack([prepare(path, facts["input"]) for path in pictures])
    (logits,) = session.run(None, {facts["input"]["name"]: images})
    odds = np.exp(logits - logits.max(axis=1, keepdims=True))
    for path, row in zip(pictures, odds / odds.sum(axis=1, keepdims=True), strict=True):
        print(f"{path}: {facts['class_names'][row.argmax()]} ({100 * row.max():.0f} %)")


if __name__ == "__main__":
    main(Path(sys.argv[1]), [Path(name) for name in sys.argv[2:]])
