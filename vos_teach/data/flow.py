"""Optical flow: where the pixels of one frame are in another. H,W,2 float32 in pixels (dx, dy).

By name: "dis" (Kroeger et al., ECCV 2016; OpenCV, CPU, no weights), "raft-small" and "raft-large" (Teed & Deng, ECCV
2020; torchvision, whose weights are downloaded once), "exact" (a toy clip's own).
"""

from __future__ import annotations

import hashlib
import io
import os
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torchvision.models import optical_flow as raft
from torchvision.utils import flow_to_image

from vos_teach.clip import Clip, VosError
from vos_teach.data.augment import to_image
from vos_teach.data.png import write_bytes
from vos_teach.ops.warp import warp

NAMES = ("dis", "raft-small", "raft-large")
Estimator = Callable[[np.ndarray, np.ndarray], np.ndarray]


def estimate(a: np.ndarray, b: np.ndarray, name: str = "dis", device: str = "cpu", cache: str | Path | None = None
             ) -> np.ndarray:
    """Flow from frame a to frame b, both H,W,3 uint8 of one size.

    cache: a folder in which flow is kept by content, so that no pair of frames is worked on twice. Raises
    VosError for an unknown name, for sizes that differ, and where RAFT's weights cannot be had.
    """
    if name not in NAMES:
        raise VosError(f"there is no optical flow '{name}'; choose from: {', '.join(NAMES)}, and exact for toy clips")
    if a.shape != b.shape or a.ndim != 3:
        raise VosError(f"flow is between two frames of one size H,W,3, not {a.shape} and {b.shape}")
    path = None if cache is None else Path(cache) / f"{_key(a, b, name)}.npy"
    if path is not None and path.is_file():
        try:
            kept = np.load(path, allow_pickle=False)
            if kept.shape == (*a.shape[:2], 2):
                return kept.astype(np.float32)
        except (ValueError, OSError, EOFError):
            pass  # cut short or foreign: it is made again
    flow = (dis if name == "dis" else _raft(name, device))(a, b)
    if path is not None:
        out = io.BytesIO()
        np.save(out, flow.astype(np.float16), allow_pickle=False)  # to 1/16 of a pixel up to 128 pixels
        write_bytes(path, out.getvalue())
        flow = flow.astype(np.float16).astype(np.float32)  # the same whether it was kept already or not
    return flow


def between(clip: Clip, t: int, to: int, name: str = "dis", device: str = "cpu", cache: str | Path | None = None
            ) -> np.ndarray:
    """Flow from frame t to its neighbour `to` of a clip. "exact" needs a clip that knows its own."""
    if name != "exact":
        return estimate(clip.frames[t], clip.frames[to], name, device, cache)
    known = clip.forward_flow if to == t + 1 else clip.backward_flow if to == t - 1 else None
    if known is None:
        raise VosError(f"clip '{clip.name}' knows no exact flow from frame {t} to {to}: only toy clips do, between "
                       f"neighbours; choose from: {', '.join(NAMES)}")
    return known[min(t, to)]


def tensors(a: torch.Tensor, b: torch.Tensor, flow: str | Estimator = "dis") -> torch.Tensor:
    """Flow between two frames as systems see them, 3,H,W float in [0,1] -> 2,H,W float in pixels (dx, dy).

    flow: one of NAMES or a function of one's own, like `estimate` of two H,W,3 uint8 frames.
    """
    first, second = (to_image(x) for x in (a, b))
    found = estimate(first, second, flow, str(a.device)) if isinstance(flow, str) else flow(first, second)
    return torch.from_numpy(np.ascontiguousarray(found.transpose(2, 0, 1), np.float32)).to(a.device)


def known(clip: Clip) -> Estimator:
    """A toy clip's exact flow for who asks with two frames, (a, b) of neighbours -> H,W,2. VosError for any others."""
    of = {hashlib.sha256(frame.tobytes()).digest(): t for t, frame in enumerate(clip.frames)}

    def look(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        t, to = (of.get(hashlib.sha256(x.tobytes()).digest()) for x in (a, b))
        if t is None or to is None:
            raise VosError(f"clip '{clip.name}' does not have this frame: it is of another clip, size or brightness")
        return between(clip, t, to, "exact")

    return look


def dis(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Dense inverse search, OpenCV's medium preset. Colours are not used."""
    grey = [cv2.cvtColor(x, cv2.COLOR_RGB2GRAY) for x in (a, b)]
    return cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM).calc(*grey, None)


@lru_cache(maxsize=2)
def _raft(name: str, device: str) -> Estimator:
    build, weights = ((raft.raft_small, raft.Raft_Small_Weights.DEFAULT) if name == "raft-small" else
                      (raft.raft_large, raft.Raft_Large_Weights.DEFAULT))
    try:
        net = build(weights=weights).to(device).eval()
    except OSError as error:  # URLError and friends
        raise VosError(f"the weights of '{name}' could not be downloaded ({error}); connect once, put the file into "
                       "torch's hub cache, or use the flow 'dis', which needs none") from None

    @torch.no_grad()
    def run(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        h, w = a.shape[:2]
        size = max(128, -(-h // 8) * 8), max(128, -(-w // 8) * 8)  # RAFT takes multiples of 8, from 128 on
        pair = [torch.from_numpy(np.ascontiguousarray(x.transpose(2, 0, 1)))[None].float() / 127.5 - 1 for x in (a, b)]
        pair = [F.pad(x, (0, size[1] - w, 0, size[0] - h), mode="replicate").to(device) for x in pair]
        return net(*pair)[-1][0, :, :h, :w].permute(1, 2, 0).cpu().numpy()

    return run


def consistent(forward: np.ndarray, backward: np.ndarray, share: float = 0.01, least: float = 0.5) -> np.ndarray:
    """Where there and back leads home: H,W bool. It fails where a pixel is hidden in the other frame, or flow is wrong.

    forward: a to b, backward: b to a, H,W,2. |f + b(p + f)|^2 < share (|f|^2 + |b|^2) + least (Sundaram, Brox, Keutzer,
    ECCV 2010); False where p + f lies outside the frame.
    """
    h, w = forward.shape[:2]
    f = torch.from_numpy(np.ascontiguousarray(forward.transpose(2, 0, 1)))
    b = warp(torch.from_numpy(np.ascontiguousarray(backward.transpose(2, 0, 1))), f)  # at where each pixel went
    off, size = (f + b).square().sum(0), f.square().sum(0) + b.square().sum(0)
    y, x = np.mgrid[:h, :w]
    inside = ((x + forward[..., 0] >= 0) & (x + forward[..., 0] <= w - 1) & (y + forward[..., 1] >= 0)
              & (y + forward[..., 1] <= h - 1))
    return (off < share * size + least).numpy() & inside


def colours(flow: np.ndarray) -> np.ndarray:
    """Flow as a picture: hue is direction, strength of colour is speed (Baker et al., IJCV 2011). H,W,3 uint8."""
    return flow_to_image(torch.from_numpy(np.ascontiguousarray(flow.transpose(2, 0, 1)))).permute(1, 2, 0).numpy()


def folder() -> Path:
    """Where flow is kept unless said otherwise: VOS_TEACH_CACHE/flow, or the user's cache folder."""
    root = os.environ.get("VOS_TEACH_CACHE") or os.environ.get("XDG_CACHE_HOME")
    return (Path(root) if root else Path.home() / ".cache") / "vos_teach" / "flow"


def _key(a: np.ndarray, b: np.ndarray, name: str) -> str:
    said = hashlib.sha256(f"{name} {a.shape} {a.dtype}".encode())
    said.update(np.ascontiguousarray(a).tobytes())
    said.update(np.ascontiguousarray(b).tobytes())
    return said.hexdigest()[:32]
