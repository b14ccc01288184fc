"""The networks that people really use: whether each is traced, woven, pruned, loaded and exported, as a table.

    python -m tests.families [--only GLOB] [--draw SEED] [-j N] [--write docs/families.md]

``make families`` runs all of them and the draw, and writes the table. Every network runs in a process of its own with a time limit; its
result is written as it comes (``--results``), and is not made again as long as the code is the same.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

import graphnas as gn
from tests.family.network import CLASSES, Network, image


def from_timm(model: str, size: int, family: str = "", remark: str = "", **options: Any) -> Network:
    def build() -> nn.Module:
        import timm

        return timm.create_model(model, num_classes=CLASSES, **options)

    return Network(f"timm/{model}", family or model, build, image(size), remark=remark)


def from_torchvision(model: str, size: int, remark: str = "", **options: Any) -> Network:
    def build() -> nn.Module:
        import torchvision

        return torchvision.models.get_model(model, weights=None, num_classes=CLASSES, **options)

    return Network(f"torchvision/{model}", model, build, image(size), remark=remark)


def from_smp(model: str, encoder: str = "resnet18", remark: str = "", **options: Any) -> Network:
    def build() -> nn.Module:
        import segmentation_models_pytorch as smp

        return getattr(smp, model)(encoder_name=encoder, encoder_weights=None, classes=CLASSES, **options)

    return Network(f"segmentation_models_pytorch/{model}", model, build, image(64), remark=remark or f"encoder {encoder}")


def from_hf(model: str, size: int, remark: str = "", **config: Any) -> Network:
    """A Hugging Face model of its configuration class, which stands before ``For`` in the model's name."""

    def build() -> nn.Module:
        import transformers

        settings = getattr(transformers, f"{model.partition('For')[0]}Config")(num_labels=CLASSES, **config)
        return getattr(transformers, model)(settings)

    return Network(f"transformers/{model}", model, build, image(size), remark=remark or "tiny configuration")


def bert(model: str = "BertForSequenceClassification", width: int = 32, length: int = 12) -> Network:
    def build() -> nn.Module:
        import transformers

        small: dict[str, Any] = {
            "num_hidden_layers": 4,
            "num_attention_heads": 2,
            "intermediate_size": 64,
            "vocab_size": 100,
            "num_labels": CLASSES,
        }
        return getattr(transformers, model)(transformers.BertConfig(hidden_size=width, max_position_embeddings=32, **small))

    def example() -> dict[str, Tensor]:
        ids = torch.randint(0, 100, (2, length), generator=torch.Generator().manual_seed(1))
        mask = torch.ones(2, length, dtype=torch.int64)
        mask[1, length - 3 :] = 0
        return {"input_ids": ids, "attention_mask": mask}

    return Network(
        f"transformers/{model}", "BERT", build, example, partner=wider_bert,
        remark="tiny configuration; text: its other partner is a BERT of twice the width",
    )  # fmt: skip


def wider_bert(inputs: Mapping[str, Tensor]) -> gn.Branch:
    """On the same text: links of tokens to tokens of another width."""
    del inputs
    network = bert("BertForTokenClassification", width=64)
    return network.branch(network.build(), network.taps)


def vit_like(model: str, size: int, family: str, remark: str = "", **options: Any) -> Network:
    return from_timm(model, size, family, remark or f"{size} px", img_size=size, **options)


TIMM = [
    from_timm("vgg11", 64, remark="256 channels in the head", mlp_ratio=1 / 16),
    from_timm("vgg16_bn", 64, remark="256 channels in the head", mlp_ratio=1 / 16),
    from_timm("resnet18", 64),
    from_timm("resnet50", 64, drop_path_rate=0.1),
    from_timm("resnext50_32x4d", 64, "resnext50"),
    from_timm("seresnet18", 64, "seresnet"),
    from_timm("densenet121", 64),
    from_timm("efficientnet_b0", 64, drop_path_rate=0.1),
    from_timm("efficientnetv2_rw_t", 64, "efficientnetv2"),
    from_timm("mobilenetv3_small_050", 64, "mobilenetv3"),
    from_timm("regnety_002", 64, "regnety"),
    from_timm("convnext_atto", 64, "convnext", drop_path_rate=0.1),
    from_timm("convnextv2_atto", 64, "convnextv2"),
    from_timm("nfnet_l0", 64, "nfnet"),
    from_timm("swin_tiny_patch4_window7_224", 224, "swin", "2 blocks a stage, width 48", depths=(2, 2, 2, 2), embed_dim=48),
    from_timm("swinv2_tiny_window8_256", 256, "swinv2", "2 blocks a stage, width 48", depths=(2, 2, 2, 2), embed_dim=48),
    vit_like("vit_tiny_patch16_224", 64, "vit_tiny", drop_path_rate=0.1, pos_drop_rate=0.1),
    vit_like("vit_small_patch16_224", 64, "vit_small"),
    vit_like("vit_base_patch16_224", 64, "vit_base"),
    vit_like("deit3_small_patch16_224", 64, "deit3"),
    vit_like("beit_base_patch16_224", 64, "beit", remark="64 px, width 192", embed_dim=192, num_heads=3),
    vit_like("vit_small_patch14_dinov2", 56, "dinov2"),
    vit_like("vit_small_patch14_reg4_dinov2", 56, "dinov2 with registers"),
    vit_like("vit_small_patch16_dinov3", 64, "dinov3"),
    vit_like("eva02_tiny_patch14_224", 56, "eva02"),
    vit_like("cait_xxs24_224", 64, "cait"),
    from_timm("pvt_v2_b0", 64, "pvt_v2"),
    from_timm("mobilevit_xxs", 64, "mobilevit"),
    from_timm("mobilevitv2_050", 64, "mobilevitv2"),
    from_timm("fastvit_t8", 64, "fastvit"),
    from_timm("hiera_tiny_224", 224, "hiera", "width 48", embed_dim=48),
    from_timm("maxvit_rmlp_pico_rw_256", 64, "maxvit", "64 px", img_size=64),
    from_timm("efficientvit_b0", 64, "efficientvit"),
    from_timm("efficientvit_m0", 224, "efficientvit of MSRA"),
    from_timm("mixer_s32_224", 64, "mlp-mixer", "64 px", img_size=64),
    from_timm("coatnet_pico_rw_224", 64, "coatnet", "64 px", img_size=64),
]  # fmt: skip

TORCHVISION = [
    from_torchvision("vgg11", 32),
    from_torchvision("resnet18", 64),
    from_torchvision("mobilenet_v2", 64),
    from_torchvision("mobilenet_v3_small", 64),
    from_torchvision("swin_t", 64),
    from_torchvision("swin_v2_t", 64),
    from_torchvision("vit_b_16", 64, "64 px", image_size=64),
    from_torchvision("convnext_tiny", 64),
    from_torchvision("googlenet", 96, aux_logits=True, init_weights=False),
    from_torchvision("deeplabv3_mobilenet_v3_large", 64, aux_loss=True, weights_backbone=None),
    from_torchvision("fcn_resnet50", 64, aux_loss=True, weights_backbone=None),
    from_torchvision("lraspp_mobilenet_v3_large", 64, weights_backbone=None),
]

SMP = [
    from_smp("Unet"),
    from_smp("FPN"),
    from_smp("DeepLabV3Plus"),
    from_smp("Segformer"),
    from_smp("UPerNet"),
    from_smp(
        "DPT", "tu-vit_tiny_patch16_224", dynamic_img_size=True, decoder_intermediate_channels=(16, 16, 16, 16), decoder_fusion_channels=16
    ),
]

SMALL_VIT: dict[str, Any] = {"hidden_size": 32, "num_hidden_layers": 4, "num_attention_heads": 2, "image_size": 32, "patch_size": 8}
FOUR: dict[str, Any] = {"hidden_sizes": [8, 16, 24, 32], "depths": [1, 1, 2, 1]}
HUGGING_FACE = [
    from_hf("ViTForImageClassification", 32, intermediate_size=64, **SMALL_VIT),
    from_hf("Dinov2ForImageClassification", 32, **SMALL_VIT),
    from_hf("SegformerForSemanticSegmentation", 64, num_attention_heads=[1, 2, 2, 4], decoder_hidden_size=16, **FOUR),
    from_hf(
        "DPTForDepthEstimation", 32, intermediate_size=64, backbone_out_indices=[0, 1, 2, 3], neck_hidden_sizes=[8, 16, 16, 16],
        fusion_hidden_size=16, **SMALL_VIT,
    ),
    from_hf("ConvNextV2ForImageClassification", 64, **FOUR),
    from_hf(
        "Swinv2ForImageClassification", 32, image_size=32, patch_size=2, embed_dim=8, depths=[2, 2, 2, 2], num_heads=[1, 2, 2, 4],
        window_size=4,
    ),
    bert(),
]  # fmt: skip

NETWORKS: dict[str, Network] = {network.name: network for network in [*TIMM, *TORCHVISION, *SMP, *HUGGING_FACE]}

if __name__ == "__main__":
    from tests.family.command import main

    main(NETWORKS)
