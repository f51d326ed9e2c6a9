"""Models larger than the machine: their graph from fake and meta tensors, without their memory."""

import resource

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from onesigma.model.capture import capture

transformers = pytest.importorskip("transformers")

LLAMA_70B = {
    "vocab_size": 128256,
    "hidden_size": 8192,
    "intermediate_size": 28672,
    "num_hidden_layers": 80,
    "num_attention_heads": 64,
    "num_key_value_heads": 8,
    "max_position_embeddings": 8192,
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", ["fake", "meta"])
def test_seventy_billion_parameters_are_captured_in_flat_memory(kind: str) -> None:
    config = transformers.LlamaConfig(**LLAMA_70B)
    device = torch.device("cpu" if kind == "fake" else "meta")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with torch.no_grad(), FakeTensorMode() if kind == "fake" else torch.device("meta"):
        model = transformers.LlamaForCausalLM(config)
        graph = capture(model, {"input_ids": torch.zeros(1, 64, dtype=torch.long, device=device)})
    assert sum(parameter.numel() for parameter in model.parameters()) > 70e9
    # Seven linears in each of 80 layers, and the head.
    assert sum(1 for _ in graph.of_kind("linear")) == 7 * 80 + 1
    assert not list(graph.of_kind("unknown"))
    # Kilobytes on Linux: the graph has 4000 calls; one layer's weights alone would take 3.4 GB.
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 500_000
