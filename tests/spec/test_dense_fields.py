"""Fields of the encoders and heads of dense prediction: what is said about values that do not fit."""

from __future__ import annotations

import pytest

from tests.spec.conftest import Refused


@pytest.mark.parametrize(
    ("node", "message"),
    [
        ("{op: vgg_encoder, depth: 12}", "31: nodes.n.depth: expected one of 11, 13, 16, 19, got 12\n  fix: depth: 11"),
        ("{op: vgg_encoder, output_stride: 4}",
         "39: nodes.n.output_stride: expected one of 8, 16, 32, got 4\n  fix: output_stride: 8"),
        ("{op: vgg_encoder, pool_size: true}", "35: nodes.n.pool_size: expected one of 2, 3, got true\n  fix: pool_size: 2"),
        ("{op: vgg_encoder, pretraind: true}",
         "24: nodes.n.pretraind: unknown field 'pretraind'\n  fix: did you mean 'pretrained'?"),
        ("{op: deeplab_head, out_channels: 3, dilations: 6}",
         "53: nodes.n.dilations: expected a list, got 6\n  fix: dilations: [...]"),
        ("{op: deeplab_head, out_channels: 3, dilations: []}", "53: nodes.n.dilations: expected at least 1, got none"),
        ("{op: deeplab_head, out_channels: 3, dilations: [6, 0]}",
         "57: nodes.n.dilations[1]: must be 1 or more, got 0\n  fix: 1"),
        ("{op: deeplab_head, out_channels: 3, dropout: 0.5}",
         "51: nodes.n.dropout: without hidden layers there is nothing to drop\n  fix: channels: 1024, or leave dropout out"),
        ("{op: deeplab_head}", "6: nodes.n: missing field 'out_channels'\n  fix: out_channels: 3"),
        ("{op: reassemble_head, out_channels: 3, channels: 0}", "55: nodes.n.channels: must be 1 or more, got 0\n  fix: channels: 1"),
        ("{op: reassemble_haed, out_channels: 3}",
         "11: nodes.n.op: unknown operation 'reassemble_haed'\n  fix: did you mean 'reassemble_head'?"),
        ("{op: avg_pool2d, count_padding: 1}",
         "38: nodes.n.count_padding: expected true or false, got 1\n  fix: count_padding: true"),
    ],
)  # fmt: skip
def test_fields(node: str, message: str, refused: Refused) -> None:
    assert refused(f'kind: network\ninputs: {{image: "image[3, H, W]"}}\nnodes:\n  n: {node}\noutputs: n\n') == f"x.yaml:4:{message}"
