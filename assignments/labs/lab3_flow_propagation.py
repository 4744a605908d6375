# Lab 3, flow propagation. Source of notebooks/lab3_flow_propagation.ipynb: `vos-teach labs build` writes that.
# Answers are between BEGIN and END SOLUTION. In the student's notebook every cell must either run or raise
# NotAttempted, so a cell never uses what another cell computed with the student's functions: it calls `run` (cached).

# %% [markdown]
# # Lab 3 - Flow propagation: pixels tell where they go, until they do not
#
# *About two hours for you, four minutes of computing at most on two CPU cores (`SCALE = "toy"`).*
#
# In lab 2 the last mask was the hint, and the hint stood still while the object moved on. Today the hint moves along:
# **optical flow** says for each pixel where it came from.
#
# When you are done you can
#
# - **warp** a picture or a mask along flow, backwards and bilinearly, so that gradients pass;
# - compute flow yourself (**Lucas and Kanade**), and know where it cannot be right;
# - tell by a look **there and back** which pixels went out of sight;
# - **fuse** two streams, appearance and motion, and say what each of them is blind to;
# - find the **recurrence** in MaskRNN, choose between one stream and two by measurement, and put **several objects
#   through one pass**.
#
# Every exercise has the same form: the idea, a function to write, `check(...)`, and a picture of **your** function at
# work. Stuck? `hint("lab3.warp")` gives a nudge; call it again for more.

# %% setup

# %% [markdown]
# Our tool box for today, much as in lab 2: `run(name, clip)` runs a system on a clip and scores it with **your** J and
# F (the library's, if this machine does not know yours). Results are kept until you change one of your functions.

# %%
from dataclasses import dataclass, replace

import cv2
import numpy as np
import torch
import torch.nn.functional as F

from vos_teach import engine, registry, viz
from vos_teach.clip import Lazy, resize_mask
from vos_teach.data import toy
from vos_teach.data.flow import between, colours, dis
from vos_teach.mask_propagation import masktrack as masktrack_module
from vos_teach.metrics import temporal_stability
from vos_teach.ops.optical import lucas_kanade as coarse_to_fine
from vos_teach.weights import load_into

jaccard = recall_operator(lab, "lab0.jaccard")
boundary_f = recall_operator(lab, "lab0.boundary_f")

REAL = SCALE == "small" and len(lab.real) > 3  # real DAVIS, where four sequences of it are present
CLIPS = dict(list(lab.real.items())[:4]) if REAL else dict(lab.clips)
MAIN, *OTHERS = CLIPS  # their names
HEIGHT = 240 if REAL else None  # real frames are made smaller, as the networks were trained
STEPS = 60  # of fine-tuning, where nothing else is said


def small(clip):
    return clip if HEIGHT is None else clip.resize(HEIGHT)


def as_tensor(array):
    """H,W,C array -> C,H,W float tensor."""
    return torch.from_numpy(np.ascontiguousarray(array.transpose(2, 0, 1))).float()


@dataclass
class Run:
    """What a system did on a clip. J, F: id -> a value per scored frame; T: per pair of frames."""

    masks: list
    J: dict
    F: dict
    T: np.ndarray
    start: float  # seconds on frame 0: fine-tuning, if any
    step: float  # mean seconds for each later frame

    def mean_j(self):
        return float(np.mean([j.mean() for j in self.J.values()]))

    def mean_f(self):
        return float(np.mean([f.mean() for f in self.F.values()]))

    def seconds(self):  # per frame, with the start spread over the clip
        return (self.start + self.step * (len(self.masks) - 1)) / len(self.masks)


BUILD, DONE = {}, {}


def system(name, build, uses=()):
    """Give a system a name. build() makes a segmenter. uses: names of your functions inside it."""

    def work(clip):
        result = engine.run(build(), clip, height=HEIGHT)
        return list(result.masks), result.start_seconds, float(np.mean(result.step_seconds))

    BUILD[name] = work, uses


def looped(name, step, flow, uses=(), trust=False):
    """The same for a loop of your own. step(frame, moved): the masks K,H,W of a frame, given the last ones moved
    along by your warp; flow(clip, t, to): H,W,2, from a frame to its neighbour; trust: drop what is inconsistent."""

    def work(clip):
        film, c = [], small(clip)
        masks = c.objects(0).float()  # K,H,W
        for t in range(1, len(c)):
            back = flow(c, t, t - 1)
            moved = warp(masks, as_tensor(back))
            if trust:
                moved = moved * torch.as_tensor(consistent(back, flow(c, t - 1, t)))
            with torch.no_grad():
                masks = step(c.frame(t), moved)
            best = torch.cat([1 - masks.sum(0, keepdim=True), masks]).argmax(0).numpy()
            film.append(resize_mask(np.array([0, *c.ids], np.uint8)[best], clip.size))
        return [clip.masks[0], *film], 0.0, float("nan")

    BUILD[name] = work, ("warp", *(["consistent"] if trust else []), *uses)


def scored(clip):
    """DAVIS's rule for one-shot: neither the first frame, which was given, nor the last."""
    frames = [t for t in range(1, len(clip)) if clip.masks[t] is not None]
    return frames[:-1] if len(frames) > 2 else frames


def run(name, clip):
    work, uses = BUILD[name]
    key = (name, clip.name, clip.ids, *(globals().get(u) for u in uses))
    if key not in DONE:
        masks, start, step = work(clip)
        frames = scored(clip)
        pairs = {k: ([masks[t] == k for t in frames], [clip.masks[t] == k for t in frames]) for k in clip.ids}
        pairs = {k: (np.stack(p), np.stack(t)) for k, (p, t) in pairs.items()}
        first = np.stack([m == clip.ids[0] for m in masks])
        DONE[key] = Run(masks, {k: jaccard(p, t) for k, (p, t) in pairs.items()},
                        {k: boundary_f(p, t) for k, (p, t) in pairs.items()}, temporal_stability(first), start, step)
    return DONE[key]


def over_time(names, clip, title=""):
    """J of the first object, frame by frame."""
    return show.curves({n: run(n, clip).J[clip.ids[0]] for n in names}, title or f"'{clip.name}': J over time", first=1)


def table(rows, head):
    """Rows of words and numbers as a plain table."""
    text = [head] + [[f"{v:.3f}" if isinstance(v, float) else str(v) for v in row] for row in rows]
    wide = [max(len(line[i]) for line in text) for i in range(len(head))]
    for line in text:
        print("  ".join(v.ljust(w) if i == 0 else v.rjust(w) for i, (v, w) in enumerate(zip(line, wide, strict=True))))


def compare(names, clips, what="J"):
    """A line for each clip, a column for each system."""
    table([[c.name, *(run(n, c).mean_j() for n in names)] for c in clips], [what, *names])


easy, hidden, twins, away = CLIPS.values()
fast = toy.clip(1, split="val", name="fast-motion", **toy.SUITE["fast-motion"])  # a guest, for today only
ALL_CLIPS = [*CLIPS.values(), fast]

# %% [markdown]
# ## 1 Where lab 2 left us
#
# Your score card so far, and the best picture of lab 2: MaskTrack on the clip with look-alikes.

# %%
card.show(lab)

# %%
system("copy-first", lambda: registry.make("copy-first", scale=SCALE))
system("refine", lambda: registry.make("masktrack-offline", scale=SCALE))  # lab 2's recursion, nothing fine-tuned
system("masktrack", lambda: registry.make("masktrack", scale=SCALE, steps=STEPS))
show.frames(twins, {"truth": twins.masks, "refine": run("refine", twins).masks,
                    "masktrack": run("masktrack", twins).masks}, title=f"The best of lab 2, on '{twins.name}'")

# %% [markdown]
# It works because little happens between two frames. So let more happen: only every third or every sixth frame of each
# clip, as of a cheaper camera; and a guest, the clip `fast-motion`, whose object moves some nine pixels a frame.

# %%
SKIPPED = {}


def every(clip, n):
    """Every n-th frame of a clip, as a clip."""
    if n == 1:
        return clip
    if (clip.name, n) not in SKIPPED:
        at = range(0, len(clip), n)
        SKIPPED[clip.name, n] = replace(
            clip, frames=[clip.frames[t] for t in at], masks=[clip.masks[t] for t in at], frame_names=(),
            forward_flow=None, backward_flow=None, name=f"{clip.name}, every {n}.")
    return SKIPPED[clip.name, n]


table([[c.name, *(run("refine", every(c, n)).mean_j() for n in (1, 3, 6))] for c in ALL_CLIPS],
      ["J of refine", "every frame", "every 3rd", "every 6th"])

# %%
show.frames(fast, {"truth": fast.masks, "refine": run("refine", fast).masks},
            title="too fast for a hint that stands still")

# %% [markdown]
# ### Commit to a prediction
#
# Nothing but flow: the first mask is carried from frame to frame by the flow between them, and no network ever looks at
# it. What J does that reach on `easy`, with the *exact* flow, which toy clips know, and with an estimated one?

# %%
predict("lab3.exact", 0.50, "J of the first mask carried by exact flow on the first clip?")
predict("lab3.estimated", 0.50, "J of the first mask carried by estimated flow on the first clip?")

# %% [markdown]
# ## 2 Warping
#
# Flow is a picture of arrows. The flow **from** frame $t$ **to** frame $t-1$ has at each pixel $p$ of frame $t$ an
# arrow $f(p) = (dx, dy)$: what is seen at $p$ now was at $p + f(p)$ before. To carry the old mask to the new frame,
# **fetch**:
#
# $$ \text{out}(p) = \text{image}\big(p + f(p)\big) $$
#
# That is **backward** warping, and every pixel of the result gets a value. (*Forward* warping throws each old pixel to
# where its arrow points. Some places are hit twice, some never: holes.) The place $p + f(p)$ lies between pixels, so
# the four around it are mixed by their nearness, *bilinearly*: with $a, b$ the fractions of $x, y$,
#
# $$ (1-a)(1-b)\, I_{00} + a(1-b)\, I_{01} + (1-a)b\, I_{10} + ab\, I_{11} $$
#
# This is differentiable, along the image and along the flow, so a network can be trained through it. Outside the image
# all is 0.
#
# *Shapes.* `image` `C,H,W` with `flow` `2,H,W`, or a batch `B,C,H,W` with `B,2,H,W`; floats. Flow is in pixels, channel
# 0 is $dx$ (along the columns). `F.grid_sample` does the mixing. It wants `B,H,W,2` places as $(x, y)$, counted from -1
# to 1; by `align_corners=False` these are the outer **edges** of the outer pixels, by `align_corners=True` their
# **centres**. Either will do; mixing them up will not.

# %% answer="lab3.warp"
def warp(image: torch.Tensor, flow: torch.Tensor) -> torch.Tensor:
    """out(p) = image(p + flow(p)), bilinear, 0 outside. image (B,)C,H,W; flow (B,)2,H,W of (dx, dy) in pixels."""
    ### BEGIN SOLUTION
    one = image.dim() == 3
    if one:
        image, flow = image[None], flow[None]
    h, w = image.shape[-2:]
    rows = torch.arange(h, dtype=flow.dtype)[:, None] + flow[:, 1]  # B,H,W: where to fetch
    columns = torch.arange(w, dtype=flow.dtype) + flow[:, 0]
    places = torch.stack([(columns + 0.5) * 2 / w - 1, (rows + 0.5) * 2 / h - 1], dim=-1)
    fetched = F.grid_sample(image, places.to(image.dtype), align_corners=False)
    return fetched[0] if one else fetched
    ### END SOLUTION


# %% check="lab3.warp" points=4
check("lab3.warp", warp)

# %% [markdown]
# Yours at work. Frame 5 of the first clip is made out of frame 4 and flow alone; beside it the difference to the real
# frame 5. Last, what throwing instead of fetching would have given: holes (black) where the object grew or the ground
# came out from behind it.

# %%
def thrown(frame, flow):
    """Forward warping: each pixel goes to the pixel that its arrow points to."""
    h, w = frame.shape[:2]
    y, x = np.mgrid[:h, :w]
    tx, ty = (np.rint(v).astype(int) for v in (x + flow[..., 0], y + flow[..., 1]))
    ok = (tx >= 0) & (tx < w) & (ty >= 0) & (ty < h)
    out = np.zeros_like(frame)
    out[ty[ok], tx[ok]] = frame[y[ok], x[ok]]
    return out


main = small(easy)
KIND = "exact" if main.backward_flow is not None else "dis"  # real clips know no exact flow
back, forth = between(main, 5, 4, KIND), between(main, 4, 5, KIND)
fetched = warp(as_tensor(main.frames[4]), as_tensor(back)).permute(1, 2, 0).numpy()
off = np.abs(fetched - main.frames[5]).mean(-1)
show.images([main.frames[4], colours(back), fetched.round().astype(np.uint8), np.minimum(off / 40, 1),
             thrown(main.frames[4], forth)],
            ["frame 4", f"flow 5 to 4 ({KIND})", "fetched", f"off by {np.median(off):.1f} grey levels", "thrown"],
            height=110)

# %% [markdown]
# ### How far can it be carried?
#
# The farther apart two frames are, the harder is their flow, and the more of the picture is in only one of them. Here
# frame $t$ is fetched out of frame $t - n$, with flow estimated between just these two (DIS, OpenCV's). Drag $n$.

# %%
def apart(frames_apart):
    t = len(main) - 1
    flow = dis(main.frames[t], main.frames[t - frames_apart])
    out = warp(as_tensor(main.frames[t - frames_apart]), as_tensor(flow)).permute(1, 2, 0).numpy()
    off = np.abs(out - main.frames[t]).mean(-1)
    on = main.masks[t] == main.ids[0]
    where = f"off by {off[on].mean():.0f} on the object" if on.any() else "the object is hidden"
    return show.images([main.frames[t - frames_apart], main.frames[t], out.clip(0, 255).astype(np.uint8),
                        np.minimum(off / 60, 1)],
                       [f"frame {t - frames_apart}", f"frame {t}", "fetched", where], height=120)


slider(apart, frames_apart=(1, len(main) - 1, 1, 3))

# %% [markdown]
# ### Carry a mask
#
# The smallest flow propagation of all: the old masks are fetched along, frame by frame, and that is the answer.

# %%
def exact_flow(clip, t, to):
    return between(clip, t, to, "exact")


def dis_flow(clip, t, to):
    return dis(clip.frames[t], clip.frames[to])


def as_moved(frame, moved):
    """Flow propagation alone: what was carried along is the answer."""
    return moved


looped("carried, exact", as_moved, exact_flow)
looped("carried, dis", as_moved, dis_flow)
KNOWN = [] if REAL else ["carried, exact"]
compare(["copy-first", "refine", *KNOWN, "carried, dis"], ALL_CLIPS)
if not REAL:
    predict.reveal("lab3.exact", run("carried, exact", easy).mean_j())
predict.reveal("lab3.estimated", run("carried, dis", easy).mean_j())

# %%
show.frames(twins, {"truth": twins.masks, **{n: run(n, twins).masks for n in [*KNOWN, "carried, dis"]}})

# %% [markdown]
# *Expected* (toy): about 0.6 on `easy` and 0.5 on `look-alike` with the exact flow, and no less with the estimated one.
# The flow is exact, and the mask is wrong? Look at the picture: it leaves a **ghost** behind. Ground that comes out
# from behind the object was hidden before. It fetches from where it would have been, and what was there is the mask of
# the object. Backward warping always finds something. Estimated flow is smooth, so it blurs its ghosts; section 4
# removes them.
#
# ### Move the hint along
#
# And now both: the network of lab 2 refines a mask, but the mask that it is given was carried along first, by **your**
# warp. This is *mask and flow propagation*, the second half of today's lecture, in three lines.

# %%
NETWORK = masktrack_module.new_network("lite0", pretrained=False)
load_into(NETWORK, "masktrack")
NETWORK.eval()


def refined(frame, moved):
    """The network looks at each object's moved mask; where it finds nothing, the moved mask stays the hint."""
    hints = (moved > 0.5).float()
    found = torch.sigmoid(NETWORK(frame[None].expand(len(hints), -1, -1, -1), hints))  # K,H,W
    seen = (found > 0.5).flatten(1).any(1)[:, None, None]
    return torch.where(seen, (found > 0.5).float(), hints)


looped("refine along flow", refined, dis_flow)
for n in (1, 6):
    compare(["refine", "carried, dis", "refine along flow"], [every(c, n) for c in ALL_CLIPS])
    print()

# %%
show.frames(fast, {"truth": fast.masks, "refine": run("refine", fast).masks,
                   "along flow": run("refine along flow", fast).masks})

# %% [markdown]
# *Expected* (toy): at full rate nothing is gained on `easy` and `look-alike`, since the hint was near enough (0.87 and
# 0.85). Where it was not, much is: 0.15 becomes 0.62 on `fast-motion`, and every sixth frame of `easy` 0.69 becomes
# 0.87. On `occlusion` it is worse (0.40 becomes 0.27): the moved mask goes over to what is in front. And a motion that
# flow cannot follow (`fast-motion`, every sixth frame) is lost either way.

# %% [markdown] quiz="lab3.q_fetch" points=1
# **To carry the mask of frame t-1 to frame t by backward warping, which flow is needed?**
#
# - a) From t-1 to t, since the object moves from there to here.
#   Wrong: that flow belongs to pixels of frame t-1. It would be the one for throwing, with holes.
# - b) From t to t-1, since each pixel of frame t must know where it came from.
#   Right: out(p) = mask(p + f(p)) is asked for every p of frame t, so the arrows must stand in frame t.
# - c) Either of the two, since the way back is minus the way there.
#   Wrong: minus, yes, but at another place: the arrow that begins at p ends elsewhere. For small, smooth motion the
#   difference is small; at the edges of what moves, which is where a mask ends, it is not.
# - d) From t to t+1, since the mask has to move on with the object.
#   Wrong: that flow says where things will be next, and nothing of where they were when the old mask was made.

# %%
keep(lab, "lab3.warp", warp)

# %% [markdown]
# ## 3 Where does flow come from?
#
# A pixel keeps its grey value while it moves: $I_2(p + d) = I_1(p)$. For a small $d$, to first order,
#
# $$ I_x\, d_x + I_y\, d_y = -I_t, \qquad I_t = I_2 - I_1 $$
#
# One equation, two unknowns: that is the **aperture problem**. Lucas and Kanade (1981) let all pixels of a window share
# one $d$, and solve by least squares. With $S_{ab}$ the **sum** of $I_a I_b$ over the window,
#
# $$ \begin{pmatrix} S_{xx} & S_{xy} \\ S_{xy} & S_{yy} \end{pmatrix} \begin{pmatrix} d_x \\ d_y \end{pmatrix}
#    = - \begin{pmatrix} S_{xt} \\ S_{yt} \end{pmatrix} $$
#
# for every pixel, with its own window around it. Where the matrix has no inverse (a flat wall, a straight edge) nobody
# can tell: by agreement the flow is **0 where the determinant is below $10^{-3}$**.
#
# *Shapes.* `first` and `second` are `H,W` float arrays of grey values in [0, 1], `window` an odd number. $I_x, I_y$ are
# central differences of `first` (`np.gradient`). Return `H,W,2` of $(d_x, d_y)$, from first to second. All pixels at
# once: `uniform_filter(a, window)` gives the *mean* over the window around each pixel. Near the border, where a window
# is not whole, anything goes.

# %%
from scipy.ndimage import uniform_filter

# %% answer="lab3.lucas_kanade"
def lucas_kanade(first: np.ndarray, second: np.ndarray, window: int = 15) -> np.ndarray:
    """Flow H,W,2 of (dx, dy) from first to second, H,W each: least squares over a window around each pixel."""
    ### BEGIN SOLUTION
    grad_y, grad_x = np.gradient(first.astype(np.float64))
    change = first.astype(np.float64) - second  # minus It

    def sums(a, b):
        return window * window * uniform_filter(a * b, window, mode="nearest")

    sxx, sxy, syy = sums(grad_x, grad_x), sums(grad_x, grad_y), sums(grad_y, grad_y)
    bx, by = sums(grad_x, change), sums(grad_y, change)
    determinant = sxx * syy - sxy * sxy
    clear = determinant > 1e-3
    inverse = np.divide(1.0, determinant, out=np.zeros_like(determinant), where=clear)
    return np.stack([(syy * bx - sxy * by) * inverse, (sxx * by - sxy * bx) * inverse], axis=-1)
    ### END SOLUTION


# %% check="lab3.lucas_kanade" points=4
check("lab3.lucas_kanade", lucas_kanade)

# %% [markdown]
# One step is right to first order, for less than a pixel or so. For longer ways the library calls it again and again,
# **from coarse to fine**: on a picture of an eighth of the size a motion of 8 pixels is one of 1. What is found there
# is doubled, the second picture is fetched back along it, and your step finds what is still missing.
#
# Yours alone, yours from coarse to fine, and DIS, against the truth. The numbers are mean errors on the object, in
# pixels.

# %%
def grey(frame):
    return cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY).astype(np.float64) / 255


def my_flow(a, b, window=9):
    """Your flow between two frames H,W,3: your step, from coarse to fine."""
    return coarse_to_fine(grey(a), grey(b), window, iterations=3, step=lucas_kanade)


def my_step(a, b, window=9):
    return np.asarray(lucas_kanade(grey(a), grey(b), window), np.float32)


METHODS = {"no flow at all": lambda a, b: np.zeros((*a.shape[:2], 2), np.float32), "one step": my_step,
           "coarse to fine": my_flow, "dis": dis}


def error(method, clip, t):
    """Mean length of what is wrong, on the object, in pixels."""
    on = clip.masks[t] == clip.ids[0]
    wrong = METHODS[method](clip.frames[t], clip.frames[t - 1]) - exact_flow(clip, t, t - 1)
    return np.linalg.norm(wrong, axis=-1)[on].mean()


if not REAL:
    seen = {c.name: [t for t in range(2, len(c), 3) if (c.masks[t] == c.ids[0]).any()] for c in CLIPS.values()}
    table([[c.name, *(float(np.median([error(m, c, t) for t in seen[c.name]])) for m in METHODS)]
           for c in CLIPS.values()], ["off by, in pixels", *METHODS])

# %%
a, b = twins.frames[5], twins.frames[4]
if HEIGHT is not None:
    a, b = small(twins).frames[5], small(twins).frames[4]
known = [] if REAL else [exact_flow(twins, 5, 4)]
show.images([a, *(colours(f) for f in (*known, my_step(a, b), my_flow(a, b), dis(a, b)))],
            ["frame", *(["exact"] if known else []), "one step", "coarse to fine", "dis"], height=110)

# %% [markdown]
# ### The window
#
# A small window sees too little: one edge, and the motion along it is anybody's guess. A large one sees two motions and
# mixes them. Drag it, and watch the outline of what moves.

# %%
def windows(window, pyramid):
    clip = small(twins)
    a, b = clip.frames[6], clip.frames[5]
    flow = my_flow(a, b, window) if pyramid else my_step(a, b, window)
    said = ""
    if clip.backward_flow is not None:
        off = np.linalg.norm(flow - exact_flow(clip, 6, 5), axis=-1)
        on = clip.masks[6] == clip.ids[0]
        rim = cv2.dilate(on.astype(np.uint8), np.ones((7, 7))) - cv2.erode(on.astype(np.uint8), np.ones((7, 7))) > 0
        said = f"off by {off[on & ~rim].mean():.2f} inside, {off[rim].mean():.2f} at the outline"
    return show.images([a, colours(flow)], ["frame 6", "your flow"], title=f"window {window}: {said}", height=220)


slider(windows, window=(3, 41, 2, 9), pyramid=True)

# %%
FLOWS = {}


def your_flow(clip, t, to):
    """Your flow between two frames of a clip, kept."""
    key = clip.name, clip.ids, t, to, lucas_kanade
    if key not in FLOWS:
        FLOWS[key] = my_flow(clip.frames[t], clip.frames[to])
    return FLOWS[key]


looped("carried, yours", as_moved, your_flow, uses=("lucas_kanade",))
looped("refine along yours", refined, your_flow, uses=("lucas_kanade",))
compare([*KNOWN, "carried, dis", "carried, yours", "refine along flow", "refine along yours"], ALL_CLIPS)

# %% [markdown]
# *Expected* (toy): one step alone is hardly better than nothing where things move by more than a pixel. From coarse to
# fine yours is off by 0.2 to 0.4 pixels on `easy` and `look-alike`, about half as much as DIS, and so carries the mask
# better: 0.69 and 0.85 against 0.58 and 0.64. As a hint for the network it makes no difference, because a pixel more or
# less is what the network corrects. At outlines, where a window sees two motions, it is off by a pixel, inside by a
# tenth.

# %% [markdown] quiz="lab3.q_aperture" points=1
# **A long straight edge, as of a table, moves through the window. What can Lucas and Kanade know?**
#
# - a) All of its motion, if the window is small enough.
#   Wrong: the smaller the window, the less it shows. Within one edge all slopes point the same way.
# - b) Nothing at all, since the grey values along an edge have no gradient.
#   Wrong: along the edge they have none, but across it the gradient is strong, and that much of the motion shows.
# - c) Only the part across the edge, since a motion along it changes nothing.
#   Right: so the matrix has no inverse, and that is the aperture problem. (That your function then gives 0 is an
#   agreement.) Corners and texture solve it; larger windows find more of those, at the price of mixing motions.
# - d) All of it, from coarse to fine: on a small picture its motion is short enough.
#   Wrong: short, but a motion along the edge is no easier to see there. An edge is an edge at any size.

# %%
keep(lab, "lab3.lucas_kanade", lucas_kanade)

# %% [markdown]
# ## 4 There and back
#
# Flow always answers, also for pixels that have no partner: hidden in the other frame, or gone. How to tell? Walk
# there, and ask the way back. With $f$ from frame 1 to 2 and $b$ from 2 to 1, a pixel is **consistent** if both arrows
# together are nearly nothing,
#
# $$ \lVert f(p) + \hat b \rVert^2 < \text{share}\,\big(\lVert f(p) \rVert^2 + \lVert \hat b \rVert^2\big) +
#    \text{least}, \qquad \hat b = b\big(p + f(p)\big), $$
#
# with $b$ read **where the pixel went**, bilinearly. (The bound grows with the motion, as errors do.) What leaves the
# frame is not consistent: $p + f(p)$ must lie between 0 and $W-1$, and 0 and $H-1$.
#
# *Shapes.* Both flows are `H,W,2` float32 arrays of $(dx, dy)$; return `H,W`, true or false. `cv2.remap(backward, x, y,
# cv2.INTER_LINEAR)` reads at places given by two float32 pictures.

# %% answer="lab3.consistent"
def consistent(forward: np.ndarray, backward: np.ndarray, share: float = 0.01, least: float = 0.5) -> np.ndarray:
    """Where there and back leads home: H,W bool. forward: from 1 to 2, backward: from 2 to 1, H,W,2 each."""
    ### BEGIN SOLUTION
    height, width = forward.shape[:2]
    grid = np.stack(np.meshgrid(np.arange(width), np.arange(height)), axis=-1)
    goal = (grid + forward).astype(np.float32)
    home = cv2.remap(backward.astype(np.float32), goal[..., 0], goal[..., 1], cv2.INTER_LINEAR)
    allowed = share * (np.sum(forward**2, axis=-1) + np.sum(home**2, axis=-1)) + least
    stays = np.all((goal >= 0) & (goal <= np.array([width - 1, height - 1])), axis=-1)
    return stays & (np.sum((forward + home) ** 2, axis=-1) < allowed)
    ### END SOLUTION


# %% check="lab3.consistent" points=3
check("lab3.consistent", consistent)

# %% [markdown]
# On the clip in which the object is hidden. White: what your check trusts, of estimated flow and of the exact one. Drag
# through the clip. Which of the two knows what is about to be hidden?

# %%
def trusted(frame):
    clip = small(hidden)
    a, b = clip.frames[frame], clip.frames[frame + 1]
    pictures = {"dis": consistent(dis(a, b), dis(b, a))}
    if clip.forward_flow is not None:
        pictures["exact"] = consistent(exact_flow(clip, frame, frame + 1), exact_flow(clip, frame + 1, frame))
    on = clip.masks[frame] == clip.ids[0]
    titles = [f"{n}: {p[on].mean():.0%} of the object" if on.any() else n for n, p in pictures.items()]
    return show.images([viz.overlay(a, clip.masks[frame]), b, *pictures.values()],
                       [f"frame {frame}", f"frame {frame + 1}", *titles], height=150)


slider(trusted, frame=(0, len(hidden) - 2, 1, len(hidden) // 3))

# %% [markdown]
# Now remember what the exact flow did in section 2: it left **ghosts**. Ground that comes out from behind the object
# fetches from where it was before, and there the old mask was. Such ground is visible in the new frame only, so there
# and back does not lead home. Set to 0 whatever is not consistent:

# %%
if not REAL:
    looped("exact, trusted", as_moved, exact_flow, trust=True)
looped("dis, trusted", as_moved, dis_flow, trust=True)
looped("yours, trusted", as_moved, your_flow, uses=("lucas_kanade",), trust=True)
PAIRS = [*KNOWN, *(["exact, trusted"] if KNOWN else []), "carried, dis", "dis, trusted", "carried, yours",
         "yours, trusted"]
compare(PAIRS, ALL_CLIPS)

# %%
show.frames(twins, {"truth": twins.masks, **{n: run(n, twins).masks for n in PAIRS[:4]}})

# %% [markdown]
# *Expected* (toy): with the exact flow the ghosts are gone: 0.60 becomes 0.89 on `easy`, 0.51 becomes 0.84 on
# `look-alike`, 0.35 becomes 0.90 on `fast-motion`. With estimated flow it hardly helps, and sometimes harms. DIS is
# smooth, so it agrees with itself where it is wrong: of an object that is about to be hidden the exact flow trusts a
# third, DIS all. Yours is wrong more openly where motion is fast, and then half of the object is thrown away.
# **Consistent is not correct**; inconsistent is certainly wrong.

# %% [markdown] quiz="lab3.q_hidden" points=1
# **The object is hidden behind a tree for five frames. Where does its carried mask go?**
#
# - a) It shrinks, and what is left of it sticks to the tree or its rim.
#   Right: what covers the object comes from outside the mask and brings none along. When the object comes out, there is
#   nothing to carry: flow links neighbours in time, and once a chain is broken, only a memory of the look can join it
#   again.
# - b) It waits behind the tree, since hidden pixels do not move.
#   Wrong: nobody tells flow that the object is still there. Flow is about what is seen.
# - c) It becomes empty at once: nothing can be fetched from hidden pixels.
#   Wrong: each pixel of the tree fetches from somewhere, and gets what the mask holds there.
# - d) It moves on at its last speed, and comes out on the other side when the object does.
#   Wrong: that is a motion model, as of a radar. Flow has none.

# %%
keep(lab, "lab3.consistent", consistent)

# %% [markdown]
# ## 5 Two streams: what it looks like, how it moves
#
# **FusionSeg** gets no mask at all (zero-shot). One stream looks at the frame and finds what *looks* like a thing. The
# other looks at the colour-coded flow and finds what *moves* like one. Each gives logits for background and object, and
# a few more layers learn to combine them. What is each of them blind to? Predict: mean J over the clips, and then on
# the first clip from the moment that it stands still.

# %%
predict("lab3.who_is_better", "motion", "appearance or motion: which stream alone has the higher J on the first clip?")
predict("lab3.motion_when_still", 0.50, "J of the motion stream after the object has stopped?")

# %% [markdown]
# First your own fusion. Two networks that were trained apart need not be equally loud: one may speak in logits of
# $\pm 2$, the other of $\pm 20$. So turn each into probabilities, and average those:
#
# $$ p = \frac1S \sum_s \operatorname{softmax}(z_s) $$
#
# *Shapes.* Any number of tensors `...,C,H,W` of logits of one shape; the channels (background, then objects) are
# **dimension -3**, whatever stands before. Return probabilities of the same shape.

# %% answer="lab3.average_streams"
def average_streams(*logits: torch.Tensor) -> torch.Tensor:
    """The mean over the streams of each one's softmax over the channels: ...,C,H,W each -> ...,C,H,W."""
    ### BEGIN SOLUTION
    total = torch.zeros_like(logits[0])
    for stream in logits:
        total = total + F.softmax(stream, dim=-3)
    return total / len(logits)
    ### END SOLUTION


# %% check="lab3.average_streams" points=2
check("lab3.average_streams", average_streams)

# %% [markdown]
# Loud and quiet: the same two opinions on one row of pixels, one stream made ever louder. Averaged logits follow the
# louder one; your average does not care.

# %%
def loud(louder):
    x = torch.linspace(-4, 4, 60)
    one, other = 1.5 * torch.tanh(x), -1.5 * torch.tanh(x - 1)  # they contradict each other
    pair = [torch.stack([torch.zeros(1, 60), v[None]]) for v in (louder * one, other)]
    figure = show.curves({"stream 1": pair[0].softmax(0)[1, 0], "stream 2": pair[1].softmax(0)[1, 0],
                          "logits averaged": (sum(pair) / 2).softmax(0)[1, 0],
                          "yours": average_streams(*pair)[1, 0]}, f"stream 1 is {louder} times louder", "p(object)")
    figure.axes[0].set_xlabel("pixel of the row")
    return figure


slider(loud, louder=(1, 20, 1, 8))

# %% [markdown]
# Now FusionSeg on the clips: each stream alone, with its own learnt fusion, and with **yours** in its place. And a film
# that stops: from frame 8 on it shows the same picture.

# %%
def stopped(clip, at=8):
    """The clip, standing still from frame `at` on (with a little noise of the sensor)."""
    def frame(t):
        if t <= at:
            return clip.frames[t]
        noise = np.random.default_rng(t).normal(0, 1.5, clip.frames[at].shape)
        return (clip.frames[at] + noise).round().clip(0, 255).astype(np.uint8)

    return replace(clip, frames=Lazy(len(clip), frame), masks=Lazy(len(clip), lambda t: clip.masks[min(t, at)]),
                   forward_flow=None, backward_flow=None, name=f"{clip.name}, stops at {at}")


system("appearance", lambda: registry.make("fusionseg-appearance", scale=SCALE))
system("motion", lambda: registry.make("fusionseg-motion", scale=SCALE))
system("fusionseg", lambda: registry.make("fusionseg", scale=SCALE))
system("fused by you", lambda: registry.make("fusionseg", scale=SCALE, fuse=average_streams), uses=("average_streams",))
FUSED = ("appearance", "motion", "fusionseg", "fused by you")
stops = stopped(easy)
compare(FUSED, [*CLIPS.values(), stops])

# %%
show.frames(easy, {"truth": easy.masks, **{n: run(n, easy).masks for n in FUSED}})

# %%
names = ("appearance", "motion")
predict.reveal("lab3.who_is_better", max(names, key=lambda n: run(n, easy).mean_j()))
predict.reveal("lab3.motion_when_still", float(run("motion", stops).J[stops.ids[0]][9:].mean()))
over_time(FUSED, stops, "the film stops at frame 8")

# %% [markdown]
# Read the table by rows, then by columns. On which clip is appearance blind, on which motion? What becomes of the
# motion stream in the last row, and what does each of the two fusions make of a stream that has fallen silent? An
# average has to take half of every error; a fusion that was learnt may have found out whom to trust, and when. And no
# column can do well on `look-alike`: nobody told these networks *which* one is meant.
#
# *Expected* (toy): on `easy` 0.79 by looks and 0.77 by motion, and 0.85 together: they err in different places. Your
# plain average is as good, so most of the gain is in having two opinions, little in having learnt how to weigh them.
# Once the film stops, motion's J is 0 from the next frame on; appearance, alone, keeps 0.84. Both fusions fall with the
# silent stream, to 0.34 and 0.44: neither has ever seen a film that stops.

# %% [markdown] quiz="lab3.q_still" points=1
# **A cat lies still for a minute while leaves blow past it. Which stream finds it?**
#
# - a) Motion, since the cat stands out by being the one thing that does not move.
#   Wrong: the ground lies still as well, and to this stream the two are one. What moves here are the leaves.
# - b) Neither, since what lies still is background by definition.
#   Wrong: in DAVIS's zero-shot task the object is what people would watch. They would watch the cat.
# - c) Both, since the average of two streams keeps what either has found.
#   Wrong: an average of one who knows and one who is wrong is half wrong. A fusion that has learnt *when* to trust
#   which does better.
# - d) Appearance, and only if cats look like what it was trained on.
#   Right: it sees things of familiar looks, moving or not, and cannot tell the one that matters from the sofa. Motion
#   finds the leaves.

# %%
keep(lab, "lab3.average_streams", average_streams)

# %% [markdown]
# ## 6 Where is the RNN in MaskRNN?
#
# MaskRNN warps the last mask of each object along flow, shows it to two networks (one sees the frame, one how fast
# everything moves, back and ahead), adds their logits, and cuts away what lies outside a box around the object. The
# lecture asks where in it the recurrent network is. Look for it: what goes around in a circle? The wrapper below stands
# around
# **your** warp, inside the real network, and writes down what passes.

# %%
class Watched:
    """Your warp, with a diary: size and middle of the mask that comes in, and of what it becomes."""

    def __init__(self):
        self.seen = []

    def __call__(self, image, flow):
        out = warp(image, flow)
        self.seen.append((self.about(image), self.about(out)))
        return out

    @staticmethod
    def about(mask):
        mask = mask.detach().reshape(-1, *mask.shape[-2:]).amax(0)
        y, x = torch.nonzero(mask > 0.5, as_tuple=True)
        return (len(x), float(x.float().mean()), float(y.float().mean())) if len(x) else (0, np.nan, np.nan)


diary = Watched()
result = engine.run(registry.make("maskrnn", scale=SCALE, steps=0, warp=diary), easy, height=HEIGHT)
rows = []
for t, (before, after) in enumerate(diary.seen[-(len(easy) - 1):], 1):
    if t in (1, 2, 3, 4, len(easy) - 1):
        rows.append([f"frame {t}", before[0], after[0], f"{after[1] - before[1]:+.1f}, {after[2] - before[2]:+.1f}",
                     int((small(replace(easy, masks=list(result.masks))).masks[t] == easy.ids[0]).sum())])
table(rows, ["", "mask in (px)", "warped (px)", "moved by", "new mask (px)"])

# %% [markdown]
# Each line's *new mask* is the next line's *mask in*. That circle is the recurrence: **the mask is the hidden state**,
# the warp and the two networks are the cell, and training runs back through several frames of it. There is no LSTM
# anywhere. The proof: cut the circle. In place of your warp, we hand over the last mask *not moved*, always the *first*
# mask, or *nothing*.

# %%
class Cut:
    """Stands in for your warp. "unmoved": the last mask where it was; "first": always the first one; "nothing"."""

    def __init__(self, kind):
        self.kind, self.first = kind, None

    def __call__(self, image, flow):
        self.first = image if self.first is None or self.first.shape != image.shape else self.first
        return {"unmoved": image, "first": self.first, "nothing": torch.zeros_like(image)}[self.kind]


system("maskrnn", lambda: registry.make("maskrnn", scale=SCALE, steps=0, warp=warp), uses=("warp",))
system("maskrnn, unmoved", lambda: registry.make("maskrnn", scale=SCALE, steps=0, warp=Cut("unmoved")))
system("maskrnn, first", lambda: registry.make("maskrnn", scale=SCALE, steps=0, warp=Cut("first")))
system("maskrnn, nothing", lambda: registry.make("maskrnn", scale=SCALE, steps=0, warp=Cut("nothing")))
RNN = ("maskrnn", "maskrnn, unmoved", "maskrnn, first", "maskrnn, nothing")
compare(RNN, ALL_CLIPS)

# %%
over_time(RNN, easy)

# %% [markdown]
# Compare the columns. *Nothing* is no recurrence at all: what is left is a network that was never told which object.
# The *first* mask is a hint that the object leaves behind. *Unmoved* is lab 2, and its difference to the real one is
# what the warp is worth: look for it where things are fast.
#
# *Expected* (toy): on `easy` 0.87 with the warp and without it, 0.58 with the first mask (and falling from frame to
# frame), 0 with nothing. On `fast-motion` 0.67 with the warp and 0.15 without. On `re-entry` *nothing* does best, 0.40:
# where the true recurrence goes on with whatever was near when the object left, a network that was told nothing takes
# what stands out, and that is the object, when it is back.

# %% [markdown] quiz="lab3.q_rnn" points=1
# **Where is the RNN in MaskRNN?**
#
# - a) In the optical flow, which is summed up over frames.
#   Wrong: flow is computed anew for each pair of frames, and nothing of it is kept.
# - b) In the box that is regressed: its coordinates go through an LSTM.
#   Wrong: there is no LSTM. The box is found anew in every frame, from the warped mask and the features inside it.
# - c) In the masks: the output for frame t, warped, is the input for frame t+1.
#   Right: the mask is the hidden state, and training runs back through this loop. It is a recurrence whose state can be
#   looked at. It holds *where*, and nothing of *what*: an object that is hidden takes its state with it. Stage 4 lets
#   the network decide what to keep.
# - d) Nowhere: both networks see one frame at a time, so the name is a mistake.
#   Wrong: each call sees one frame, and the mask of the last one. Unrolled over frames it is a recurrent network, only
#   with a very thin state.

# %% [markdown]
# ## 7 One stream or two?
#
# LucidTracker warps the last mask along, and then? Either **two streams**, one that sees the frame and one that sees
# how fast everything moves, each with the warped mask, and their answers are averaged. Or **one stream** that is given
# all of it at once. Same parts, same training. In the paper (without fine-tuning, DAVIS-2016) two streams reach 80.9
# and one reaches 80.3. Before you look: here? All are without fine-tuning.

# %%
predict("lab3.two_minus_one", 0.00, "mean J over the clips: two streams minus one?")
predict("lab3.time_ratio", 1.0, "seconds a frame: two streams over one?")

# %%
from vos_teach.flow_propagation import lucidtracker as lucid_module

system("two streams", lambda: registry.make("lucidtracker", scale=SCALE, steps=0, warp=warp, fuse=average_streams),
       uses=("warp", "average_streams"))
system("one stream", lambda: registry.make("lucidtracker-one-stream", scale=SCALE, steps=0, warp=warp), uses=("warp",))


def parameters(streams):
    net = lucid_module.new_network("lite0", pretrained=False, streams=streams)
    return sum(p.numel() for p in net.parameters()) / 1e6


def mean_over_clips(name, measure):
    return float(np.mean([getattr(run(name, c), measure) if measure == "step" else getattr(run(name, c), measure)()
                          for c in CLIPS.values()]))


table([[name, parameters(n), mean_over_clips(name, "step"), mean_over_clips(name, "mean_j"),
        mean_over_clips(name, "mean_f")] for name, n in (("two streams", 2), ("one stream", 1))],
      ["your warp, your average inside", "million parameters", "s a frame", "J", "F"])
predict.reveal("lab3.two_minus_one", mean_over_clips("two streams", "mean_j") - mean_over_clips("one stream", "mean_j"))
predict.reveal("lab3.time_ratio", mean_over_clips("two streams", "step") / mean_over_clips("one stream", "step"))

# %%
ALL = ("refine", "refine along flow", "maskrnn", "two streams", "one stream")
for n in (1, 6):
    compare(ALL, [every(c, n) for c in ALL_CLIPS])
    print()

# %%
show.frames(fast, {"truth": fast.masks, **{n: run(n, fast).masks for n in ("refine", "two streams", "one stream")}})

# %% [markdown]
# *Expected* (toy): 0.57 for one stream and 0.55 for two, over the clips; one has half the parameters and two thirds of
# the time. Clip by clip they change places: on `fast-motion`, which is not in that mean, two have 0.73 and one 0.51
# (lab 2: 0.15), on `look-alike` seen every sixth frame one has 0.81 and two 0.57; and on `occlusion` and `re-entry`
# flow is of no use to either. Is the difference in J larger than what another clip more or less would change? Ours are
# five short films; the paper's are twenty, with one training of each design.

# %% [markdown] quiz="lab3.q_which" points=1
# **One stream or two: 80.3 against 80.9 in the paper. Which would you use, and why?**
#
# - a) One stream: as good within what chance does, and half as large.
#   Right: that is the paper's own choice. Another input (say, semantics) is then one more channel instead of one more
#   network.
# - b) Two streams, since 80.9 against 80.3 proves them better.
#   Wrong: 0.6 points, from one training of each, prove nothing: would another seed not change as much? And they cost
#   twice the parameters and more time.
# - c) One stream, since it needs no flow, and flow is not worth 0.6 points.
#   Wrong: the one stream sees flow too, as a channel, and through the warped mask.
# - d) Two streams, since one network cannot take different kinds of input.
#   Wrong: channels may hold anything. The first layer learns what to do with each.

# %% [markdown]
# ## 8 Many objects in one pass
#
# So far each object had a pass of its own: five objects, five times the work. The other way: **a channel for each
# object**, in and out. In go N mask channels beside the frame; a clip with fewer objects leaves some at 0. Out come
# N + 1 logits, background first, and **one softmax over all of them**, so that no pixel is promised twice.
#
# First the way in. The network has `slots` mask channels, always; a clip has K objects, at most `slots`.
#
# *Shapes.* `masks` is `K,H,W`, booleans or probabilities; return `slots,H,W` **floats**: object k in channel k, zeros
# in the rest. K may be 0.

# %% answer="lab3.mask_channels"
def mask_channels(masks: torch.Tensor, slots: int) -> torch.Tensor:
    """K,H,W masks or probabilities in their slots: slots,H,W float, zeros in the free ones."""
    ### BEGIN SOLUTION
    channels = torch.zeros(slots, *masks.shape[-2:])
    channels[: masks.shape[0]] = masks
    return channels
    ### END SOLUTION


# %% check="lab3.mask_channels" points=2
check("lab3.mask_channels", mask_channels)

# %% [markdown]
# Then the way out. Slots that are free must not take part: a network trained with up to five objects has five opinions,
# also where there are two. An absent object gets probability **exactly 0**, and the others share what there is:
#
# $$ p_c = \frac{[c \text{ is there}]\; e^{z_c}}{\sum_{c' \text{ there}} e^{z_{c'}}}, \qquad \text{the background always
#    is} $$
#
# *Shapes.* `logits` is `...,N+1,H,W`, background first; `present` is `N` or `...,N` bool: which slots are taken. Return
# probabilities like `logits`.

# %% answer="lab3.softmax_over_objects"
def softmax_over_objects(logits: torch.Tensor, present: torch.Tensor) -> torch.Tensor:
    """One softmax over background and the objects that are there, dimension -3; absent ones are exactly 0."""
    ### BEGIN SOLUTION
    known = F.pad(present, (1, 0), value=True)  # the background comes first
    barred = torch.where(known[..., None, None], 0.0, -torch.inf)
    return F.softmax(logits + barred, dim=-3)
    ### END SOLUTION


# %% check="lab3.softmax_over_objects" points=2
check("lab3.softmax_over_objects", softmax_over_objects)

# %% [markdown]
# Your own clip has two objects that look alike. Its masks in five slots, by your function; then what one pass of
# LucidTracker's network makes of them in the next frame, through your softmax. Slots 3 to 5 must be black.

# %%
mine = lab.own
net = lucid_module.new_network("lite0", pretrained=False, streams=1)
load_into(net, lucid_module.SHIPPED[1])
net.eval()


def next_frame(clip):
    """Frame 1 of a clip in one pass: N+1,H,W probabilities. Your mask_channels, warp and softmax_over_objects."""
    flow = as_tensor(dis(clip.frames[1], clip.frames[0]))
    moved = warp(mask_channels(clip.objects(0), net.slots), flow)
    maps = lucid_module.maps_of(clip.frame(1), flow)
    with torch.no_grad():
        logits = net(*(v[None] for v in (clip.frame(1), maps, moved)))[0]
    return softmax_over_objects(logits, torch.arange(net.slots)[None] < len(clip.ids))[0]


show.images([small(mine).frames[0], *mask_channels(small(mine).objects(0), net.slots)],
            ["frame 0", *(f"in: slot {k + 1}" for k in range(net.slots))], height=80)

# %%
show.images([small(mine).frames[1], *next_frame(small(mine))],
            ["frame 1", "background", *(f"out: slot {k + 1}" for k in range(net.slots))], height=80)

# %% [markdown]
# ### N passes or N channels: measure
#
# Clips with one to five objects, all tracked, by the same network: once in one pass, once object by object. Your
# softmax is inside.

# %%
def crowd(objects):
    return toy.clip(40 + objects, length=8, objects=objects, split="val", name=f"{objects} objects", distractors=0,
                    stickers=0)


COUNTS = (1, 2, 3, 4, 5)
for passes in ("one", "each"):
    system(f"{passes} pass" if passes == "one" else "a pass each",
           lambda passes=passes: registry.make("lucidtracker-one-stream", scale=SCALE, steps=0, passes=passes,
                                               over=softmax_over_objects, warp=warp),
           uses=("softmax_over_objects", "warp"))
WAYS = ("one pass", "a pass each")
crowds = {n: crowd(n) for n in COUNTS}
table([[f"{n} objects", *(v for way in WAYS for v in (run(way, crowds[n]).mean_j(), run(way, crowds[n]).step))]
       for n in COUNTS], ["", *(f"{way}: {what}" for way in WAYS for what in ("J", "s a frame"))])
figure, axes = viz.axes_of(5.2, 2.6, "objects", "seconds a frame")
for way in WAYS:
    axes.plot(COUNTS, [run(way, crowds[n]).step for n in COUNTS], marker="o", label=way)
axes.set_ylim(0)
axes.legend(frameon=False)
show.described(figure, "Seconds a frame against the number of objects, in one pass and in a pass for each")

# %%
show.frames(crowds[4], {"truth": crowds[4].masks, **{way: run(way, crowds[4]).masks for way in WAYS}})

# %% [markdown]
# *Expected* (toy): with one object or two both ways are equally good. In one pass the time of a frame hardly grows with
# the number of objects; in a pass each, five take three times as long as one. The price shows from three objects on: J
# 0.73 against 0.87, and 0.46 against 0.64 with five, as these weights were trained mostly on frames with one or two
# objects, so that slots 3 to 5 were used less. A channel costs nothing to add, and must be trained all the same.
# (Fine-tuning on dreams of frame 0, with all its objects in them, does just that: the lecture's page 3 has the figures
# of a real clip with five.)

# %% [markdown] quiz="lab3.q_one_pass" points=1
# **How could these architectures handle several objects in one pass?**
#
# - a) By one mask channel that holds the ids 1, 2, 3: it has room for any number.
#   Wrong: object 3 is not three times object 1; the numbers would mean an order that is not there, and at outlines
#   bilinear sampling would make a 2 between 1 and 3.
# - b) By a mask channel and an output for each object, and one softmax over all.
#   Right: the background has an output, too. There is room for N from the start, with free channels at 0 and absent
#   objects kept out of the softmax. Time hardly grows, and objects compete for pixels inside the network, where it can
#   learn how.
# - c) By running the network once for each object, then taking the best.
#   Wrong: that is what they do without it: N passes.
# - d) Not at all: the mask says which object is meant, and only one can be.
#   Wrong: a mask *channel* is for one object. There may be several.

# %%
keep(lab, "lab3.mask_channels", mask_channels)
keep(lab, "lab3.softmax_over_objects", softmax_over_objects)

# %% [markdown]
# ## 9 Your own clip: ask for either object
#
# Each system is asked for one object, then for the other, and gives its J on both. The last line asks for both at once.

# %%
rows = []
for name in ("refine", "carried, dis", "refine along flow", "maskrnn", "one stream"):
    for k in mine.ids:
        one = replace(mine, ids=(k,), name=f"{mine.name}, object {k}")
        masks, frames = run(name, one).masks, scored(mine)
        found = np.stack([masks[t] == k for t in frames])
        j = {other: jaccard(found, np.stack([mine.masks[t] == other for t in frames])).mean() for other in mine.ids}
        rows.append([name, k, float(j[k]), *(float(v) for other, v in j.items() if other != k)])
table(rows, ["own clip", "asked for", "J of it", *["J of the other"] * (len(mine.ids) - 1)])
both = run("one pass", mine)
print("both in one pass: " + ", ".join(f"J of object {k} {both.J[k].mean():.3f}" for k in mine.ids))

# %%
show.frames(mine, {"truth": [m if m is not None else np.zeros(mine.size, np.uint8) for m in mine.masks],
                   **{name: run(name, mine).masks for name in ("refine", "carried, dis", "one pass")}})

# %% [markdown]
# *Expected* (the shipped clip): moved along flow the hint does a little better than standing still, 0.69 and 0.71
# against 0.65 and 0.66, with less than 0.1 on the other one. Flow alone has 0.69 for object 1 and 0.39 for object 2,
# which is dragged out along the ghosts of what passes behind it. MaskRNN is best for object 2 (0.76). And both in one
# pass: 0.70, but 0.26, where object 2 alone has 0.60. Objects compete inside the network, and nobody referees.
#
# ## 10 With fine-tuning, and the score card
#
# As in labs 1 and 2, a copy of the network may learn this object from frame 0 first, here from lucid dreams of it.
# With your functions inside; on the first clip and on the fast one.

# %%
system("maskrnn, tuned", lambda: registry.make("maskrnn", scale=SCALE, steps=30, warp=warp), uses=("warp",))
system("lucidtracker", lambda: registry.make("lucidtracker", scale=SCALE, steps=30, warp=warp, fuse=average_streams),
       uses=("warp", "average_streams"))
TUNED = ("masktrack", "maskrnn", "maskrnn, tuned", "two streams", "lucidtracker")
compare(TUNED, [easy, fast])

# %% [markdown]
# *Expected* (toy): lab 2's MaskTrack, once tuned, has 0.89 and 0.76: having learnt the look, it finds a fast object
# again although its hint stood still. Flow and fine-tuning are two cures for the same illness, and they add up: MaskRNN
# on `fast-motion` goes from 0.67 to 0.85, two streams from 0.73 to 0.85. One costs some milliseconds in every frame,
# the other some seconds before the first.

# %%
for name in ("refine along flow", "fusionseg", "maskrnn", "two streams", "one stream"):
    for c in CLIPS.values():
        r = run(name, c)
        seconds = r.seconds() if np.isfinite(r.step) else None
        card.add(lab, name, c, J=r.mean_j(), F=r.mean_f(), T=float(np.nanmean(r.T)), seconds_per_frame=seconds)
card.show(lab)

# %% [markdown]
# The best picture of today, and the new failure:

# %%
show.frames(fast, {"truth": fast.masks, "lab 2": run("refine", fast).masks, "lab 3": run("two streams", fast).masks},
            title="better: it is fast")

# %%
show.frames(away, {"truth": away.masks, "two streams": run("two streams", away).masks,
                   "maskrnn": run("maskrnn", away).masks}, title="not better: it leaves, and comes back")

# %% [markdown] manual="lab3.reflection" points=4
# **Which would you use, and why?** A wildlife station films a waterhole with a cheap camera: five frames a second, the
# animals often stand still, several at a time, and trees hide them. Nobody paints more than the first mask of each
# animal. Choose among what you met today (flow alone, refining along flow, FusionSeg, one or two streams, one pass or a
# pass each) and defend it. Give **two numbers that you measured** today, **one failure of flow** that you saw with its
# cause, say **what your choice does when an animal is hidden** and how one could notice, and name **one thing that no
# system of today can do** and what it would need for it. About ten sentences.
#
# ### BEGIN SOLUTION
# *One good answer among several.* One stream with warped masks, all animals in one pass. At five frames a second the
# animals move further than lab 2's hint reaches (measured: J of `refine` on every sixth frame against the same along
# flow), so the masks must be moved along first. FusionSeg is no choice: nobody asks for "what moves", animals that
# stand still are invisible to its motion stream (measured: its J after the film has stopped), and it cannot tell one
# animal from the next. One stream and two differed by less than another seed would, while two cost nearly twice the
# time; one pass keeps the time the same for five animals as for one. The failure that I saw: behind the occluder the
# carried mask shrank and what was left stayed at the trunk, since flow fetches from what is seen, and a hidden animal
# is not. The check there and back notices it: the share of consistent pixels on the animal falls in the frames before.
# Then one should stop, keep the last good mask, and ask a person or wait. No system of today remembers what the animal
# looked like, so none can find it again on the other side of the tree; that needs a memory of features, or at least a
# state that is more than a mask, trained on clips in which things vanish and return.
#
# *Marking:* one point each for a choice that fits the conditions, with reasons; two measured numbers used correctly; a
# failure of flow with its cause; what happens when hidden, how to notice it, and what is missing altogether.
# ### END SOLUTION

# %% [markdown]
# ## 11 What to take home, and what breaks
#
# - **Backward warping** fetches for each new pixel, bilinearly: no holes, and gradients pass. Mind the direction of the
#   flow, (dx, dy), and `align_corners`.
# - **Flow** is least squares over a window: blind to flat walls, ambiguous at edges, wrong at outlines. **There and
#   back** tells where.
# - **Appearance** finds what looks like a thing, **motion** what moves like one. Fusing pays because they fail at
#   different times. Average probabilities, not logits.
# - **MaskRNN**: the mask is the hidden state. **LucidTracker**: one stream does as well as two. **Several objects**: a
#   channel each, one softmax.
# - What breaks: whatever is not seen. Flow links neighbours in time, and its chain breaks behind the first tree. The
#   flow was made for another task, and no error of a mask ever reaches it: this system is not trained as a whole.
#
# The state that we hand on is a mask: where, and nothing of what. **Lab 4** lets the network decide what to remember,
# over time and over objects.
#
# *Reading.* Lucas and Kanade, *An iterative image registration technique* (IJCAI 1981): six pages. Jain et al.,
# *FusionSeg* (CVPR 2017): section 3. Hu et al., *MaskRNN* (NIPS 2017): figure 1 and section 3. Khoreva et al., *Lucid
# data dreaming for video object segmentation* (IJCV 2019): section 3 and the table on streams.
