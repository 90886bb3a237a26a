"""A narrower detector that starts close to the teacher: livelier channels kept, what reads them refitted in turn."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from training.tiny.detector import Detector, Head, Pair, Shape
from training.tiny.refit import refit

FACES_MATTER = 60.0
"""How much more than an empty place one counts in a head's refit where the teacher is sure of a face."""


@torch.no_grad()
def shrink(teacher: Detector, shape: Shape, pictures: Tensor) -> Detector:
    """Return a network of `shape` that imitates the teacher on `pictures` (N, 3, side, side) as well as refits can."""
    small = Detector(shape).eval()
    small.stem.load_state_dict(teacher.stem.state_dict())
    ours = theirs = torch.relu(teacher.stem(pictures))
    kept = torch.arange(ours.shape[1])
    ends: list[tuple[Tensor, Tensor]] = []
    for part, model in (
        (small.eighth, teacher.eighth),
        (small.sixteenth, teacher.sixteenth),
        (small.last, teacher.last),
    ):
        ours, theirs, kept = _stage(part, model, ours, theirs, kept)
        ends.append((ours, theirs))
    for part, model, (mine, wished) in zip(small.side, teacher.side, ends, strict=True):
        refit(part, mine, model(wished))
    for name in ("smooth", "down", "after"):
        getattr(small, name).load_state_dict(getattr(teacher, name).state_dict())
    mine, wished = _levels(small, [end[0] for end in ends]), _levels(teacher, [end[1] for end in ends])
    for head, model, level, goal in zip(small.heads, teacher.heads, mine, wished, strict=True):
        _head(head, model, level, goal)
    return small


def _stage(
    part: nn.Sequential, model: nn.Sequential, ours: Tensor, theirs: Tensor, kept: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    for pair, other in zip(part, model, strict=True):
        assert isinstance(pair, Pair)
        assert isinstance(other, Pair)
        wished = other.mix(torch.relu(other.look(theirs)))
        channels = _liveliest(wished, pair.mix.out_channels)
        pair.look.weight.data, pair.look.bias = other.look.weight[kept].clone(), nn.Parameter(other.look.bias[kept])
        refit(pair.mix, torch.relu(pair.look(ours)), wished[:, channels])
        ours, theirs, kept = pair(ours), torch.relu(wished), channels
    return ours, theirs, kept


def _liveliest(values: Tensor, count: int) -> Tensor:
    return torch.relu(values).std(dim=(0, 2, 3)).argsort(descending=True)[:count].sort().values


def _levels(network: Detector, features: list[Tensor]) -> list[Tensor]:
    """Return what the heads look at, by listening in on them."""
    seen: list[Tensor] = []
    hooks = [head.register_forward_pre_hook(lambda _, given: seen.append(given[0])) for head in network.heads]
    network.speak(features)
    for hook in hooks:
        hook.remove()
    return seen


def _head(head: Head, model: Head, ours: Tensor, theirs: Tensor) -> None:
    goal = model(theirs)
    mine, *_ = _stage(head.pairs, model.pairs, ours, theirs, torch.arange(ours.shape[1]))
    sure = torch.sigmoid(goal[:, :2]).amax(dim=1, keepdim=True)
    refit(head.say, mine, goal, 1 + FACES_MATTER * sure)
