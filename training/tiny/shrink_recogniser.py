"""A smaller recogniser that starts close to the teacher: kept parts copied, pointwise layers refitted in turn.

Each 1x1 convolution is linear in its weights, so the weights that bring the small network's values nearest to the
teacher's at the same place follow by least squares from a few faces. Every refit also mends what was lost before it.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from training.tiny.recogniser import Bottleneck, Layer, Recogniser, Shape
from training.tiny.refit import refit


@torch.no_grad()
def shrink(teacher: Recogniser, shape: Shape, faces: Tensor) -> Recogniser:
    """Return a network of `shape` that imitates the teacher on `faces` (N, 3, 112, 112) as well as refits can."""
    small = Recogniser(shape).eval()
    _start(small, teacher, faces)
    for slope in small.fused():
        slope.spread = 0.0
    ours, theirs = small.mix(small.stem(faces)), teacher.mix(teacher.stem(faces))
    for part, model in ((small.early, teacher.early), (small.late, teacher.late), (small.last, teacher.last)):
        for block, other in zip(part, model, strict=True):
            assert isinstance(block, Bottleneck)
            assert isinstance(other, Bottleneck)
            ours, theirs = _imitate(block, other, ours, theirs)
    for layer, model in ((small.widen, teacher.widen), (small.narrow, teacher.narrow)):
        _copy(layer, model)
        refit(layer[0], ours, model[0](theirs))
        ours, theirs = layer(ours), model(theirs)
    small.embed.load_state_dict(teacher.embed.state_dict())
    return small


def _start(small: Recogniser, teacher: Recogniser, faces: Tensor) -> None:
    """Keep the liveliest channels of the teacher's second layer, each with the one input that moves it most."""
    before = teacher.stem(faces)
    after = teacher.mix[0](before)
    channels = after.std(dim=(0, 2, 3)).argsort(descending=True)[: small.mix[0].out_channels].sort().values
    weight, bias = teacher.mix[0].weight, teacher.mix[0].bias
    first = channels // 2 * 2
    moved = weight[channels].abs().sum(dim=(2, 3)) * torch.stack(
        [before.std(dim=(0, 2, 3))[first + k] for k in (0, 1)], 1
    )
    chosen = moved.argmax(dim=1)
    means = before.mean(dim=(0, 2, 3))
    dropped = weight[channels, 1 - chosen].sum(dim=(1, 2)) * means[first + 1 - chosen]
    _take(small.stem, teacher.stem, first + chosen)
    _take(small.mix, teacher.mix, channels)
    small.mix[0].weight.data = weight[channels, chosen][:, None].clone()
    small.mix[0].bias.data = bias[channels] + dropped


def _take(part: Layer, model: Layer, channels: Tensor) -> None:
    part[0].weight.data, part[0].bias.data = model[0].weight[channels].clone(), model[0].bias[channels].clone()
    slopes = (model[1].common + model[1].own)[channels]
    part[1].common.data, part[1].own.data = slopes.mean(), slopes - slopes.mean()


def _copy(part: nn.Module, model: nn.Module) -> None:
    state = part.state_dict()
    part.load_state_dict({k: v if v.shape == state[k].shape else state[k] for k, v in model.state_dict().items()})


def _imitate(block: Bottleneck, model: Bottleneck, ours: Tensor, theirs: Tensor) -> tuple[Tensor, Tensor]:
    """Fit a block to the teacher's; return what both give."""
    _copy(block, model)
    refit(block.widen[0], ours, model.widen[0](theirs))
    goal = model(theirs)
    refit(block.narrow, block.look(block.widen(ours)), goal - ours if block.adds else goal)
    return block(ours), goal
