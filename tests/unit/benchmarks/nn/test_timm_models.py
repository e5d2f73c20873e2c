"""Names of timm models: unknown names, and names with a tag of pretrained weights, are refused."""

from __future__ import annotations

import pytest
from ltbench.benchmarks.errors import UserError
from ltbench.benchmarks.nn.backbones import build_backbone, check_backbone

TAGGED = ("resnet18.a1_in1k", "resnet18.no_such_tag", "vit_base_patch16_224.augreg_in21k", "resnet10t.c3_in1k")


@pytest.mark.parametrize("name", TAGGED)
@pytest.mark.parametrize("use", [check_backbone, build_backbone])
def test_a_tag_of_pretrained_weights_is_refused(name: str, use: object) -> None:
    architecture = name.partition(".")[0]
    with pytest.raises(UserError, match=f"Write backbone = timm:{architecture}, and add weights = timm:"):
        use(f"timm:{name}")  # type: ignore[operator]


@pytest.mark.parametrize("name", ["resnet18x", "resnet18x.a1_in1k", "hf-hub:timm/resnet18.a1_in1k", ""])
def test_an_unknown_model_is_named(name: str) -> None:
    with pytest.raises(UserError, match="Unknown timm model"):
        check_backbone(f"timm:{name}")
