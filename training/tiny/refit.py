"""Least squares for a convolution: weights that bring its values nearest to another network's at the same places."""

from __future__ import annotations

import torch
from torch import Tensor, nn

RIDGE = 1e-3
"""Of the mean square of the inputs: keeps channels that are alike from growing weights against each other."""

PLACES = 15_013
"""How many places of a map a refit looks at."""


def refit(layer: nn.Conv2d, inputs: Tensor, goal: Tensor, weights: Tensor | None = None) -> None:
    """Set the weights of an ungrouped convolution from its inputs (N, C, h, w) and the wished values (N, K, h, w).

    `weights` (N, 1, h, w) says how much each place matters.
    """
    side = layer.kernel_size[0]
    if side > 1:
        columns = nn.functional.unfold(inputs, side, padding=side // 2).transpose(0, 1).flatten(1)
    else:
        columns = inputs.transpose(0, 1).flatten(1)
    wanted = goal.transpose(0, 1).flatten(1)
    matter = torch.ones(wanted.shape[1]) if weights is None else weights.flatten()
    places = torch.arange(0, len(matter), max(1, len(matter) // PLACES))
    if weights is not None:
        places = torch.cat([places, matter.topk(min(PLACES, len(matter))).indices]).unique()
    share = matter[places].sqrt().double()
    seen = torch.cat([columns[:, places], torch.ones(1, len(places))]).double() * share
    gram = seen @ seen.T
    gram += RIDGE * gram.diagonal()[:-1].mean() * torch.eye(len(gram))
    fitted = torch.linalg.solve(gram, seen @ (wanted[:, places].double() * share).T).T.float()
    layer.weight.data = fitted[:, :-1].reshape(layer.weight.shape).contiguous()
    layer.bias = nn.Parameter(fitted[:, -1].contiguous())
