"""For the server's processes: what torchvision's import asks of torch, whose CPU wheel lacks it.

Both operators are only named; a speech model calls neither.
"""

import torch

operators = torch.library.Library("torchvision", "DEF")
operators.define("nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
operators.define(
    "qnms(Tensor dets, Tensor scores, Tensor scale, Tensor zero_point, float iou_threshold)"
    " -> Tensor"
)
