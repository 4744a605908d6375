"""Memory, matching and attention, position by position, in float64, from their formulas."""

import math

import numpy as np


def softmax(scores):
    top = max(scores)
    e = [math.exp(s - top) for s in scores]
    return [x / sum(e) for x in e]


def affinity(mk, qk, kind, top_k=None):
    """mk C,N, qk C,M -> N,M."""
    (c, n), m = mk.shape, qk.shape[1]
    out = np.zeros((n, m))
    for j in range(m):
        if kind == "dot":
            scores = [sum(mk[a, i] * qk[a, j] for a in range(c)) / math.sqrt(c) for i in range(n)]
        else:
            scores = [-sum((mk[a, i] - qk[a, j]) ** 2 for a in range(c)) / math.sqrt(c) for i in range(n)]
        kept = sorted(range(n), key=lambda i: -scores[i])[: top_k or n]
        for i, p in zip(kept, softmax([scores[i] for i in kept]), strict=True):
            out[i, j] = p
    return out


def mapped(d, bias):
    return (1 / (1 + math.exp(-(d + bias))) - 0.5) * 2 if d + bias < 700 else 1.0


def distance(query, memory, mask, bias=0.0, window=None):
    """query C,H,W, memory C,h,w, mask h,w -> H,W; window: only within so many pixels."""
    h, w = query.shape[1:]
    out = np.ones((h, w))
    for y in range(h):
        for x in range(w):
            found = [((query[:, y, x] - memory[:, v, u]) ** 2).sum() for v, u in np.argwhere(mask)
                     if window is None or max(abs(v - y), abs(u - x)) <= window]
            if found:
                out[y, x] = mapped(min(found), bias)
    return out


def grid(q, k, v):
    """Dense attention under the grid's mask: C,T,H,W."""
    out = np.zeros(v.shape)
    places = list(np.ndindex(q.shape[1:]))
    for here in places:
        seen = [p for p in places if sum(a != b for a, b in zip(p, here, strict=True)) <= 1]
        p = softmax([float(q[(slice(None), *here)] @ k[(slice(None), *at)]) for at in seen])
        out[(slice(None), *here)] = sum(w * v[(slice(None), *at)] for w, at in zip(p, seen, strict=True))
    return out


def window(q, k, v, size, bias=None):
    """Dense attention under the window's mask: C,H,W."""
    c, h, w = q.shape
    out, reach = np.zeros(v.shape), size // 2
    for y in range(h):
        for x in range(w):
            seen, scores = [], []
            for n, (dy, dx) in enumerate(np.ndindex(size, size)):
                at = y + dy - reach, x + dx - reach
                if 0 <= at[0] < h and 0 <= at[1] < w:
                    seen.append(at)
                    scores.append(float(q[:, y, x] @ k[(slice(None), *at)]) / math.sqrt(c)
                                  + (0 if bias is None else bias[n]))
            out[:, y, x] = sum(p * v[(slice(None), *at)] for p, at in zip(softmax(scores), seen, strict=True))
    return out
