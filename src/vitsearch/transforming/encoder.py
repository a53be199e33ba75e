"""What reads the graph of an architecture: a relational GCN, as in the paper, or attention."""

from __future__ import annotations

import torch
from torch import nn

from vitsearch.errors import ConfigError

WIDTH, HEADS = 64, 4
ENCODERS = ("gcn", "attention")


class GcnEncoder(nn.Module):
    """Relational graph convolutions with residuals (NAT, section 3.2, two layers there).

    Every layer adds what a node says itself to the mean of what each relation brings. The
    self-connection is a weight of its own: without one, two layers see the neighbours of
    neighbours, and never the operation that is to be replaced.
    """

    relations: torch.Tensor

    def __init__(self, num_features: int, relations: torch.Tensor, *, layers: int = 2) -> None:
        """Set up.

        Args:
            num_features: Of a node.
            relations: (relations, nodes, nodes), rows that sum to 1 or are empty.
            layers: Graph convolutions.
        """
        super().__init__()
        self.register_buffer("relations", relations, persistent=False)
        self.inward = nn.Linear(num_features, WIDTH)
        count = relations.shape[0]
        self.alone = nn.ModuleList(nn.Linear(WIDTH, WIDTH) for _ in range(layers))
        self.heard = nn.ModuleList(
            nn.Linear(count * WIDTH, WIDTH, bias=False) for _ in range(layers)
        )

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Nodes (b, nodes, features) to (b, nodes, width)."""
        x: torch.Tensor = self.inward(features)
        for alone, heard in zip(self.alone, self.heard, strict=True):
            heard_of = torch.einsum("rij,bjd->bird", self.relations, x).flatten(2)
            x = x + torch.relu(alone(x) + heard(heard_of))
        return x


class AttentionEncoder(nn.Module):
    """A pre-norm transformer over all nodes, with learned positions."""

    def __init__(self, num_features: int, num_nodes: int, *, layers: int = 2) -> None:
        """Set up.

        Args:
            num_features: Of a node.
            num_nodes: Of the graph.
            layers: Transformer blocks.
        """
        super().__init__()
        self.inward = nn.Linear(num_features, WIDTH)
        self.positions = nn.Parameter(0.1 * torch.randn(num_nodes, WIDTH))
        layer = nn.TransformerEncoderLayer(
            WIDTH, HEADS, 2 * WIDTH, dropout=0.0, batch_first=True, norm_first=True
        )
        self.blocks = nn.TransformerEncoder(layer, layers, enable_nested_tensor=False)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Nodes (b, nodes, features) to (b, nodes, width)."""
        encoded: torch.Tensor = self.blocks(self.inward(features) + self.positions)
        return encoded


def make_encoder(name: str, num_features: int, relations: torch.Tensor) -> nn.Module:
    """An encoder by name.

    Raises:
        ConfigError: No such encoder.
    """
    if name == "gcn":
        return GcnEncoder(num_features, relations)
    if name == "attention":
        return AttentionEncoder(num_features, relations.shape[1])
    raise ConfigError(f"encoder={name} is not known; legal: {', '.join(ENCODERS)}")
