"""modular_division: a / b modulo a prime, learned from half of all pairs, where networks grok.

Shapes: N equations, T = 3 tokens.
"""

from __future__ import annotations

import numpy as np
from torch import nn

from harness.spec import LossType
from workloads.arrays import ArrayWorkload, Splits
from workloads.gpt import Config
from workloads.modular_division.model import LastToken

PRIME = 47
PAIRS = PRIME * (PRIME - 1)


class ModularDivision(ArrayWorkload):
    """Softmax cross-entropy of c in "a b = c" modulo 47 (Power et al. 2022, modulo 97).

    Half of the 2,162 pairs are for training, the others for validation; a decoder of 2 layers,
    width 128 and 4 heads, with 4e5 parameters without embeddings. Networks learn the training pairs
    by heart long before they generalise. The target is the paper's.
    """

    name = "modular_division"
    summary = "division modulo 47 from half of all pairs, small GPT"
    suites = ("classic",)

    loss_type = LossType.SOFTMAX_CROSS_ENTROPY
    target_metric_name = "accuracy"
    target_direction = "max"
    validation_target_value = 0.99
    target_remark = "Power et al. 2022"
    splits = ("train", "validation")

    budget_steps = step_hint = 2000
    eval_period_steps = 50

    num_train_examples = num_eval_train_examples = num_validation_examples = PAIRS // 2
    train_batch_size = 512
    eval_batch_size = PAIRS // 2
    config = Config(vocab_size=PRIME + 1, context=3, layers=2, heads=4, width=128)

    def build_model(self) -> nn.Module:
        """The GPT, initialised from torch's default generator."""
        return LastToken(self.config)

    def is_output_params(self, param_key: str) -> bool:
        """The embedding, which is the output layer too."""
        return param_key == "gpt.transformer.wte.weight"

    def load(self) -> Splits:
        """Equations [N, T] of tokens a, b, "=", and their answers [N]."""
        pairs = np.array([(a, b) for a in range(PRIME) for b in range(1, PRIME)])
        pairs = np.random.default_rng(0).permutation(pairs)
        answers = np.array([a * pow(b, -1, PRIME) % PRIME for a, b in pairs.tolist()])
        tokens = np.column_stack([pairs, np.full(len(pairs), PRIME)])
        half = self.num_train_examples
        return {
            "train": {"inputs": tokens[:half], "targets": answers[:half]},
            "validation": {"inputs": tokens[half:], "targets": answers[half:]},
        }
