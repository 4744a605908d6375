"""Smooth deformations of the plane."""

import torch
from torch import Tensor


def thin_plate_spline(src: Tensor, dst: Tensor, points: Tensor) -> Tensor:
    """The smoothest map of the plane that takes each src to its dst (Bookstein, PAMI 1989), applied to points.

    src, dst: P,2; points: N,2, all in (x, y) -> N,2 in points' type. f(p) = A p + b + sum_i w_i U(|p - src_i|),
    U(r) = r^2 log r, with sum w = 0 and sum w src = 0: it bends least. With equal src and dst, or an affine change
    between them, f is that change. Raises ValueError where no such map is unique: fewer than three points, or all on
    one line.
    """
    a, b, p = (v.to(torch.float64) for v in (src, dst, points))
    n = len(a)
    centre, size = a.mean(0), (a - a.mean(0)).abs().max().clamp_min(1e-12)  # a well-conditioned system
    a, p = (a - centre) / size, (p - centre) / size
    plane = torch.cat([torch.ones(n, 1, dtype=a.dtype, device=a.device), a], 1)  # P,3
    if n < 3 or torch.linalg.matrix_rank(plane, rtol=1e-9) < 3:
        raise ValueError("a thin-plate spline needs at least three points that are not on one line")
    left = torch.zeros(n + 3, n + 3, dtype=a.dtype, device=a.device)
    left[:n, :n], left[:n, n:], left[n:, :n] = _bend(torch.cdist(a, a)), plane, plane.T
    right = torch.cat([b, torch.zeros(3, 2, dtype=a.dtype, device=a.device)])
    w = torch.linalg.solve(left, right)  # P+3,2
    near = _bend(torch.cdist(p, a))  # N,P
    return (near @ w[:n] + w[n] + p @ w[n + 1 :]).to(points.dtype)


def _bend(r: Tensor) -> Tensor:
    return torch.where(r > 0, r * r * torch.log(r.clamp_min(1e-300)), 0.0)
