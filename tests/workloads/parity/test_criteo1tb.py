"""criteo1tb_layernorm's parameters in AlgoPerf's order, which submissions see."""

import torch

import workloads


def test_the_embeddings_norm_follows_the_top_mlp():
    with torch.device("meta"):
        model = workloads.get("criteo1tb_layernorm").build_model()
    modules = list(dict.fromkeys(name.split(".")[0] for name, _ in model.named_parameters()))
    chunks = [f"embedding_chunk_{number}" for number in range(4)]
    assert modules == [*chunks, "bot_mlp", "top_mlp", "embed_ln"]
