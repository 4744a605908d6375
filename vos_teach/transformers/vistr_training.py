"""How VisTR learns: instances of a clip are matched with queries once, and each frame that shows one teaches it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from vos_teach.clip import VOID
from vos_teach.ops.boxes import boxes_of
from vos_teach.ops.losses import mask_loss

Match = Callable[[Tensor, Tensor], list[tuple[int, int]]]  # cost T,Q,G and present T,G -> (query, instance)
CLASS, L1, GIOU = 1.0, 5.0, 2.0  # weights of the cost, and of the loss
NOBODY = 0.5  # weight of a query without an instance


def corners(box: Tensor) -> Tensor:
    """...,4 of centre x, y, width, height -> left, top, right, bottom."""
    return torch.cat([box[..., :2] - box[..., 2:] / 2, box[..., :2] + box[..., 2:] / 2], -1)


def generalised_iou(a: Tensor, b: Tensor) -> Tensor:
    """Of boxes ...,4 (left, top, right, bottom), in [-1,1]: IoU minus the empty share of the box around both.

    (Rezatofighi et al., CVPR 2019.) Unlike IoU it has a gradient where the two do not touch.
    """
    def area(low: Tensor, high: Tensor) -> Tensor:
        return (high - low).clamp_min(0).prod(-1)

    one, two = area(a[..., :2], a[..., 2:]), area(b[..., :2], b[..., 2:])
    both = area(torch.maximum(a[..., :2], b[..., :2]), torch.minimum(a[..., 2:], b[..., 2:]))
    around = area(torch.minimum(a[..., :2], b[..., :2]), torch.maximum(a[..., 2:], b[..., 2:])).clamp_min(1e-9)
    either = one + two - both
    return both / either.clamp_min(1e-9) - (around - either) / around


def instances(labels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Labels T,H,W of slots -> masks G,T,H,W of 0 and 1, present T,G bool, boxes T,G,4 (centre and size, shares)."""
    ids = [k for k in labels.unique().tolist() if k not in (0, VOID)]
    masks = torch.stack([labels == k for k in ids]) if ids else labels.new_zeros(0, *labels.shape, dtype=torch.bool)
    (g, t), (h, w) = masks.shape[:2], labels.shape[-2:]
    box, present = boxes_of(masks.flatten(0, 1).float())
    box = box / torch.tensor([w, h, w, h], device=box.device)
    box = torch.cat([(box[:, :2] + box[:, 2:]) / 2, box[:, 2:] - box[:, :2]], 1)
    return masks.float(), present.view(g, t).T, box.view(g, t, 4).transpose(0, 1)


def largest(labels: Tensor, most: int) -> Tensor:
    """Labels T,H,W with the `most` instances that cover most of the clip; the others become background."""
    ids, count = labels[(labels > 0) & (labels != VOID)].unique(return_counts=True)
    small = ids[count.argsort(descending=True, stable=True)[most:]]
    return torch.where(torch.isin(labels, small), 0, labels)


def cost(score: Tensor, box: Tensor, target: Tensor) -> Tensor:
    """What it costs to give a query an instance: scores T,Q (logits), boxes T,Q,4, the instances' T,G,4 -> T,Q,G."""
    far = (box[:, :, None] - target[:, None]).abs().sum(-1)
    near = generalised_iou(corners(box)[:, :, None], corners(target)[:, None])
    return -CLASS * torch.sigmoid(score)[..., None] + L1 * far - GIOU * near


def sequence_loss(net: Any, frames: Tensor, labels: Tensor, match: Match) -> Tensor:
    """The loss of a batch of clips: B,T,3,H,W and labels B,T,H,W of slots -> scalar.

    match is asked once for each clip, of the last layer's boxes; where there are more instances than queries, the
    largest ones count. Frames that do not show a matched instance teach neither box nor mask nor score; queries without
    an instance learn that nobody is there.
    """
    answer, draw = net(frames)
    wanted = torch.zeros_like(answer.scores)
    weight = torch.full_like(wanted, NOBODY)
    pairs, truth, places, goals = [], [], [], []  # of matched queries; of the frames in which they are shown
    for b in range(len(frames)):
        masks, present, target = instances(largest(labels[b], answer.scores.shape[-1]))
        with torch.no_grad():
            price = cost(answer.scores[b], answer.boxes[-1][b], target)
        for q, g in match(price, present):
            wanted[b, :, q], weight[b, :, q] = 1.0, present[:, g].to(weight)
            pairs.append((b, q))
            truth.append(masks[g])
            places += [(b, t, q) for t in present[:, g].nonzero()[:, 0].tolist()]
            goals.append(target[present[:, g], g])
    entropy = F.binary_cross_entropy_with_logits(answer.scores, wanted, weight)
    if not pairs:
        return CLASS * entropy
    masks, goal = torch.stack(truth), torch.cat(goals)  # R,T,H,W and P,4
    shown = masks.flatten(2).any(2)
    where = tuple(torch.tensor(part, device=masks.device) for part in zip(*places, strict=True))
    small = F.adaptive_avg_pool2d(masks[shown], answer.coarse[0].shape[-2:])  # P,h,w
    losses = []
    for box, coarse in zip(answer.boxes, answer.coarse, strict=True):
        near = generalised_iou(corners(box[where]), corners(goal))
        losses.append(L1 * (box[where] - goal).abs().sum(-1).mean() + GIOU * (1 - near).mean()
                      + mask_loss(coarse[where], small))
    return CLASS * entropy + torch.stack(losses).mean() + 2 * mask_loss(draw(pairs)[shown], masks[shown])
