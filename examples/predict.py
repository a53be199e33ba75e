"""Classify a few images with a network that a search has taken out.

python examples/predict.py <model folder>
"""

import sys

import torch

import vitsearch
from vitsearch.data import FashionMini

network = vitsearch.load_model(sys.argv[1])
print(f"{network.cost().macs:,} MACs, {network.cost().params:,} parameters")

data = FashionMini()
data.setup("test")
images, labels = next(iter(data.test_dataloader()))  # (B, 1, 28, 28), (B,)
with torch.inference_mode():
    predicted = network(images).argmax(dim=1)
for guess, label in zip(predicted[:5].tolist(), labels[:5].tolist(), strict=True):
    print(f"{data.class_names[label]:>12} is classified as {data.class_names[guess]}")
