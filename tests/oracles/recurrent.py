"""Recurrent cells, pixel by pixel, from their equations alone."""

import math

import numpy as np


def convolve(x, weight, bias):
    """x C,H,W, weight D,C,k,k, bias D -> D,H,W; zeros outside."""
    d, c, k, _ = weight.shape
    h, w = x.shape[1:]
    out = np.zeros((d, h, w))
    for j in range(d):
        for y in range(h):
            for u in range(w):
                total = bias[j]
                for i in range(c):
                    for dy in range(k):
                        for dx in range(k):
                            yy, uu = y + dy - k // 2, u + dx - k // 2
                            if 0 <= yy < h and 0 <= uu < w:
                                total += weight[j, i, dy, dx] * x[i, yy, uu]
                out[j, y, u] = total
    return out


def sigmoid(v):
    return 1 / (1 + math.exp(-v))


def lstm(x, h, c, weight, bias):
    """One frame: x C,H,W, h and c D,H,W -> the next h and c."""
    d = len(h)
    parts = convolve(np.concatenate([x, h]), weight, bias)
    new_h, new_c = np.zeros_like(h), np.zeros_like(c)
    for at in np.ndindex(h.shape):
        j, *pixel = at
        i, f, o, g = (parts[(j + n * d, *pixel)] for n in range(4))
        new_c[at] = sigmoid(f) * c[at] + sigmoid(i) * math.tanh(g)
        new_h[at] = sigmoid(o) * math.tanh(new_c[at])
    return new_h, new_c


def gru(x, h, gates, gates_bias, new, new_bias):
    """One frame: x C,H,W, h D,H,W -> the next h."""
    d = len(h)
    parts = convolve(np.concatenate([x, h]), gates, gates_bias)
    z, r = np.vectorize(sigmoid)(parts[:d]), np.vectorize(sigmoid)(parts[d:])
    n = np.tanh(convolve(np.concatenate([x, r * h]), new, new_bias))
    return (1 - z) * h + z * n
