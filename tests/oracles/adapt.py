"""OnAVOS's target and the bootstrapped loss, pixel by pixel."""

import math


def gap(y, x, places):
    """From a pixel to the nearest of some places."""
    return min((math.hypot(y - v, x - u) for v, u in places), default=math.inf)


def online_targets(prob, last_mask, positive=0.97, distance=220 / 480, erosion=15 / 480):
    """prob, last_mask: H,W nested lists -> H,W nested list of 0, 1, 255."""
    h, w = len(prob), len(prob[0])
    pixels = [(y, x) for y in range(h) for x in range(w)]
    background = [(y, x) for y, x in pixels if not last_mask[y][x]]
    core = [(y, x) for y, x in pixels if last_mask[y][x] and gap(y, x, background) > erosion * h]
    out = [[255] * w for _ in range(h)]
    for y, x in pixels:
        if not core:
            continue
        if gap(y, x, core) > distance * h:
            out[y][x] = 0
        elif prob[y][x] > positive:
            out[y][x] = 1
    return out


def bootstrapped_ce(logits, target, fraction):
    """logits B,C,H,W, target B,H,W as nested lists."""
    total = 0.0
    for z, y in zip(logits, target, strict=True):
        losses = []
        for r, row in enumerate(y):
            for c, label in enumerate(row):
                if label == 255:
                    continue
                scores = [plane[r][c] for plane in z]
                losses.append(math.log(sum(math.exp(s) for s in scores)) - scores[label])
        losses.sort(reverse=True)
        hard = losses[: max(1, math.ceil(fraction * len(losses)))]
        total += sum(hard) / len(hard) if hard else 0.0
    return total / len(target)
