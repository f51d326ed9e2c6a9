"""Language models of the zoo: small configs of real architectures, with the batch each is fed with."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import nn

__all__ = ["MODELS"]

VOCABULARY, WIDTH, LAYERS, HEADS = 120, 64, 2, 4

# What most configs call their sizes; those of other names stand with their model.
_BERT: Mapping[str, Any] = {
    "vocab_size": VOCABULARY,
    "hidden_size": WIDTH,
    "num_hidden_layers": LAYERS,
    "num_attention_heads": HEADS,
    "intermediate_size": 2 * WIDTH,
    "max_position_embeddings": 160,
    "pad_token_id": 0,
}
_LLAMA: Mapping[str, Any] = _BERT | {"num_key_value_heads": 2}
_MOE: Mapping[str, Any] = _LLAMA | {"moe_intermediate_size": WIDTH}
_GPT2: Mapping[str, Any] = {
    "vocab_size": VOCABULARY,
    "n_embd": WIDTH,
    "n_layer": LAYERS,
    "n_head": HEADS,
    "n_positions": 160,
    "rotary_dim": 8,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
_T5: Mapping[str, Any] = {
    "vocab_size": VOCABULARY,
    "d_model": WIDTH,
    "d_kv": WIDTH // HEADS,
    "d_ff": 2 * WIDTH,
    "num_layers": LAYERS,
    "num_heads": HEADS,
}
_BART: Mapping[str, Any] = {
    "vocab_size": VOCABULARY,
    "d_model": WIDTH,
    "encoder_layers": LAYERS,
    "decoder_layers": LAYERS,
    "encoder_attention_heads": HEADS,
    "decoder_attention_heads": HEADS,
    "encoder_ffn_dim": 2 * WIDTH,
    "decoder_ffn_dim": 2 * WIDTH,
    "max_position_embeddings": 160,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "decoder_start_token_id": 2,
}

# Class name → arguments of its config class.
_CONFIGS: Mapping[str, Mapping[str, Any]] = {
    "BertForSequenceClassification": _BERT,
    "RobertaForMaskedLM": _BERT,
    "DistilBertForSequenceClassification": {
        "vocab_size": VOCABULARY,
        "dim": WIDTH,
        "n_layers": LAYERS,
        "n_heads": HEADS,
        "hidden_dim": 2 * WIDTH,
    },
    "AlbertForMaskedLM": _BERT | {"embedding_size": 32},
    "ElectraForPreTraining": _BERT | {"embedding_size": 32},
    "DebertaV2ForSequenceClassification": _BERT
    | {"relative_attention": True, "pos_att_type": ["p2c", "c2p"], "position_buckets": 16},
    "LongformerForMaskedLM": _BERT | {"attention_window": 16},
    "FNetForMaskedLM": _BERT,
    "XLNetLMHeadModel": {
        "vocab_size": VOCABULARY,
        "d_model": WIDTH,
        "n_layer": LAYERS,
        "n_head": HEADS,
        "d_inner": 2 * WIDTH,
    },
    "GPT2LMHeadModel": _GPT2,
    "GPTJForCausalLM": _GPT2,
    "GPTNeoXForCausalLM": _BERT,
    "OPTForCausalLM": _BERT | {"ffn_dim": 2 * WIDTH, "word_embed_proj_dim": WIDTH},
    "BloomForCausalLM": {"vocab_size": VOCABULARY, "hidden_size": WIDTH, "n_layer": LAYERS, "n_head": HEADS},
    "FalconForCausalLM": _BERT,
    "MptForCausalLM": {
        "vocab_size": VOCABULARY,
        "d_model": WIDTH,
        "n_layers": LAYERS,
        "n_heads": HEADS,
        "expansion_ratio": 2,
        "max_seq_len": 160,
    },
    "PhiForCausalLM": _LLAMA,
    "LlamaForCausalLM": _LLAMA,
    "MistralForCausalLM": _LLAMA,
    "Qwen2ForCausalLM": _LLAMA,
    "Qwen3ForCausalLM": _LLAMA | {"head_dim": 16},
    "Gemma2ForCausalLM": _LLAMA | {"head_dim": 16},
    "OlmoForCausalLM": _LLAMA,
    "Starcoder2ForCausalLM": _LLAMA,
    "MixtralForCausalLM": _LLAMA | {"num_local_experts": 4, "num_experts_per_tok": 2},
    "Qwen3MoeForCausalLM": _MOE | {"num_experts": 4, "num_experts_per_tok": 2, "head_dim": 16},
    "GraniteMoeForCausalLM": _LLAMA | {"num_local_experts": 4, "num_experts_per_tok": 2},
    "GptOssForCausalLM": _LLAMA | {"num_local_experts": 4, "num_experts_per_tok": 2, "head_dim": 16},
    "DeepseekV3ForCausalLM": _MOE
    | {
        "num_key_value_heads": HEADS,
        "n_routed_experts": 4,
        "n_group": 2,
        "topk_group": 1,
        "num_experts_per_tok": 2,
        "first_k_dense_replace": 1,
        "q_lora_rank": 32,
        "kv_lora_rank": 32,
        "qk_rope_head_dim": 8,
        "qk_nope_head_dim": 8,
        "v_head_dim": 16,
    },
    "MambaForCausalLM": {"vocab_size": VOCABULARY, "hidden_size": WIDTH, "num_hidden_layers": LAYERS, "state_size": 8},
    "Mamba2ForCausalLM": {
        "vocab_size": VOCABULARY,
        "hidden_size": WIDTH,
        "num_hidden_layers": LAYERS,
        "state_size": 8,
        "num_heads": 8,
        "head_dim": 16,
        "n_groups": 2,
        "chunk_size": 16,
    },
    "RwkvForCausalLM": {
        "vocab_size": VOCABULARY,
        "hidden_size": WIDTH,
        "num_hidden_layers": LAYERS,
        "attention_hidden_size": WIDTH,
        "context_length": 64,
    },
    "JambaForCausalLM": _LLAMA
    | {
        "num_experts": 4,
        "attn_layer_period": 2,
        "attn_layer_offset": 1,
        "expert_layer_period": 2,
        "expert_layer_offset": 1,
        "mamba_d_state": 8,
        "mamba_dt_rank": 8,
        "use_mamba_kernels": False,
    },
    "T5ForConditionalGeneration": _T5,
    "BartForConditionalGeneration": _BART,
    "PerceiverForMaskedLM": {
        "vocab_size": VOCABULARY,
        "d_model": WIDTH,
        "num_latents": 16,
        "d_latents": WIDTH,
        "num_blocks": 1,
        "num_self_attends_per_block": 2,
        "num_self_attention_heads": 4,
        "num_cross_attention_heads": 4,
        "qk_channels": 32,
        "v_channels": 64,
        "max_position_embeddings": 64,
    },
}
_SEQ2SEQ = ("T5ForConditionalGeneration", "BartForConditionalGeneration")


def _tokens(rows: int, *, length: int = 32) -> torch.Tensor:
    return torch.randint(3, VOCABULARY, (rows, length), generator=torch.Generator().manual_seed(0))


def _batch(name: str, rows: int) -> dict[str, Any]:
    tokens = _tokens(rows)
    inputs = {"input_ids": tokens, "attention_mask": torch.ones_like(tokens)}
    if name in _SEQ2SEQ:
        inputs["decoder_input_ids"] = _tokens(rows, length=16)
    if name in ("RwkvForCausalLM", "MambaForCausalLM", "FNetForMaskedLM"):
        del inputs["attention_mask"]
    return inputs


def _build(name: str, config: Mapping[str, Any]) -> nn.Module:
    import transformers

    model = getattr(transformers, name)
    return model(model.config_class(**config))


MODELS: Mapping[str, tuple[Callable[[], nn.Module], Callable[[int], Any]]] = {
    name: (lambda name=name, config=config: _build(name, config), lambda rows, name=name: _batch(name, rows))
    for name, config in _CONFIGS.items()
}
