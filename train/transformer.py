"""A small decoder-only transformer, equal to llama.cpp's `qwen2` without biases.

RMS norm before each block, rotary positions in the rotate-half layout, grouped-query attention, SwiGLU, and an output
layer tied to the embedding.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - torch's own convention

NORM_EPSILON = 1e-6


@dataclass(frozen=True, slots=True)
class Shape:
    """Sizes of a transformer.

    Attributes:
        dim: width; num_heads * head_dim.
        num_layers: blocks.
        num_heads, num_kv_heads: of the queries, and of the keys and values; the latter divides the former.
        ff_dim: inner width of the feed-forward blocks.
        num_tokens: of the vocabulary.
        max_positions: longest sequence that it is trained on.
        rope_base: of the rotary frequencies.

    Raises:
        ValueError: the sizes do not fit one another, or a row is no multiple of 32 (GGUF's Q8_0 block).
    """

    dim: int = 192
    num_layers: int = 5
    num_heads: int = 3
    num_kv_heads: int = 1
    ff_dim: int = 512
    num_tokens: int = 288
    max_positions: int = 512
    rope_base: float = 10_000.0

    def __post_init__(self) -> None:
        if self.dim % self.num_heads or self.num_heads % self.num_kv_heads:
            raise ValueError(
                f"dim {self.dim}, num_heads {self.num_heads} and num_kv_heads {self.num_kv_heads} must each divide the "
                "one before"
            )
        if self.dim % 32 or self.ff_dim % 32 or self.head_dim % 2:
            raise ValueError(
                f"dim {self.dim} and ff_dim {self.ff_dim} must be multiples of 32, head_dim an even number"
            )

    @property
    def head_dim(self) -> int:
        """Width of one head."""
        return self.dim // self.num_heads


class Transformer(nn.Module):
    """Tokens to hidden states and logits. Weights are drawn from torch's global generator; seed it before."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape = shape
        self.embedding = nn.Embedding(shape.num_tokens, shape.dim)
        self.blocks = nn.ModuleList(Block(shape) for _ in range(shape.num_layers))
        self.norm = nn.RMSNorm(shape.dim, eps=NORM_EPSILON)
        self.register_buffer("rotation", _rotation(shape), persistent=False)
        nn.init.normal_(self.embedding.weight, std=0.02)

    def hidden(self, tokens: Tensor, *, mask: Tensor | None = None, positions: Tensor | None = None) -> Tensor:
        """Compute the states after the final norm: llama.cpp's embeddings with pooling NONE.

        Args:
            tokens: int64 [batch, length].
            mask: bool [batch, 1, length, length], True where a row may look; None: causal.
            positions: int64 [batch, length]; None: 0, 1, 2, ...

        Returns:
            float [batch, length, dim].
        """
        if positions is None:
            positions = torch.arange(tokens.shape[1], device=tokens.device).expand_as(tokens)
        rotation = self.rotation[positions][:, None]
        x = self.embedding(tokens)
        for block in self.blocks:
            x = block(x, rotation, mask)
        return self.norm(x)

    def logits(self, hidden: Tensor) -> Tensor:
        """Apply the tied output layer: [..., dim] -> [..., num_tokens]."""
        return F.linear(hidden, self.embedding.weight)


class Block(nn.Module):
    """One layer: attention, then feed-forward, each with a residual connection."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape = shape
        kv_dim = shape.num_kv_heads * shape.head_dim
        self.attention_norm = nn.RMSNorm(shape.dim, eps=NORM_EPSILON)
        self.query = nn.Linear(shape.dim, shape.dim, bias=False)
        self.key = nn.Linear(shape.dim, kv_dim, bias=False)
        self.value = nn.Linear(shape.dim, kv_dim, bias=False)
        self.attention_output = nn.Linear(shape.dim, shape.dim, bias=False)
        self.ff_norm = nn.RMSNorm(shape.dim, eps=NORM_EPSILON)
        self.gate = nn.Linear(shape.dim, shape.ff_dim, bias=False)
        self.up = nn.Linear(shape.dim, shape.ff_dim, bias=False)
        self.down = nn.Linear(shape.ff_dim, shape.dim, bias=False)
        residual_std = 0.02 / math.sqrt(2 * shape.num_layers)  # Radford et al. 2019, section 2.3
        for layer in (self.query, self.key, self.value, self.gate, self.up):
            nn.init.normal_(layer.weight, std=1 / math.sqrt(shape.dim))
        for layer in (self.attention_output, self.down):
            nn.init.normal_(layer.weight, std=residual_std)

    def forward(self, x: Tensor, rotation: Tensor, mask: Tensor | None) -> Tensor:
        """Return x with this layer's additions."""
        x = x + self.attention_output(self._attend(self.attention_norm(x), rotation, mask))
        normed = self.ff_norm(x)
        return x + self.down(F.silu(self.gate(normed)) * self.up(normed))

    def _attend(self, x: Tensor, rotation: Tensor, mask: Tensor | None) -> Tensor:
        batch, length, _ = x.shape
        shape = self.shape
        query = self._heads(self.query(x), shape.num_heads)
        key = self._heads(self.key(x), shape.num_kv_heads)
        value = self._heads(self.value(x), shape.num_kv_heads)
        query, key = _rotated(query, rotation), _rotated(key, rotation)
        groups = shape.num_heads // shape.num_kv_heads
        key, value = key.repeat_interleave(groups, 1), value.repeat_interleave(groups, 1)
        mixed = F.scaled_dot_product_attention(query, key, value, attn_mask=mask, is_causal=mask is None)
        return mixed.transpose(1, 2).reshape(batch, length, shape.dim)

    def _heads(self, x: Tensor, num_heads: int) -> Tensor:
        return x.view(*x.shape[:2], num_heads, self.shape.head_dim).transpose(1, 2)


def _rotation(shape: Shape) -> Tensor:
    """Cosines and sines of every position, [max_positions, 2, head_dim / 2]."""
    half = shape.head_dim // 2
    frequencies = shape.rope_base ** (-torch.arange(half, dtype=torch.float64) / half)
    angles = torch.arange(shape.max_positions, dtype=torch.float64)[:, None] * frequencies
    return torch.stack((angles.cos(), angles.sin()), 1).float()


def _rotated(x: Tensor, rotation: Tensor) -> Tensor:
    """Rotate pairs (i, i + head_dim / 2) by their positions' angles; x is [batch, heads, length, head_dim]."""
    cos, sin = rotation[..., 0, :], rotation[..., 1, :]
    first, second = x.chunk(2, -1)
    return torch.cat((first * cos - second * sin, second * cos + first * sin), -1)
