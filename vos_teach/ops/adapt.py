"""OnAVOS: which pixels of a new frame a network may learn from (Voigtlaender & Leibe, BMVC 2017, section 3)."""

import numpy as np
import torch
from scipy.ndimage import distance_transform_edt
from torch import Tensor


def online_targets(prob: Tensor, last_mask: Tensor, positive: float = 0.97, distance: float = 220 / 480,
                   erosion: float = 15 / 480) -> Tensor:
    """The training target for the current frame: H,W int64, 1 positive, 0 negative, 255 void (no opinion).

    prob: H,W, the object's probability in the current frame; last_mask: H,W bool or 0/1, the last frame's result.
    positive: 1 where prob > positive; distance, erosion: lengths as fractions of H, so that a clip's size does not
    matter. The last mask is eroded by a disk: what is left is farther than erosion * H from every background pixel.
    0 where a pixel is farther than distance * H from what is left: there nothing can have moved within one frame,
    so negatives win over positives. All else is 255, and everything is if nothing is left of the last mask: the
    object seems lost, and its place is no longer known.

    Distances run between pixel centres (Euclidean). Beyond the border of the frame is not background: an object
    that is cut off by it is not eroded there (as if the mask were mirrored). No gradient flows.
    """
    height = prob.shape[0]
    mask = last_mask.detach().cpu().numpy().astype(bool)
    if not mask.all():  # the distance to the nearest background pixel is undefined where there is none
        mask = distance_transform_edt(mask) > erosion * height
    target = torch.full(prob.shape, 255, dtype=torch.int64, device=prob.device)
    if not mask.any():
        return target
    target[prob > positive] = 1
    far = distance_transform_edt(np.logical_not(mask)) > distance * height
    target[torch.from_numpy(far).to(prob.device)] = 0
    return target
