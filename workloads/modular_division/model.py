"""The network of modular_division.

Shapes: B equations, T = 3 tokens, V tokens of the vocabulary.
"""

from __future__ import annotations

from torch import nn

from harness.spec import Tensor
from workloads.gpt import GPT, Config


class LastToken(nn.Module):
    """A GPT whose logits after the last token are all that counts.

    Args:
        config: The GPT's.
    """

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.gpt = GPT(config)

    def forward(self, tokens_bt: Tensor) -> Tensor:
        """The logits [B, V] of the token that follows each equation."""
        logits_btv: Tensor = self.gpt(tokens_bt)
        return logits_btv[:, -1]
