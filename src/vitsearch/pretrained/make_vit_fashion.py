"""Trains the embedded network `vit_fashion`, a small vision transformer of timm, on Fashion-MNIST.

    python -m vitsearch.pretrained.make_vit_fashion SOURCE_FOLDER TARGET_FOLDER [--epochs N]

It trains on the 54,000 training images that `fashion_mini` does not take, so that every split of
`fashion_mini` is new to the network. The weights are written in float16; timm loads them into
float32.
"""

from __future__ import annotations

import argparse
import math
import sys
import time
from pathlib import Path

import numpy as np
import timm
import torch
import torch.nn.functional as F
from timm.layers import PatchDropout
from timm.models import save_for_hf

from vitsearch.data import FashionMini
from vitsearch.data.fashion import CLASS_NAMES, MEAN, STD
from vitsearch.data.make_fashion_mini import PER_CLASS, read_source
from vitsearch.data.randomness import global_generators_seeded, permutation
from vitsearch.data.splits import ImageTable
from vitsearch.data.tensors import TensorAugmentation, TensorImages
from vitsearch.errors import ConfigError, DataError, VitSearchError
from vitsearch.errors.checks import check_whole
from vitsearch.runs.files import staged, write_text

ARCHITECTURE = "vit_tiny_patch16_224"
"""The registered name in timm whose sizes `MODEL_ARGS` replaces."""

IMAGE_SIZE = 28
MODEL_ARGS = {
    "img_size": IMAGE_SIZE,
    "patch_size": 4,
    "in_chans": 1,
    "num_classes": len(CLASS_NAMES),
    "embed_dim": 96,
    "depth": 6,
    "num_heads": 6,
}
EPOCHS = 7
WHOLE_EPOCHS = 1
"""The last epochs, in which the network sees all patches of an image; see `PATCH_DROP`."""
PATCH_DROP = 0.5
"""Part of the patches that each step before leaves out, which halves its work.

After Liu et al., "PatchDropout: Economizing Vision Transformers Using Patch Dropout", WACV 2023.
"""
BATCH_SIZE = 128
PEAK_RATE = 2e-3
WEIGHT_DECAY = 0.05
WARM_UP = 0.05  # part of all steps
LABEL_SMOOTHING = 0.1
MAX_GRAD_NORM = 1.0
AUGMENTATION = TensorAugmentation(crop_padding=1, horizontal_flip=True)
SEED = 0

_README = """\
# vit_fashion

A small vision transformer for 28 x 28 grey images of ten kinds of clothing, inside the package, so
that examples and tests have a pretrained network of timm without a download. It is timm's
`VisionTransformer`: patches of 4 pixels, {depth} blocks, {embed_dim} channels, {num_heads} heads,
a class token, {parameters:,} parameters, in the layout of timm's models on the Hub, with weights
in float16:

    timm.create_model("local-dir:FOLDER", pretrained=True)

- Data: {images:,} training images of
  [Fashion-MNIST](https://github.com/zalandoresearch/fashion-mnist) (Xiao, Rasul and Vollgraf, 2017;
  MIT licence), namely those that `fashion_mini` does not take. So all images of `fashion_mini`, its
  training images too, are new to this network.
- Accuracy on the {tested:,} test images of `fashion_mini`: {accuracy:.2f} %.
- Licence of the weights: Apache-2.0, as the package.

Made by

    python -m vitsearch.pretrained.make_vit_fashion SOURCE_FOLDER TARGET_FOLDER --epochs {epochs}

in which SOURCE_FOLDER has the four gzipped files of Fashion-MNIST. Other versions of PyTorch, other
processors or another number of threads give slightly different weights.
"""


def unseen_images(source: Path) -> TensorImages:
    """The training images of Fashion-MNIST that `fashion_mini` does not take, augmented.

    Args:
        source: Folder with the gzipped files of Fashion-MNIST.

    Raises:
        DataError: If a file is missing or damaged, its images or labels are not those of
            Fashion-MNIST, or `fashion_mini` takes all of its images.
    """
    part = read_source(source, "train")
    if part.images.shape[1:] != (IMAGE_SIZE, IMAGE_SIZE):
        height, width = part.images.shape[1:]
        raise DataError(
            f"training images in {source} are {height}x{width}; expected {IMAGE_SIZE}x{IMAGE_SIZE}"
        )
    if part.labels.max(initial=0) >= len(CLASS_NAMES):
        raise DataError(
            f"training labels in {source} go up to {part.labels.max()}; "
            f"legal are 0 to {len(CLASS_NAMES) - 1}"
        )
    unseen = np.flatnonzero(~part.drawn)
    if not len(unseen):
        raise DataError(
            f"{source} has {len(part.images)} training images, and fashion_mini takes all of them; "
            f"expected more than {PER_CLASS['train']} of a class"
        )
    table = ImageTable.of(part.labels)
    return TensorImages(
        torch.from_numpy(part.images)[:, None],
        torch.from_numpy(table.labels),
        table.keys,
        indices=torch.from_numpy(unseen),
        in_chans=1,
        mean=MEAN,
        std=STD,
        augmentation=AUGMENTATION,
        seed=SEED,
    )


def rate_at(step: int, num_steps: int) -> float:
    """The learning rate of a step as a part of its peak: linear warm-up, then half a cosine."""
    warm_up = max(1, round(WARM_UP * num_steps))
    if step < warm_up:
        return (step + 1) / warm_up
    return 0.5 * (1 + math.cos(math.pi * (step - warm_up) / max(1, num_steps - warm_up)))


def train(images: TensorImages, *, epochs: int) -> torch.nn.Module:
    """Train a new network; prints a line after each epoch. Equal calls give equal networks.

    Args:
        images: The training images.
        epochs: How often the network sees each of them.
    """
    with global_generators_seeded(SEED):
        network: torch.nn.Module = timm.create_model(ARCHITECTURE, **MODEL_ARGS)
        _fit(network, images, epochs=epochs)
    return network.eval()


def _fit(network: torch.nn.Module, images: TensorImages, *, epochs: int) -> None:
    """Change the weights; draws the patches that are left out from PyTorch's global generator."""
    optimizer = torch.optim.AdamW(network.parameters(), lr=PEAK_RATE, weight_decay=WEIGHT_DECAY)
    num_batches = math.ceil(len(images) / BATCH_SIZE)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: rate_at(step, epochs * num_batches)
    )
    network.train()
    for epoch in range(epochs):
        whole = epoch >= epochs - WHOLE_EPOCHS
        network.patch_drop = torch.nn.Identity() if whole else PatchDropout(PATCH_DROP)
        begin, total = time.monotonic(), 0.0
        for positions in np.array_split(permutation(len(images), SEED, epoch), num_batches):
            batch = images.fetch(positions, np.full(len(positions), epoch))
            logits = network(batch.images)
            loss = F.cross_entropy(logits, batch.labels, label_smoothing=LABEL_SMOOTHING)
            optimizer.zero_grad()
            torch.autograd.backward(loss)
            torch.nn.utils.clip_grad_norm_(network.parameters(), MAX_GRAD_NORM)
            optimizer.step()
            schedule.step()
            total += loss.item() * len(positions)
        seconds = time.monotonic() - begin
        mean = total / len(images)
        print(f"epoch {epoch + 1} of {epochs}: loss {mean:.4f}, {seconds:.0f} s", flush=True)


@torch.inference_mode()
def count_correct(network: torch.nn.Module) -> tuple[int, int]:
    """How many test images of `fashion_mini` a network in eval mode gets right, and of how many."""
    correct = tested = 0
    for images, labels in FashionMini(eval_batch_size=500).test_dataloader():
        correct += int((network(images).argmax(1) == labels).sum())
        tested += len(labels)
    return correct, tested


def write_network(network: torch.nn.Module, folder: Path) -> None:
    """Write `config.json` and, in float16, `model.safetensors`, as timm's models have them.

    Args:
        network: What is written; it computes in float16 afterwards.
        folder: Where; it must exist.
    """
    pretrained_cfg = {
        "tag": "fashion_mnist",
        "num_classes": len(CLASS_NAMES),
        "label_names": CLASS_NAMES,
        "input_size": (1, IMAGE_SIZE, IMAGE_SIZE),
        "mean": MEAN,
        "std": STD,
        "interpolation": FashionMini.interpolation,
        "crop_pct": FashionMini.crop_pct,
        "license": "apache-2.0",
    }
    save_for_hf(
        network.half(),
        folder,
        model_config={"pretrained_cfg": pretrained_cfg},
        model_args=MODEL_ARGS,
        safe_serialization=True,
    )
    # safetensors writes files that only their owner can read.
    (folder / "model.safetensors").chmod((folder / "config.json").stat().st_mode)


def make_vit_fashion(source: Path, target: Path, *, epochs: int = EPOCHS) -> float:
    """Train the embedded network and write its folder; returns its accuracy as written.

    Args:
        source: Folder with the gzipped files of Fashion-MNIST.
        target: Folder to write to; created if absent.
        epochs: How often the network sees each training image.

    Returns:
        Part of the test images of `fashion_mini` that timm's network of the folder gets right.

    Raises:
        DataError: If a source file is missing or damaged, or holds other images.
        ConfigError: If `epochs` is out of range, or `target` cannot be a folder.
    """
    check_whole("epochs", epochs, 1)
    images = unseen_images(source)
    try:
        target.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(
            f"target={target} must be a folder that can be written: {error.strerror}"
        ) from None
    network = train(images, epochs=epochs)
    with staged(target) as folder:
        write_network(network, folder)
        written = timm.create_model(f"local-dir:{folder}", pretrained=True).eval()
        correct, tested = count_correct(written)
        readme = _README.format(
            **MODEL_ARGS,
            parameters=sum(parameter.numel() for parameter in written.parameters()),
            images=len(images),
            tested=tested,
            accuracy=100 * correct / tested,
            epochs=epochs,
        )
        write_text(folder / "README.md", readme)
    return correct / tested


def main() -> int:
    """Run the command; returns its exit status."""
    parser = argparse.ArgumentParser(description="Train the embedded network on Fashion-MNIST.")
    parser.add_argument("source", type=Path, help="folder with the files of Fashion-MNIST")
    parser.add_argument("target", type=Path, help="folder to write to")
    parser.add_argument("--epochs", type=int, default=EPOCHS, help=f"default: {EPOCHS}")
    arguments = parser.parse_args()
    try:
        accuracy = make_vit_fashion(arguments.source, arguments.target, epochs=arguments.epochs)
    except VitSearchError as error:
        print(error, file=sys.stderr)
        return 2
    print(f"accuracy on fashion_mini's test images: {100 * accuracy:.2f} %")
    return 0


if __name__ == "__main__":
    sys.exit(main())
