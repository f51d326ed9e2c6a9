"""Models of images, sound and series: small configs of real architectures, with the batch each is fed with."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import nn

__all__ = ["MODELS"]

_VIT: Mapping[str, Any] = {
    "hidden_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 128,
    "image_size": 32,
    "patch_size": 8,
    "num_labels": 7,
}
_STAGES: Mapping[str, Any] = {"hidden_sizes": [16, 32], "depths": [1, 2], "embedding_size": 16, "num_labels": 7}
_TEXT: Mapping[str, Any] = {
    "vocab_size": 120,
    "hidden_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 128,
    "max_position_embeddings": 40,
    "projection_dim": 32,
}

_CONFIGS: Mapping[str, Mapping[str, Any]] = {
    "ViTForImageClassification": _VIT,
    "BeitForImageClassification": _VIT,
    "Dinov2ForImageClassification": _VIT | {"patch_size": 8, "mlp_ratio": 2},
    "ViTMAEForPreTraining": _VIT
    | {
        "decoder_hidden_size": 32,
        "decoder_num_hidden_layers": 1,
        "decoder_intermediate_size": 64,
        "decoder_num_attention_heads": 4,
    },
    "SwinForImageClassification": {
        "image_size": 32,
        "patch_size": 2,
        "embed_dim": 24,
        "depths": [2, 2],
        "num_heads": [2, 4],
        "window_size": 4,
        "num_labels": 7,
    },
    "ConvNextForImageClassification": {"hidden_sizes": [16, 32], "depths": [1, 2], "num_stages": 2, "num_labels": 7},
    "ConvNextV2ForImageClassification": {"hidden_sizes": [16, 32], "depths": [1, 2], "num_stages": 2, "num_labels": 7},
    "ResNetForImageClassification": _STAGES | {"layer_type": "bottleneck"},
    "RegNetForImageClassification": _STAGES | {"groups_width": 8},
    "MobileNetV1ForImageClassification": {"image_size": 32, "depth_multiplier": 0.25, "num_labels": 7},
    "MobileNetV2ForImageClassification": {"image_size": 32, "depth_multiplier": 0.35, "num_labels": 7},
    "EfficientNetForImageClassification": {
        "image_size": 32,
        "width_coefficient": 0.25,
        "depth_coefficient": 0.4,
        "num_labels": 7,
        "hidden_dim": 320,
    },
    "MobileViTForImageClassification": {
        "image_size": 32,
        "hidden_sizes": [24, 32, 40],
        "num_attention_heads": 2,
        "neck_hidden_sizes": [8, 16, 16, 24, 32, 40, 64],
        "num_labels": 7,
    },
    "PoolFormerForImageClassification": {"hidden_sizes": [16, 32, 32, 32], "depths": [1, 1, 1, 1], "num_labels": 7},
    "LevitForImageClassification": {
        "image_size": 64,
        "hidden_sizes": [32, 48, 64],
        "num_attention_heads": [2, 2, 2],
        "key_dim": [8, 8, 8],
        "depths": [1, 1, 1],
        "down_ops": [["Subsample", 8, 4, 4, 2, 2], ["Subsample", 8, 6, 4, 2, 2]],
    },
    "FocalNetForImageClassification": {
        "image_size": 32,
        "patch_size": 4,
        "embed_dim": 16,
        "depths": [1, 1],
        "focal_levels": [2, 2],
        "focal_windows": [3, 3],
        "num_labels": 7,
        "hidden_sizes": [16, 32],
    },
    "SegformerForSemanticSegmentation": {
        "hidden_sizes": [16, 32],
        "depths": [1, 1],
        "num_encoder_blocks": 2,
        "num_attention_heads": [1, 2],
        "sr_ratios": [2, 1],
        "patch_sizes": [7, 3],
        "strides": [4, 2],
        "mlp_ratios": [2, 2],
        "decoder_hidden_size": 32,
        "num_labels": 7,
    },
    "GLPNForDepthEstimation": {
        "hidden_sizes": [16, 24, 32, 32],
        "depths": [1, 1, 1, 1],
        "num_attention_heads": [1, 2, 2, 2],
        "decoder_hidden_size": 16,
    },
    "WhisperForConditionalGeneration": {
        "vocab_size": 120,
        "d_model": 64,
        "encoder_layers": 2,
        "decoder_layers": 2,
        "encoder_attention_heads": 4,
        "decoder_attention_heads": 4,
        "encoder_ffn_dim": 128,
        "decoder_ffn_dim": 128,
        "num_mel_bins": 20,
        "max_source_positions": 32,
        "max_target_positions": 40,
        "pad_token_id": 0,
        "bos_token_id": 1,
        "eos_token_id": 2,
        "decoder_start_token_id": 1,
    },
    "Wav2Vec2ForCTC": _TEXT
    | {
        "conv_dim": [16, 16, 16],
        "conv_kernel": [10, 3, 3],
        "conv_stride": [5, 2, 2],
        "num_feat_extract_layers": 3,
        "num_conv_pos_embeddings": 8,
        "num_conv_pos_embedding_groups": 4,
        "mask_time_prob": 0.0,
        "vocab_size": 30,
    },
    "HubertForCTC": _TEXT
    | {
        "conv_dim": [16, 16, 16],
        "conv_kernel": [10, 3, 3],
        "conv_stride": [5, 2, 2],
        "num_feat_extract_layers": 3,
        "num_conv_pos_embeddings": 8,
        "num_conv_pos_embedding_groups": 4,
        "mask_time_prob": 0.0,
        "vocab_size": 30,
    },
    "PatchTSTForPrediction": {
        "num_input_channels": 3,
        "context_length": 32,
        "patch_length": 4,
        "patch_stride": 4,
        "d_model": 32,
        "num_attention_heads": 4,
        "num_hidden_layers": 2,
        "ffn_dim": 64,
        "prediction_length": 8,
    },
    "CLIPModel": {"text_config": _TEXT, "vision_config": _VIT | {"projection_dim": 32}, "projection_dim": 32},
}


# Their stages halve the image more often than 32 pixels allow.
_LARGE = {
    f"{name}ForImageClassification" for name in ("Levit", "PoolFormer", "EfficientNet", "MobileNetV1", "MobileNetV2")
} | {"GLPNForDepthEstimation"}


def _batch(name: str, rows: int) -> Any:
    generator = torch.Generator().manual_seed(0)
    if name in ("Wav2Vec2ForCTC", "HubertForCTC"):
        return {"input_values": torch.randn(rows, 800, generator=generator)}
    if name == "PatchTSTForPrediction":
        return {"past_values": torch.randn(rows, 32, 3, generator=generator)}
    if name == "WhisperForConditionalGeneration":
        tokens = torch.randint(3, 120, (rows, 12), generator=generator)
        return {"input_features": torch.randn(rows, 20, 64, generator=generator), "decoder_input_ids": tokens}
    size = (
        64
        if name
        in (
            "LevitForImageClassification",
            "CvtForImageClassification",
            "SamModel",
            "GLPNForDepthEstimation",
            "PoolFormerForImageClassification",
            "EfficientNetForImageClassification",
            "MobileNetV2ForImageClassification",
            "MobileNetV1ForImageClassification",
        )
        else 32
    )
    pixels = torch.randn(rows, 3, size, size, generator=generator)
    if name == "CLIPModel":
        return {"input_ids": torch.randint(3, 119, (rows, 16), generator=generator), "pixel_values": pixels}
    return {"pixel_values": pixels}


def _build(name: str, config: Mapping[str, Any]) -> nn.Module:
    import transformers

    model = getattr(transformers, name)
    return model(model.config_class(**config))


def _detr() -> nn.Module:
    from transformers import DetrConfig, DetrForObjectDetection, ResNetConfig

    backbone = ResNetConfig(hidden_sizes=[16, 32], depths=[1, 1], embedding_size=16, out_features=["stage2"])
    return DetrForObjectDetection(
        DetrConfig(
            backbone_config=backbone,
            use_timm_backbone=False,
            use_pretrained_backbone=False,
            backbone=None,
            d_model=32,
            encoder_layers=1,
            decoder_layers=2,
            encoder_attention_heads=4,
            decoder_attention_heads=4,
            encoder_ffn_dim=64,
            decoder_ffn_dim=64,
            num_queries=5,
            num_labels=4,
        )
    )


MODELS: Mapping[str, tuple[Callable[[], nn.Module], Callable[[int], Any]]] = {
    name: (lambda name=name, config=config: _build(name, config), lambda rows, name=name: _batch(name, rows))
    for name, config in _CONFIGS.items()
} | {"DetrForObjectDetection": (_detr, lambda rows: _batch("DetrForObjectDetection", rows))}
