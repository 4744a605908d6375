# Lab 0, for authors: `vos-teach labs build` makes the notebook. Figures quoted below are from runs at toy scale on two
# CPU cores; ranges are wide enough for other machines.

# %% [markdown]
# # Lab 0: the task, the data, the measures
#
# *About two hours of yours, and a minute or two of computing on two CPU cores. No GPU, no download.*
#
# A video, and one object marked in its first frame: find that object in every other frame. That is the whole task.
# Before anybody can say that one system is better than another, somebody has to say what *better* means, and that
# somebody is you, today. The measures you write here are the ones by which every later lab is judged.
#
# Afterwards you can
#
# - compute the two measures of video object segmentation, **J** (the region) and **F** (its boundary), and say when
#   they disagree and which of them to believe;
# - tell a system that is mediocre all the time from one that is good and then loses the object: **recall** and
#   **decay**;
# - score answers that come without names: **zero-shot**, with the best assignment of proposals to objects;
# - read and write **DAVIS**, the data set that the field measures itself on, without falling into its three traps;
# - read a table of results with suspicion.
#
# How it works: write the body of a function, run its cell, then the cell `check(...)` below it. It says right, or what
# is probably wrong. Stuck? `hint("lab0.jaccard")` gives a nudge; call it again for a bigger one.

# %% setup
import math
import tempfile
from pathlib import Path

import cv2
import numpy as np
from scipy import ndimage, optimize

from vos_teach import engine, metrics, registry
from vos_teach.clip import VOID
from vos_teach.data import davis, toy
from vos_teach.data.png import PALETTE, read_mask, write_mask
from vos_teach.metrics.measures import boundary
from vos_teach.metrics.measures import radius as tolerance

SCALE = "toy"  # or "small": also three real sequences, if VOS_TEACH_DAVIS names a folder of DAVIS; takes minutes
lab = setup("lab0", scale=SCALE)

# %% [markdown]
# ## 1. The task
#
# Four short clips go with you through all the labs. They are made by code, so the truth is known for every pixel. Here
# is the first of them, `easy`, with the true mask of its one object.

# %%
clip = lab.clips["easy"]
print(f"{clip.name}: {len(clip)} frames of {clip.size[0]} x {clip.size[1]} pixels, objects {clip.ids}")
show.frames(clip, title="The truth: one object, five of its frames")

# %% [markdown]
# There are two versions of the task.
#
# - **One-shot** (in papers "semi-supervised"): the mask of each object is given in the first frame. It says *which*
#   object is meant. Everything after it has to be found.
# - **Zero-shot** ("unsupervised"): nothing is given. The system must decide by itself what the objects are.
#
# We begin with one-shot, and with the dumbest system there is.
#
# ### The baseline: copy the first mask
#
# `copy-first` hands in the first mask again for every frame. It has no network, learns nothing and sees nothing. Every
# system of this course has to beat it, so look at it first. `segment` runs any system of the course on a clip.

# %%
def segment(system, clip, **options):
    """Run a system over a clip -> (T label maps, seconds a frame)."""
    height = 240 if clip.size[0] > 240 else None  # real sequences are worked on at 240p
    made = registry.make(system, device=lab.device, scale=lab.scale, **options)
    result = engine.run(made, clip, seed=lab.seed, height=height)
    return result.masks, (result.start_seconds + sum(result.step_seconds)) / len(clip)


copied, _ = segment("copy-first", clip)
show.frames(clip, {"truth": clip.masks, "copy-first": copied}, title="copy-first: the mask stays, the object leaves")

# %% [markdown]
# The mask stays where the object was. How bad is that, as a number between 0 (nothing right) and 1 (perfect)?
# **Commit to a guess before you go on**: put yours in place of 0.5 and run the cell. You will see it again beside the
# measurement.

# %%
my_guess = 0.5  # <- yours: the mean J of copy-first on this clip
predict("lab0.copy_first", my_guess, "J of copy-first on 'easy', mean over the frames")

# %% [markdown]
# ## 2. J: how much of the region is right
#
# Two masks are two sets of pixels: *A*, what the system says, and *B*, the truth. The share of agreement is
#
# $$ J = \frac{|A \cap B|}{|A \cup B|} $$
#
# the **Jaccard index**, or intersection over union. Background on which both agree appears nowhere in it, and that is
# the point: with an object of 5 % of the frame, "all background" would have 95 % of the pixels right.
#
# Three rules belong to it:
#
# 1. **One value per frame.** A clip's score is the mean of its frames' values. Pooling all pixels of the clip instead
#    would let the frames in which the object is large drown the others.
# 2. **Two empty masks agree**: the object is not there and nobody claims it. Then $0/0$ is set to **1**.
# 3. **Void** pixels (where the annotators could not decide) do not count at all: they are taken out of *both* masks.
#
# **Exercise 1** (3 points). `pred` and `target` have shape `(T, H, W)`: T frames of H rows and W columns, bool, or 0
# and 1 (`np.asarray(x).astype(bool)` makes either bool). `void`, if given, has the same shape. Do not change the
# inputs: whoever called you still needs them.

# %% answer="lab0.jaccard"
def jaccard(pred: np.ndarray, target: np.ndarray, void: np.ndarray | None = None) -> np.ndarray:
    """J of each frame.

    pred, target  (T, H, W) bool or 0/1      void  the same shape, true where a pixel does not count; or None
    Returns (T,) floats: 1 where both masks are empty.
    """
    ### BEGIN SOLUTION
    pred, target = np.asarray(pred).astype(bool), np.asarray(target).astype(bool)
    if void is not None:
        counts = ~np.asarray(void).astype(bool)
        pred, target = pred & counts, target & counts
    both = np.count_nonzero(pred & target, axis=(1, 2))  # (T,)
    either = np.count_nonzero(pred | target, axis=(1, 2))  # (T,)
    return np.where(either == 0, 1.0, both / np.maximum(either, 1))
    ### END SOLUTION

# %% check="lab0.jaccard" points=3
check("lab0.jaccard", jaccard)

# %% [markdown]
# Now your own J looks at the baseline. `stack` turns label maps into one object's masks, `(T, H, W)` bool.

# %%
def stack(masks, k):
    """Object k's masks in T label maps -> (T, H, W) bool."""
    return np.stack([m == k for m in masks])


j = jaccard(stack(copied, 1), stack(clip.masks, 1))
predict.reveal("lab0.copy_first", float(np.mean(j[1:-1])))
show.curves({"copy-first": j}, "Your J, frame by frame")

# %% [markdown]
# *Expected: a mean of about 0.29.* The curve starts at 1, because in frame 0 the answer was given, and collapses as
# the object walks out of its first mask. Most people guess too high: an overlap that looks like "about half" is a J
# of 0.33, since what is missed and what is claimed wrongly both go into the union.
#
# The same in a picture: what J calls the intersection is green; the other two colours are in the union only.

# %%
j = jaccard(stack(copied, 1), stack(clip.masks, 1))
t = int(np.argmin(np.abs(j - 0.5)))  # the frame whose J is nearest to one half
show.difference(copied[t], clip.masks[t], clip.frames[t], title=f"Frame {t}: J = {j[t]:.2f}")

# %% [markdown] quiz="lab0.q_first_frame" points=1
# **DAVIS leaves the first frame out of a one-shot score (and the last one). Why the first?**
#
# - a) Its mask was given, so every system would score 1 there.
#   Right: A value that is 1 for everybody measures nobody. It would flatter the mean, most of all on short clips. In
#   zero-shot nothing is given, so there all frames count.
# - b) Its mask is often annotated badly, being the first that the annotators drew.
#   Wrong: It is annotated like all others. Think of who knows that mask.
# - c) Systems need a frame to warm up before they can be judged.
#   Wrong: No system is excused anything. The frame says nothing about the system, because its answer was handed out.
# - d) J compares a frame with the one before, so it is not defined there.
#   Wrong: J compares an answer with the truth of the same frame. It is defined here, and it is exactly 1. That is the
#   trouble.

# %% [markdown]
# ## 3. The boundary map
#
# J counts area. If you cut an object out for a film, you care about its outline, and a large object hides a ragged
# outline well: its area hardly changes. So the second measure looks at boundaries only. First we need them.
#
# DAVIS's rule: a pixel is **boundary** if its value differs from that of its neighbour to the **east**, to the
# **south** or to the **south-east**.
#
# ```
#       . . . . .          . . . . .
#       . . # # .          . x x x .      why x at the upper left? that pixel is background, but its south-eastern
#       . . # # .    ->    . x . x .      neighbour is object: they differ. The line runs on both sides of
#       . . . . .          . x x x .      the outline, but is one pixel thick.
# ```
#
# Neighbours outside the frame do not exist: the last row looks east only, the last column south only, the corner not at
# all. So **the frame's border is never boundary**: an object that is cut off by it has no outline there.
#
# **Exercise 2** (2 points).

# %% answer="lab0.boundary_map"
def boundary_map(mask: np.ndarray) -> np.ndarray:
    """Where a mask's boundary is.

    mask  (H, W) bool or 0/1
    Returns (H, W) bool: on where a pixel differs from its E, S or SE neighbour inside the frame.
    """
    ### BEGIN SOLUTION
    m = np.asarray(mask).astype(bool)
    on = np.zeros(m.shape, bool)
    on[:, :-1] |= m[:, :-1] != m[:, 1:]  # east; the last column has none
    on[:-1] |= m[:-1] != m[1:]  # south; the last row has none
    on[:-1, :-1] |= m[:-1, :-1] != m[1:, 1:]  # south-east
    return on
    ### END SOLUTION

# %% check="lab0.boundary_map" points=2
check("lab0.boundary_map", boundary_map)

# %% [markdown]
# Your map of the first mask, beside the mask. If you see a frame around the whole picture, or two lines instead of one,
# the check above has told you already.

# %%
first = clip.masks[0] == 1
show.pair(first, boundary_map(first), ("mask", "your boundary map"))

# %% [markdown]
# ## 4. F: how much of the boundary is right
#
# A boundary found one pixel beside the true one should count as found: annotators do not agree to the pixel either. So
# there is a **tolerance**: r pixels, where r is 0.8 % of the frame's diagonal, **rounded up** (`bound=0.008`).
#
# | frame | diagonal | 0.8 % | r |
# |---|---|---|---|
# | 480 x 854 (DAVIS) | 979.7 | 7.84 | 8 |
# | 96 x 160 (our toy clips) | 186.6 | 1.49 | 2 |
# | 64 x 64 | 90.5 | 0.72 | 1 |
#
# Rounding makes r relatively larger on small frames (1.07 % of the diagonal on ours), so F is kinder there: **never
# compare F across resolutions.**
#
# Let $b_A$ be the predicted boundary, $b_B$ the true one, and "near" mean a distance of at most r (a disk, not a
# square):
#
# $$ P = \frac{|\{p \in b_A : p \text{ near } b_B\}|}{|b_A|} \qquad
#    R = \frac{|\{p \in b_B : p \text{ near } b_A\}|}{|b_B|} \qquad F = \frac{2PR}{P+R} $$
#
# Precision: how much of what I drew is right. Recall: how much of what there is did I draw. Their harmonic mean is only
# high if both are. And the corners:
#
# - both boundaries empty: 1. Only one empty: 0. (The *boundaries* count: a mask that fills the whole frame has none.)
# - P + R = 0: F is 0.
# - void: cleared in both masks **before** their boundaries are found.
#
# **Exercise 3** (4 points). Frame by frame, like J. For the boundaries use `edges`, given below: it is the library's
# version of what you have just written, so that a slip above costs you nothing here.

# %% answer="lab0.boundary_f"
def edges(mask):
    """(H, W) bool -> (H, W) bool: the boundary map, the library's."""
    return boundary(mask.astype(np.uint8)) > 0


def boundary_f(pred: np.ndarray, target: np.ndarray, void: np.ndarray | None = None, bound: float = 0.008
               ) -> np.ndarray:
    """F of each frame: harmonic mean of the boundary's precision and recall within a tolerance.

    pred, target  (T, H, W) bool or 0/1      void  the same shape, cleared in both masks first; or None
    bound         the tolerance as a fraction of the frame's diagonal; rounded up to whole pixels
    Returns (T,) floats: 1 where both boundaries are empty, 0 where only one is.
    """
    ### BEGIN SOLUTION
    pred, target = np.asarray(pred).astype(bool), np.asarray(target).astype(bool)
    if void is not None:
        counts = ~np.asarray(void).astype(bool)
        pred, target = pred & counts, target & counts
    r = math.ceil(bound * math.hypot(*pred.shape[1:]))
    values = np.zeros(len(pred))
    for t in range(len(pred)):
        mine, true = edges(pred[t]), edges(target[t])
        if not mine.any() or not true.any():
            values[t] = float(mine.any() == true.any())
            continue
        precision = (ndimage.distance_transform_edt(~true) <= r)[mine].mean()  # distance of every pixel to the line
        recall = (ndimage.distance_transform_edt(~mine) <= r)[true].mean()
        if precision + recall > 0:
            values[t] = 2 * precision * recall / (precision + recall)
    return values
    ### END SOLUTION

# %% check="lab0.boundary_f" points=4
check("lab0.boundary_f", boundary_f)

# %% [markdown]
# Your F beside your J on the baseline, and a picture of what F sees in one frame: the true boundary with its band of
# tolerance (pale), and the predicted one, green where it lies in the band.

# %%
truth, said = stack(clip.masks, 1), stack(copied, 1)
show.curves({"J": jaccard(said, truth), "F": boundary_f(said, truth)}, "copy-first on 'easy'", ylabel="J, F")

# %%
t = 3
j, f = (measure(said, truth)[t] for measure in (jaccard, boundary_f))
show.mask_boundary(truth[t], tolerance(clip.size), other=said[t], title=f"Frame {t}: J = {j:.2f}, F = {f:.2f}")

# %% [markdown]
# *Expected: F falls faster than J, to about 0.1; its mean over the scored frames is 0.16.* The band reaches 2 pixels
# to either side. After two frames the object has moved on by more than that, and then only those places count where
# the two outlines happen to cross.

# %% [markdown]
# ## 5. Where J and F disagree
#
# Both are numbers between 0 and 1, and they often rise and fall together. They do not have to. Three shapes:
#
# - **blob**: a compact object, the answer shifted by n pixels;
# - **bicycle**: thin tubes and spokes, the answer shifted by n pixels;
# - **frayed**: the blob again; the answer is in place, but n-pixel teeth hang on its outline.
#
# **Before you drag**: for a shift of 2 pixels, which of the two measures suffers more on the bicycle?

# %%
def shape(kind):
    """A mask of 96 x 160."""
    canvas = np.zeros((96, 160), np.uint8)
    if kind == "bicycle":
        for x in (45, 115):
            cv2.circle(canvas, (x, 60), 24, 1, 2)
        for a, b in (((45, 60), (72, 28)), ((72, 28), (104, 28)), ((104, 28), (115, 60)), ((45, 60), (78, 60)),
                     ((78, 60), (104, 28)), ((78, 60), (70, 20)), ((62, 20), (78, 20)), ((104, 28), (108, 14))):
            cv2.line(canvas, a, b, 1, 2)
    else:
        cv2.ellipse(canvas, (80, 48), (48, 34), 0, 0, 360, 1, -1)
    return canvas > 0


def answer(kind, n):
    """What a system might say: the shape shifted by n pixels, or frayed by teeth of n pixels."""
    mask = shape(kind)
    if kind != "frayed":
        return np.roll(mask, n, axis=1)  # nothing is near the border
    rows, columns = np.indices(mask.shape)
    tooth = (np.arctan2(rows - 48, columns - 80) * 16 / np.pi).astype(int) % 2 == 0
    grown = ndimage.distance_transform_edt(~mask) <= n
    return mask | (grown & tooth)


def disagree(kind, n, bound, picture):
    """One figure for the sliders."""
    truth, said = shape(kind), answer(kind, n)
    values = jaccard(said[None], truth[None])[0], boundary_f(said[None], truth[None], None, bound)[0]
    r = math.ceil(bound * math.hypot(*truth.shape))
    title = f"{kind}, {n} px:  J = {values[0]:.2f}   F = {values[1]:.2f}   (tolerance {r} px)"
    if picture == "what J sees":
        return show.difference(said, truth, title=title)
    return show.mask_boundary(truth, r, other=said, title=title)


slider(disagree, kind=["bicycle", "blob", "frayed"], n=(0, 12, 1, 2), bound=(0.002, 0.04, 0.002, 0.008),
       picture=["what F sees", "what J sees"])

# %% [markdown]
# Drag `n` slowly from 0. On the bicycle J breaks down at once: tubes three pixels wide, moved by two, hardly overlap
# with themselves. F stays at 1 as long as the shift is within the tolerance; only then does it fall. Now widen
# `bound` and see F forgive everything. Then choose `frayed` with n = 5: J hardly notices the teeth, F does.
#
# All of it at a glance:

# %%
steps = range(11)
lines = {}
for kind in ("blob", "bicycle", "frayed"):
    said, truth = np.stack([answer(kind, n) for n in steps]), np.stack([shape(kind)] * len(steps))
    lines[f"{kind}: J"], lines[f"{kind}: F"] = jaccard(said, truth), boundary_f(said, truth)
    print(f"{kind:8}  n = 2: J {lines[f'{kind}: J'][2]:.2f}  F {lines[f'{kind}: F'][2]:.2f}"
          f"    n = 5: J {lines[f'{kind}: J'][5]:.2f}  F {lines[f'{kind}: F'][5]:.2f}")
figure = show.curves(lines, "A shift, or a fringe, of n pixels", ylabel="J, F")
figure.axes[0].set_xlabel("n (pixels)")
figure

# %% [markdown]
# *Expected, at n = 2: bicycle J 0.44 and F 1.00, blob J 0.95 and F 1.00. At n = 5: frayed J 0.88 and F 0.58.* Blob
# and frayed have nearly the same J all along: to J a shift of a large object and a torn outline are the same mistake.
#
# This is why papers report both, and their mean **J&F**. A high J with a low F is a region in the right place with a
# bad outline (or holes). A low J with a high F is rare, and nearly always a thin structure.

# %% [markdown] quiz="lab0.q_disagree" points=1
# **A system's mask of a bicycle is shifted by two pixels at 96 x 160 (tolerance: 2 pixels). What do J and F say?**
#
# - a) Both fall to about one half.
#   Wrong: Look at the curves above for n = 2. One of them has not moved.
# - b) J stays near 1 and F falls to near 0, since only the outline is off.
#   Wrong: That is the other way round. Most of a thin structure's area is within two pixels of its boundary.
# - c) Neither moves: two pixels are within the tolerance.
#   Wrong: Only F has a tolerance. J counts pixels, and these are other pixels.
# - d) J falls below one half and F stays at 1.
#   Right: The tubes are hardly wider than the shift, so little overlaps; but every boundary pixel has its counterpart
#   two pixels on, which is just within the tolerance.

# %% [markdown]
# ## 6. Over time: recall and decay
#
# A clip gives one J per frame. Their mean says how good, not *how*: a system that is mediocre in every frame and one
# that is perfect until it loses the object half way can have the same mean. Two more numbers tell them apart.
#
# **Recall**: the share of frames whose value is **strictly above** a threshold (0.5, if nothing else is said). How
# often was the object found at all? A frame that is NaN (not a number) is a frame, and it is not above. A clip
# without frames: NaN.
#
# **Exercise 4** (1 point). `values` is an array or a list.

# %% answer="lab0.recall"
def recall(values: np.ndarray, threshold: float = 0.5) -> float:
    """The share of frames with a value strictly above the threshold.

    values  (T,) array or list; NaN counts as not above
    Returns a number from 0 to 1; NaN if there are no frames.
    """
    ### BEGIN SOLUTION
    values = np.asarray(values, np.float64)
    return float(np.mean(values > threshold)) if len(values) else math.nan
    ### END SOLUTION

# %% check="lab0.recall" points=1
check("lab0.recall", recall)

# %% [markdown]
# **Decay**: mean of the first quarter of the clip minus mean of its last quarter. What is lost along the way? Near 0:
# steady. Clearly positive: it drifts. (Negative is possible: the end is easier than the beginning.)
#
# "Quarter" needs care. The four spans (`bins=4`) have five borders, spread evenly over the frames 1 ... n and rounded:
#
# ```
# borders = round(linspace(1, n, bins + 1) + 1e-10) - 1         first span: frames borders[0] ... borders[1]
#                                                               last span:  frames borders[-2] ... borders[-1]
# ```
#
# Both ends are included, so neighbouring spans share a frame. The tiny `1e-10` makes halves round **up**; NumPy alone
# rounds them to the even number (`np.round(4.5)` is 4). For n = 15 the borders are 0, 4, 7, 11, 14. Frames that are NaN
# are left out of the means; a span without any value, or a clip without frames, gives NaN.
#
# These are conventions, and dull. They are also why two evaluation scripts give two numbers for the same masks.
#
# **Exercise 5** (2 points).

# %% answer="lab0.decay"
def decay(values: np.ndarray, bins: int = 4) -> float:
    """Mean of the first of `bins` spans of time minus mean of the last: what is lost along the clip.

    values  (T,) array or list; NaN is left out of the means
    Returns a number; NaN if a span has no values.
    """
    ### BEGIN SOLUTION
    values = np.asarray(values, np.float64)
    if len(values) == 0:
        return math.nan
    borders = np.round(np.linspace(1, len(values), bins + 1) + 1e-10).astype(int) - 1
    first, last = values[: borders[1] + 1], values[borders[-2] :]
    return float(np.nanmean(first) - np.nanmean(last))
    ### END SOLUTION

# %% check="lab0.decay" points=2
check("lab0.decay", decay)

# %% [markdown]
# Now to real results. The package ships the per-frame J that the authors' own runs of two systems reached on twelve
# DAVIS sequences (**published figures, not ours**): OSVOS, which looks at each frame by itself, and MaskTrack, which
# passes its last mask on to the next frame. You meet them in labs 1 and 2. Your `recall` and `decay` read them.

# %%
SEQUENCES = ("blackswan", "dog", "soapbox", "breakdance", "paragliding-launch", "drift-straight")
print(f"{'published, per sequence':24}{'OSVOS':>28}{'MaskTrack':>28}")
print(f"{'':24}" + f"{'J':>10}{'recall':>9}{'decay':>9}" * 2)
for name in SEQUENCES:
    curves = [published(name, system, "J") for system in ("osvos", "masktrack")]
    print(f"{name:24}" + "".join(f"{np.nanmean(c):10.3f}{recall(c):9.2f}{decay(c):9.2f}" for c in curves))
show.curves({s: published("drift-straight", s, "J") for s in ("osvos", "masktrack")},
            "drift-straight, published by the authors", first=1)

# %% [markdown]
# *Expected: on `blackswan` all is well (J above 0.9, decay 0.00). OSVOS has J 0.71 on `breakdance` and 0.68 on
# `drift-straight`: nearly the same mean. But the decays are 0.15 and 0.56.* On the first it is never very good and
# never lost; on the second it is excellent for thirty frames and then loses the car. MaskTrack fades there within ten
# frames and, with nothing left to pass on, stays at 0 (decay 0.87); OSVOS, which looks at each frame anew, finds the
# car again for a moment.

# %% [markdown] quiz="lab0.q_decay" points=1
# **Two systems have a mean J of 0.60 on a clip of 80 frames. One has decay 0.02, the other 0.45. What does that tell?**
#
# - a) Nothing: the mean is the same, so they are equally good.
#   Wrong: Equally good on these 80 frames. Think of frame 160.
# - b) The second is slower, so its masks come later and later behind the object.
#   Wrong: Decay measures no time: it is what J loses from the first quarter to the last. Masks that always trail by the
#   same amount have a decay near 0.
# - c) The first stays much the same; the second begins well and is losing the object.
#   Right: The mean hides the order of the values, decay shows it. On a longer clip the second would be worse. Errors
#   that feed themselves (a mask that is passed on from frame to frame) look like this.
# - d) The first has the better outline; thin parts of the other's masks decay.
#   Wrong: Decay of J knows nothing of the boundary; F measures that.

# %% [markdown]
# ## 7. Four systems on four clips
#
# Now your measures go to work on whole systems. Beside `copy-first`:
#
# - `copy-flow` moves the mask along by optical flow: where each pixel seems to go;
# - `mask-blind` is a network that was trained to find "the object" and is **never shown the first mask**;
# - `osvos` is that same network, fine-tuned for a moment (20 steps) on the first frame and its mask.
#
# `score` follows DAVIS's one-shot protocol: per object, without the first and the last frame, then the mean **over the
# objects**.

# %%
def score(clip, masks):
    """One-shot, DAVIS's protocol -> J, F, recall and decay of J: means over the objects."""
    rows = []
    for k in clip.ids:
        frames = [t for t in range(1, len(clip) - 1) if clip.masks[t] is not None and t > clip.starts[k]]
        mine, true = stack([masks[t] for t in frames], k), stack([clip.masks[t] for t in frames], k)
        void = stack([clip.masks[t] for t in frames], VOID)
        values = jaccard(mine, true, void)
        rows.append((values.mean(), boundary_f(mine, true, void).mean(), recall(values), decay(values)))
    return np.mean(rows, axis=0)


SYSTEMS = {"copy-first": {}, "copy-flow": {}, "mask-blind": {}, "osvos": {"steps": 20}}
story = dict(lab.clips)
if SCALE != "toy":
    story.update(list(lab.real.items())[:3])

results, seconds = {}, {}
for system in ("copy-first", "copy-flow", "mask-blind"):
    for name, c in story.items():
        results[system, name], seconds[system, name] = segment(system, c)
print(f"{len(results)} runs done")

# %% [markdown]
# OSVOS learns anew for each clip, which takes the most time of this lab: some seconds a clip.

# %%
for name, c in story.items():
    results["osvos", name], seconds["osvos", name] = segment("osvos", c, **SYSTEMS["osvos"])
    print(f"osvos on {name}: {seconds['osvos', name]:.2f} s a frame, fine-tuning counted")

# %% [markdown]
# The answers are there; now the marks, by your functions.

# %%
print(f"{'clip':12}{'system':12}{'J':>8}{'F':>8}{'recall':>8}{'decay':>8}{'s/frame':>9}")
for name, c in story.items():
    for system in SYSTEMS:
        found = score(c, results[system, name])
        took = seconds[system, name]
        card.add(lab, system, name, J=found[0], F=found[1], seconds_per_frame=took)
        print(f"{name:12}{system:12}" + "".join(f"{v:8.3f}" for v in found) + f"{took:9.3f}")

# %% [markdown]
# *Expected, J at toy scale: copy-first 0.05 to 0.3; copy-flow about 0.6 on `easy` and `look-alike`, 0.05 to 0.2 on
# the other two; mask-blind 0.05 to 0.25; OSVOS 0.6 to 0.85 on `easy`, 0.2 to 0.4 on `occlusion`, 0.3 to 0.5 on
# `look-alike`, 0.5 to 0.9 on `re-entry`* (twenty steps are few, so OSVOS varies from machine to machine). Before you
# believe a number, look at the pictures:

# %%
worst = "re-entry"
show.frames(story[worst], {"truth": story[worst].masks, **{s: results[s, worst] for s in SYSTEMS}},
            title=f"'{worst}': the object leaves and comes back")

# %% [markdown]
# And over time: what does each line do when the object goes, and when it comes back? While it is away the true mask is
# empty. There J is all or nothing: 1 for who claims nothing, 0 for who claims a single pixel.

# %%
show.curves({s: jaccard(stack(results[s, worst], 1), stack(story[worst].masks, 1)) for s in SYSTEMS},
            f"J on '{worst}'")

# %% [markdown]
# `copy-flow` loses the object where it crosses the border, and its mask stays behind on the background; the flow
# cannot fetch the object back. (That the copies rise at the very end is luck: the object returns to where it began.)
# OSVOS looks at each frame by itself, so it has the object back at once. A few stray pixels while it is away can cost
# it all those frames, though: two runs that look alike can differ by 0.3 in mean J on this clip. On `look-alike` the
# tables are turned: OSVOS has learned the object's looks, and here other things share them, the red ground and (after
# some more steps) the copies; the flow knows where the object was a moment ago. Each stage of this course answers one
# of these failures.

# %%
show.frames(story["look-alike"], {"truth": story["look-alike"].masks, "copy-flow": results["copy-flow", "look-alike"],
                                  "osvos": results["osvos", "look-alike"]},
            title="'look-alike': position knows better than appearance")

# %% [markdown]
# ### Did it use the mask at all?
#
# `mask-blind` never sees which object is meant. On our toy clips, full of things that nobody asks for, that is fatal.
# On DAVIS-2016, where each clip shows one thing that stands out, it is not. Measured on the 12 validation sequences
# that we have (of 20), at 240p, by this package:
#
# | system | J | what it is told |
# |---|---|---|
# | copy-first | 0.252 | the first mask |
# | copy-flow | 0.424 | the first mask, and the motion |
# | mask-blind | **0.567** | **nothing** |
# | OSVOS, 30 s of fine-tuning | 0.732 | the first mask, learnt |
#
# So four fifths of OSVOS's figure can be had without the mask. To see whether a system follows it, ask for *either*
# of two objects: in composites of two sequences OSVOS got J 0.608 for the object that was asked for and 0.077 for the
# other one; mask-blind got 0.331 for both.

# %% [markdown] quiz="lab0.q_mask_blind" points=1
# **A new one-shot system reaches J = 0.80 on DAVIS-2016. Does that prove that it uses the first mask?**
#
# - a) Yes: without the mask nobody could know which object is meant.
#   Wrong: In DAVIS-2016 there is usually one thing that stands out. Guess that, and see the table above.
# - b) Yes, if its F is as high: a sharp outline must have been shown to it.
#   Wrong: A sharp outline of the object that stands out is still found without the mask.
# - c) No: 0.80 is below the best published figures, so it proves nothing yet.
#   Wrong: A higher figure would prove it no better. It is the data that cannot tell.
# - d) No: a system that ignores it and takes what stands out can score high.
#   Right: One object is annotated per clip, and mostly it is the one that stands out: a measure on data without rivals
#   cannot see the difference. Ask for another object of the same clip and see whether the answer changes. Several
#   objects in a clip (DAVIS-2017), or composites, make that possible.

# %% [markdown]
# ## 8. Several objects, and your own five seconds
#
# From here on a clip of **your own** goes with you through the labs: about five seconds, **two similar objects** (two
# mugs, two dogs, two friends). Film it, put its path into `VIDEO`, and paint both objects on the first, the middle and
# the last frame. No video at hand? Leave `VIDEO` empty: a clip that ships with the course takes its place, and you can
# come back to this any day.

# %%
VIDEO = ""  # <- for example "my_video.mp4" (in Colab: upload it in the file pane on the left)
painting = own.paint(own.load(VIDEO)) if VIDEO else None
painting  # brush, eraser, undo; 1 and 2 choose the object

# %% [markdown]
# Painted all three frames? Then save. (Where there is no `VIDEO` this does nothing.)

# %%
if VIDEO:
    own.save(lab, painting)
mine = lab.own
painted = [t for t in range(len(mine)) if mine.masks[t] is not None]
print(f"'{mine.name}': {len(mine)} frames, objects {mine.ids}, {len(painted)} frames with masks")
show.frames(mine, title="Your clip, and its masks where there are any")

# %% [markdown]
# Two objects make two scores per clip. Which mean do we want? Run all systems and look at both objects first. In your
# own clip only the painted frames after the first can be scored, the last one included: there are no others.

# %%
own_results, own_seconds = {}, {}
for system, options in SYSTEMS.items():
    own_results[system], own_seconds[system] = segment(system, mine, **options)
show.frames(mine, {s: own_results[s] for s in SYSTEMS}, title="Your clip, four systems")

# %% [markdown]
# And their scores, by your functions:

# %%
own_scores = {}
for system in SYSTEMS:
    frames = [t for t in painted if t > 0]
    for k in mine.ids:
        said, true = (stack([m[t] for t in frames], k) for m in (own_results[system], mine.masks))
        own_scores[system, k] = jaccard(said, true).mean(), boundary_f(said, true).mean()
    means = np.mean([own_scores[system, k] for k in mine.ids], axis=0)
    card.add(lab, system, "own", J=means[0], F=means[1], seconds_per_frame=own_seconds[system])
    print(f"{system:12}" + "".join(f"   object {k}: J {own_scores[system, k][0]:.3f} F {own_scores[system, k][1]:.3f}"
                                   for k in mine.ids) + f"   mean: J {means[0]:.3f} F {means[1]:.3f}")

# %% [markdown]
# *Expected on the shipped clip, J as the mean of both objects: copy-first 0.27, copy-flow 0.53, mask-blind 0.05, OSVOS
# 0.55 to 0.75.* copy-flow keeps object 1 (0.68) and loses much of object 2 (0.38): the mean over objects tells half of
# each story. mask-blind gives all that stands out to one object and nothing to the other: it cannot know better.

# %% [markdown] quiz="lab0.q_objects" points=1
# **A data set has one clip with 1 object (J = 0.9) and one with 4 objects (J = 0.5 each). DAVIS-2017's figure is 0.58.
# Why the mean over objects, and not over the two clips (0.70)?**
#
# - a) Because large objects, which the eye sees first, count for more then.
#   Wrong: Each object counts once, whatever its size; J of each is divided by its own union.
# - b) Because each object is a task of its own: five tasks, five results.
#   Right: What is asked is always one object. Averaged over clips, an object in a crowd, the hard case, would count a
#   quarter of one that is alone, and a system would be rewarded for the easy, lonely objects.
# - c) Because the mean over clips would count the background of each clip, too.
#   Wrong: The background is no object and has no J, neither way.
# - d) Because every frame ought to count once, and clips differ in length.
#   Wrong: Frames are averaged within each object first. After that a long clip counts no more than a short one.

# %% [markdown] quiz="lab0.q_2016_2017" points=1
# **DAVIS-2016 annotates one instance per clip. DAVIS-2017 has 90 videos for training and validation and 30 more for its
# test-dev set, with several instances each. What changes most for a system?**
#
# - a) It must tell objects apart that look alike and touch.
#   Right: Which of them is asked for now matters, and each pixel goes to one object at most: figure against ground
#   becomes one against the others. Systems that know one object only must run once per object and then settle who gets
#   which pixel, and J falls: OSVOS from J 79.8 and F 80.6 (2016) to a J&F of 60.3 (2017), as published.
# - b) Only the number of videos: it has more to learn from.
#   Wrong: That too, but it was possible before to win without knowing which object was meant.
# - c) Void pixels are introduced, so J is computed over fewer pixels.
#   Wrong: The measure is the same. In 2017's one-shot protocol 255 simply counts as background.
# - d) F replaces J, since objects that touch differ by their outlines only.
#   Wrong: Both are reported, and their mean ranks the systems.

# %% [markdown]
# ## 9. Zero-shot: answers without names
#
# In zero-shot nobody says which object is number 1. A system returns up to 20 **proposals**, tracks of masks in any
# order, and the ground truth has G objects. Which proposal answers for which object? The kindest **one-to-one**
# assignment, made once per clip: of all ways to pair objects with proposals, the one with the **largest total
# score**, where a pair's score is its mean (J+F)/2 over **all** frames (none was given, so none is left out).
# Proposals left over cost nothing.
#
# Taking the best for each object in turn is not that. Two objects, two proposals:
#
# |  | proposal 0 | proposal 1 |
# |---|---|---|
# | **object 0** | 0.80 | 0.75 |
# | **object 1** | 0.70 | 0.10 |
#
# In turn: object 0 takes proposal 0, object 1 is left with 0.10, total 0.90. Crosswise: 0.75 + 0.70 = 1.45.
# The **Hungarian algorithm** finds the best total without trying all pairings: `optimize.linear_sum_assignment`, which
# minimises costs unless told otherwise, and takes no NaN.
#
# **Exercise 6** (3 points). NaN in `scores` counts as 0. There may be more objects than proposals, or none of either.

# %% answer="lab0.match_proposals"
def match_proposals(scores: np.ndarray) -> list[tuple[int, int]]:
    """The one-to-one assignment of proposals to objects with the largest total score.

    scores  (G, P): how well proposal p fits object g; NaN counts as 0
    Returns min(G, P) pairs (object, proposal) of int, ordered by object.
    """
    ### BEGIN SOLUTION
    scores = np.nan_to_num(np.asarray(scores, np.float64))  # a copy
    objects, proposals = optimize.linear_sum_assignment(scores, maximize=True)
    return [(int(g), int(p)) for g, p in zip(objects, proposals, strict=True)]
    ### END SOLUTION

# %% check="lab0.match_proposals" points=3
check("lab0.match_proposals", match_proposals)

# %% [markdown]
# Let us play zero-shot. We throw the tracks of four systems on your clip into one bag, shake it, and take away their
# names. Your functions score every track against every object, and your assignment finds out who is who.

# %%
bag = [(s, k) for s in ("copy-first", "copy-flow", "osvos") for k in mine.ids] + [("mask-blind", mine.ids[0])]
bag = [bag[i] for i in np.random.default_rng(lab.seed).permutation(len(bag))]
scores = np.zeros((len(mine.ids), len(bag)))
for g, k in enumerate(mine.ids):
    truth = stack([mine.masks[t] for t in painted], k)
    for p, (system, slot) in enumerate(bag):
        track = stack([own_results[system][t] for t in painted], slot)
        scores[g, p] = np.mean((jaccard(track, truth) + boundary_f(track, truth)) / 2)

pairs = match_proposals(scores)
print("proposal    " + "".join(f"{p:8}" for p in range(len(bag))))
for g, k in enumerate(mine.ids):
    print(f"object {k}:   " + "".join(f"{v:7.3f}{'*' if (g, p) in pairs else ' '}" for p, v in enumerate(scores[g])))
for g, p in pairs:
    print(f"object {mine.ids[g]} is answered by proposal {p}, which was {bag[p][0]}'s object {bag[p][1]}")
found = np.mean([scores[pair] for pair in pairs])
print(f"zero-shot J&F: {found:.3f}, with {len(bag) - len(pairs)} proposals to spare")

# %% [markdown]
# The stars mark your assignment. *Expected on the shipped clip: a J&F of 0.6 to 0.75;* an object may well be answered
# by copy-flow and the other one by OSVOS. (Our bag is unfair: these systems were shown the first masks, so they know
# what the objects are, which is the hard half of zero-shot.) Note what the rule rewards: many proposals. With twenty
# tries the assignment picks the best one *after seeing the truth*, and the other eighteen are free. That is why their
# number is limited, and why zero-shot and one-shot figures cannot be compared.

# %% [markdown]
# ## 10. Reading DAVIS
#
# DAVIS is a folder: frames as JPEG, masks as PNG, lists of names. We write two of our clips in exactly that form and
# read them back with the reader that reads the real one.

# %%
folder = Path(tempfile.mkdtemp()) / "DAVIS"
two = [lab.clips["easy"], toy.clip(9, split="val", name="two-objects", objects=2, camera_motion=True)]
toy.write(two, folder, split="val")
for path in sorted(folder.rglob("*")):
    depth = len(path.relative_to(folder).parts)
    if path.is_dir() or path.suffix in (".txt", ".json") or path.stem in ("00000", "00001"):
        print("    " * (depth - 1) + path.name + ("/" if path.is_dir() else ""))
print("\nImageSets/2017/val.txt:", (folder / "ImageSets/2017/val.txt").read_text().split())

# %% [markdown]
# Open one mask. It looks like a colour picture, and this is **trap 1**: its pixels are not colours but **ids**, 0 for
# background, 1 for the first object, and so on; the colours are a palette on the side. Convert it to RGB, or resize it
# with smoothing, and the ids are gone.

# %%
path = folder / "Annotations/96p/two-objects/00000.png"
ids = read_mask(path)
print(f"{path.name}: {ids.shape}, {ids.dtype}, ids {np.unique(ids)}")
print("palette:", {k: tuple(int(c) for c in PALETTE[k]) for k in (0, 1, 2, VOID)})
renamed = np.where(ids == 2, 5, ids)  # the second object is called 5 here
smoothed = cv2.resize(renamed, None, fx=0.7, fy=0.7, interpolation=cv2.INTER_LINEAR)
print(f"ids {np.unique(renamed)}, resized with smoothing, become {np.unique(smoothed)}")
show.pair(ids, PALETTE[ids], ("ids", "as any viewer shows it"))

# %% [markdown]
# Halfway between background and object 5 lie "objects" 1, 2, 3 and 4. So masks are resized by nearest neighbour,
# always.
#
# **Trap 2: the year decides what a mask means, never its values.** In DAVIS-2016 anything above 0 is *the* object, and
# files often store it as 255. In DAVIS-2017 values are ids and 255 is **void**. Read a 2016 file by 2017's rule and the
# whole object is void: there is nothing left to score. The same folder, read both ways:

# %%
(folder / "ImageSets/2016").mkdir(exist_ok=True)
(folder / "ImageSets/2016/val.txt").write_text("easy\ntwo-objects\n")
for year in (2016, 2017):
    for c in davis.read(folder, year=year):
        print(f"DAVIS-{year}: {c.name:12} {len(c)} frames, objects {c.ids}, values {np.unique(c.masks[0])}")

# %% [markdown]
# **Trap 3: void.** It is not background: nobody is to be rewarded or punished there. Suppose that the annotators had
# marked a band of uncertain pixels around the object as void. Your J with it, and without:

# %%
truth = stack(clip.masks, 1)
band = np.stack([ndimage.binary_dilation(m, iterations=2) & ~ndimage.binary_erosion(m, iterations=2) for m in truth])
sloppy = np.stack([ndimage.binary_dilation(m, iterations=2) for m in truth])  # two pixels too large everywhere
print(f"a mask two pixels too large: J {jaccard(sloppy, truth).mean():.3f}, "
      f"with the band as void {jaccard(sloppy, truth, band).mean():.3f}")
marked = clip.masks[0].copy()
marked[band[0]] = VOID
show.pair(PALETTE[marked], sloppy[0], ("truth: object, and void around it", "two pixels too large"))

# %% [markdown]
# *Expected: well below 1 without, exactly 1 with.* A protocol has to say what void is: in the one-shot task of
# DAVIS-2017 it counts as background, in the zero-shot task it does not count.
#
# ### Predictions as files
#
# Benchmarks score folders of PNGs. So write OSVOS's answers and your own baseline's as DAVIS wants them, let the
# package's `evaluate` (which agrees with DAVIS's official tool) score the folder, and compare with your functions.

# %%
for system in ("copy-flow", "osvos"):
    there = folder.parent / system
    for c in davis.read(folder, year=2017):
        masks, _ = segment(system, c, **SYSTEMS[system])
        for t, name in enumerate(c.frame_names):
            write_mask(there / c.name / f"{name}.png", masks[t])
    official = metrics.evaluate(there, folder, "one-shot", year=2017, processes=1)
    rows = []
    for c in davis.read(folder, year=2017):
        masks = [read_mask(there / c.name / f"{name}.png") for name in c.frame_names]
        for k in c.ids:
            said, true = stack(masks, k)[1:-1], stack(c.masks, k)[1:-1]
            rows.append((jaccard(said, true).mean(), boundary_f(said, true).mean()))
    yours = np.mean(rows, axis=0)
    print(f"{system:10} {official['objects']} objects   evaluate: J {official['J']['mean']:.4f} "
          f"F {official['F']['mean']:.4f}   yours: J {yours[0]:.4f} F {yours[1]:.4f}")

# %% [markdown]
# *Expected: the same to the last digit.* Three objects in two clips, and the mean is over the three. You own an
# evaluation tool now.
#
# ## 11. Scale: DAVIS against YouTube-VOS
#
# Published figures (the lecture's table; YouTube-VOS's authors, ECCV 2018):
#
# |  | JC | SegTrack | YTO | FBMS | DAVIS-2016 | DAVIS-2017 | YouTube-VOS |
# |---|---|---|---|---|---|---|---|
# | videos | 22 | 14 | 96 | 59 | 50 | 90 | **4,453** |
# | categories | 14 | 11 | 10 | 16 | - | - | **94** |
# | objects | 22 | 24 | 96 | 139 | 50 | 205 | **7,822** |
# | annotations | 6,331 | 1,475 | 1,692 | 1,465 | 3,440 | 13,543 | **191,378** |
# | minutes | 3.52 | 0.59 | 9.01 | 7.70 | 2.88 | 5.17 | **345** |
#
# Fifty times DAVIS-2017's videos, annotated only every fifth frame. And one new idea: its validation set has objects
# of categories that occur in training (**seen**) and of categories that do not (**unseen**), scored apart. Two rows
# of the lecture's results there (published): OSVOS J 59.8 seen and 54.2 unseen; S2S, an RNN trained on YouTube-VOS,
# 66.7 and 48.2.

# %% [markdown] quiz="lab0.q_scale" points=1
# **What does YouTube-VOS's scale buy, and what do its unseen categories test?**
#
# - a) Scale makes figures more precise; unseen categories test whether the annotators were consistent.
#   Wrong: More data does give steadier figures, but the systems changed more than the figures did. And "unseen" is
#   about the system's training, not about the annotators.
# - b) Scale makes online learning faster; unseen categories are the fast-moving objects.
#   Wrong: Fine-tuning on one frame takes as long as before, and categories are kinds of things, not motions.
# - c) Scale lets networks learn from video itself; unseen categories test whether that holds for new kinds of things.
#   Right: Motion and memory are then learnt, not imitated on single images: recurrent networks and memories need
#   thousands of clips. What they learnt may still be a recogniser of known classes, and the price shows in the gap: S2S
#   loses 18 points from seen to unseen, OSVOS, which learns the object anew from its first frame, loses 6.
# - d) Nothing for one-shot: the object is given by its mask, so neither scale nor categories matter.
#   Wrong: Categories should not, and that is just what the unseen figure tests. Look at the gap of S2S, which has
#   learnt from all those videos and leads on seen ones.

# %% [markdown]
# ## 12. What you take along
#
# Later labs measure with *your* functions. `keep` stores those that pass their checks.

# %%
for name, function in {"jaccard": jaccard, "boundary_map": boundary_map, "boundary_f": boundary_f, "recall": recall,
                       "decay": decay, "match_proposals": match_proposals}.items():
    keep(lab, f"lab0.{name}", function)

# %% [markdown]
# And your score card so far. It grows in every lab; in the last one its plot is the lecture's: ten years of quality
# against time, made of your own runs.

# %%
card.show(lab)

# %% [markdown] manual="lab0.reflection" points=4
# **Reflection** (4 points; about 150 words). A company shows you its one-shot system: "mean J 0.85 on 20 clips, one
# object each, frames 0 to the end, 4 seconds a clip." You may ask for three further measurements, and no more. Which,
# and what could each of them reveal that J = 0.85 hides? Refer to at least one thing that you measured in this lab.
#
# ### BEGIN SOLUTION
# *A model answer; others are as good if they name a weakness that J hides and a measurement that shows it.*
#
# First, J for **either of two objects** in the same clip. With one object per clip a system may ignore the mask:
# mask-blind reaches 0.57 on DAVIS-2016 and OSVOS 0.73. If the answer does not change with the question, it finds what
# stands out.
#
# Second, **decay, and recall, without frame 0** on clips five times as long. Frame 0 is given and adds a 1; on short
# clips that is worth several hundredths. With copy-flow on `re-entry` the mean said little, while the curve showed
# that it never came back once the object had left. A decay of 0.3 would say that 0.85 is a property of short clips.
#
# Third, **F at a stated resolution**. In my experiment a fringe of 5 pixels around a large blob hardly cost any J, but
# a large part of F: for cutting objects out of a film J alone is blind.
#
# (Also good: seconds a frame with fine-tuning counted; unseen categories; the worst clips instead of the mean.)
#
# Marking: 1 point for each measurement with what it would reveal, 1 for a figure or picture of one's own.
# ### END SOLUTION

# %% [markdown]
# ## Recap
#
# - **J** is intersection over union, per frame, 1 where both are empty; **F** compares outlines within a tolerance of
#   0.8 % of the diagonal. J is blind to ragged outlines; F sees them, but forgives small shifts. Report both.
# - The mean hides time: **recall** says how often the object was found, **decay** what is lost along the way.
# - One-shot leaves out what was given and averages over objects; zero-shot scores the best one-to-one **assignment**.
# - Ids are not colours, the year decides what 255 means, and void is not background.
# - A high figure proves what the data can disprove, and no more.
#
# **What breaks.** Nothing that you saw today survives all four clips. Copying fails when the object moves, flow when it
# hides, the network when its mask is ignored or its look is shared. The best of today was OSVOS, and it paid: look at
# its seconds a frame. Why it works at all, learning from a *single* frame, and why it costs that much, is lab 1.
#
# **Reading.** Perazzi et al., *A benchmark dataset and evaluation methodology for video object segmentation*, CVPR
# 2016 (section 4: the measures). Pont-Tuset et al., *The 2017 DAVIS challenge*, arXiv 1704.00675. Xu et al.,
# *YouTube-VOS*, ECCV
# 2018. In this package: `vos_teach/metrics/measures.py` is what you wrote, made fast.
