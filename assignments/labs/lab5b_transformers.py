# Lab 5b, transformers. Source of notebooks/lab5b_transformers.ipynb: `vos-teach labs build` writes that.
# Answers are between BEGIN and END SOLUTION. In the student's notebook every cell must either run or raise
# NotAttempted, so a cell never uses what another cell computed with the student's functions: it calls `run` (cached).

# %% [markdown]
# # Lab 5b - Transformers: attention everywhere, made affordable
#
# *About two hours for you, six minutes of computing at most on two CPU cores (`SCALE = "toy"`).*
#
# In lab 5a a pixel looked up its like in frames that were kept. Today everything looks at everything: places of a clip
# at each other, objects at what is *not* they, one pass at all objects, and a whole clip at a few questions. Each of
# these has a price, and an idea that makes it affordable. At the end, the whole course on one plot and in one film.
#
# When you are done you can
#
# - write **sparse attention** along rows, columns and time lines, and say what it costs and how far it reaches;
# - count the **layers** after which every place has heard of every other one;
# - match with the object **and with all that is not it**, and say which of the two tells twins apart (CFBI);
# - give all objects **identities** in one map, drawn anew for each clip, and segment them in one pass (AOT);
# - match queries with instances **once for a clip** (VisTR), and say what that teaches an identity;
# - defend a choice among five stages with **your own numbers**.
#
# Every exercise has the same form: the idea, a function to write, `check(...)`, and a picture of **your** function at
# work. Stuck? `hint("lab5b.grid_attention")` gives a nudge; call it again for more.

# %% setup

# %% [markdown]
# Our tool box for today, as in lab 5a: `run(name, clip)` runs a system on a clip and scores it with **your** J and F.
# What a zero-shot system finds has no names, so its slots are matched with the objects first, by the mean J over the
# clip. Results are kept until you change one of your functions.

# %%
import functools
from dataclasses import dataclass, replace

import numpy as np
import torch
import torch.nn.functional as F
from scipy.optimize import linear_sum_assignment

from vos_teach import engine, registry, viz
from vos_teach.data import toy
from vos_teach.lab import cost, film
from vos_teach.metrics import temporal_stability
from vos_teach.ops import sparse
from vos_teach.ops.sparse import dense_attention, grid_mask
from vos_teach.segmenter import given
from vos_teach.transformers import cfbi as cfbi_module
from vos_teach.transformers import vistr as vistr_module
from vos_teach.transformers.vistr_training import cost as price_of
from vos_teach.transformers.vistr_training import instances
from vos_teach.weights import load_into

jaccard = recall_operator(lab, "lab0.jaccard")
boundary_f = recall_operator(lab, "lab0.boundary_f")
match_proposals = recall_operator(lab, "lab0.match_proposals")
soft_aggregate = recall_operator(lab, "lab5a.soft_aggregate")

REAL = SCALE == "small" and len(lab.real) > 0  # real DAVIS, where it is present
CLIPS = dict(list(lab.real.items())[:4]) if REAL else dict(lab.clips)
STEPS = 40  # of fine-tuning, where a system is fine-tuned


def height(clip):
    """Real frames are made smaller, as the networks were trained; toy frames are small already."""
    return 240 if clip.size[0] > 240 else None


def small(clip):
    return clip if height(clip) is None else clip.resize(height(clip))


def padded(maps):
    """...,H,W -> the same with both sizes multiples of 16: a cell of the features is 8 or 16 pixels high and wide."""
    h, w = maps.shape[-2:]
    lead = maps.shape[:-2]
    grown = F.pad(maps.float().reshape(-1, 1, h, w), (0, -w % 16, 0, -h % 16), mode="replicate")
    return grown.reshape(*lead, *grown.shape[-2:])


def masks_of(clip, t):
    """The true masks of a frame, K,H,W bool, in the order of clip.ids."""
    c = small(clip)
    return padded(c.objects(t, c.ids)) > 0.5


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

    def quality(self):  # J&F
        return (self.mean_j() + self.mean_f()) / 2

    def steady(self):  # T; None where nothing was found to be compared
        return float(np.nanmean(self.T)) if np.isfinite(self.T).any() else None

    def seconds(self):  # per frame, with the start spread over the clip
        return (self.start + self.step * (len(self.masks) - 1)) / len(self.masks)


BUILD, DONE, MAKE = {}, {}, {}


def system(name, build, uses=()):
    """Give a system a name. build() makes a segmenter. uses: names of your functions inside it."""

    def work(clip):
        segmenter = build()
        result = engine.run(segmenter, clip, height=height(clip))
        masks = list(result.masks)
        if segmenter.task == "zero-shot":
            masks = named(masks, clip)
        return masks, result.start_seconds, float(np.mean(result.step_seconds))

    BUILD[name], MAKE[name] = (work, uses), build


def scored(clip):
    """DAVIS's rule for one-shot: neither the first frame, which was given, nor the last."""
    frames = [t for t in range(1, len(clip)) if clip.masks[t] is not None]
    return frames[:-1] if len(frames) > 2 else frames


def named(masks, clip):
    """A zero-shot system's slots under the names of the objects that they fit best, over the whole clip."""
    frames = scored(clip)
    found = range(1, 1 + max(int(m.max()) for m in masks))
    truth = {k: np.stack([clip.masks[t] == k for t in frames]) for k in clip.ids}
    rows = [[float(jaccard(np.stack([masks[t] == p for t in frames]), t_k).mean()) for p in found]
            for t_k in truth.values()]
    names = np.zeros(256, np.uint8)
    for g, p in match_proposals(np.array(rows).reshape(len(clip.ids), len(found))) if len(found) else []:
        names[found[p]] = clip.ids[g]
    return [names[m] for m in masks]


def yours(name):
    """Your functions inside a system, as they are now."""
    return tuple(globals().get(u) for u in BUILD[name][1])


def run(name, clip):
    key = (name, clip.name, clip.ids, yours(name))
    if key not in DONE:
        masks, start, step = BUILD[name][0](clip)
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


def crowd(objects, seed=40):
    """A toy clip in which several objects are asked for, and nothing else moves."""
    return toy.clip(seed + objects, length=10, objects=objects, split="val", name=f"{objects} objects", distractors=0,
                    stickers=0)


easy, hidden, twins, away = lab.clips.values()  # toy clips, whatever the scale: they show what they are named after
ALL_CLIPS = list(CLIPS.values())
COUNTS = (1, 2, 3, 4, 5)
CROWDS = {n: crowd(n) for n in COUNTS}

# %% [markdown]
# ## 1 Where lab 5a left us
#
# The best of lab 5a: what left was looked up when it came back. And its failure: STM keeps the frame before, reads its
# own mistakes from it, and its mask withers.

# %%
card.show(lab)

# %%
system("stcn", lambda: registry.make("stcn", scale=SCALE))
system("stm", lambda: registry.make("stm", scale=SCALE))
show.frames(away, {"truth": away.masks, "stcn": run("stcn", away).masks}, title="it left, and it was looked up")

# %%
show.frames(twins, {"truth": twins.masks, "stm": run("stm", twins).masks},
            title="and here its own mistakes were remembered")

# %% [markdown]
# ## 2 Attention over space and time, made affordable
#
# STM's look-up goes from the new frame to memory, once. A transformer lets **every** place of a block of T x H x W look
# at **every** other one, layer after layer, so that what has been found out here is heard there. The price is a score
# for each pair of places: $(THW)^2$. Eight frames of 240p at stride 8 are 12,960 places, and 168 million pairs, for one
# layer and one head.
#
# **SSTVOS** (Duke et al., 2021; the lecture's *sparse transformers*) lets each place see a few only. In its **grid**
# pattern these are its own row, its own column, and its own **time line**: the same place in all frames. That is
# $W + H + T - 2$ places instead of $THW$. Let $G(n)$ be those of place $n$, **itself once**:
#
# $$ o_n = \sum_{m \in G(n)} \frac{e^{q_n \cdot k_m}}{\sum_{m' \in G(n)} e^{q_n \cdot k_{m'}}}\; v_m $$
#
# One softmax over all of them, and scores as they are: SSTVOS does not divide by $\sqrt C$.
#
# *Shapes.* `q` and `k` are `C,T,H,W`, `v` is `Cv,T,H,W`; return like `v`, differentiable along all three. Mind two
# things. A place lies in its own row, in its own column and in its own time line: it must not count three times. And
# hiding places behind a **mask** is no saving: what is hidden has been computed. Nowhere may a tensor hold a number for
# each pair of places, and `check` looks.

# %% answer="lab5b.grid_attention"
def grid_attention(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
    """q, k C,T,H,W, v Cv,T,H,W -> like v: each place attends to its row, its column and its time line, self once."""
    ### BEGIN SOLUTION
    t, h, w = q.shape[1:]
    rows = torch.einsum("cthw,cthx->thwx", q, k)
    columns = torch.einsum("cthw,ctyw->thwy", q, k)
    times = torch.einsum("cthw,cshw->thws", q, k)
    columns = columns.masked_fill(torch.eye(h, dtype=torch.bool)[None, :, None], -torch.inf)  # self is in the row
    times = times.masked_fill(torch.eye(t, dtype=torch.bool)[:, None, None], -torch.inf)
    p = torch.softmax(torch.cat([rows, columns, times], dim=-1), dim=-1)  # T,H,W,W+H+T
    row, column, time = p.split([w, h, t], dim=-1)
    return (torch.einsum("thwx,cthx->cthw", row, v) + torch.einsum("thwy,ctyw->cthw", column, v)
            + torch.einsum("thws,cshw->cthw", time, v))
    ### END SOLUTION


# %% check="lab5b.grid_attention" points=5
check("lab5b.grid_attention", grid_attention)

# %% [markdown]
# What can the place in the middle have heard of? One layer: its cross in its own frame, and one place in each other
# frame. And two, and three? Predict when it has heard of **all** places, then drag `layers`.

# %%
predict("lab5b.layers", 2, "layers of grid attention until every place has heard of every other one?")

# %%
# the library's: a window around each place; all that is a multiple of a stride away
OTHERS = {"local": sparse.local_attention, "strided": sparse.strided_attention}
BLOCK = (3, 12, 20)  # frames of 96 x 160 at stride 8


def heard(attention, layers, size=BLOCK):
    """T,H,W of 0 and 1: what the place in the middle has heard of. Seeing is mutual: who hears it is whom it hears."""
    silent, known = torch.zeros(1, *size), torch.zeros(1, *size)
    known[(0, *(n // 2 for n in size))] = 1.0
    for _ in range(layers):
        known = (attention(silent, silent, known) > 0).float()
    return known[0]


def reach(layers, pattern):
    known = heard(OTHERS.get(pattern, grid_attention), layers)
    return show.images(list(known), [f"frame {t}" for t in range(len(known))], height=110,
                       title=f"{pattern}, layers: {layers}. Heard of {float(known.mean()):.1%} of all places")


slider(reach, layers=(0, 6, 1, 1), pattern=["grid", "local", "strided"])

# %%
show.curves({name: [float(heard(OTHERS.get(name, grid_attention), n).mean()) for n in range(6)]
             for name in ("grid", "local", "strided")}, "share of all places that the middle one has heard of",
            "share")

# %% [markdown]
# ### What does it cost?
#
# Measured: seconds of the processor, and the most that is held at once, as the clip grows. Dense attention against
# yours, on blocks of 12 x 20 places. First predict: with four frames of 240p (4 x 30 x 54 places), how many times as
# long does dense attention take?

# %%
predict("lab5b.cheaper", 5.0, "time of dense attention over time of yours, at 4 x 30 x 54 places?")

# %%
PRICES = {}
LENGTHS = (1, 2, 4, 8, 16)


def priced(name, size, channels=32):
    """cost.Cost of one call: .seconds and .MiB."""
    attention = {"dense": dense_attention, **OTHERS}.get(name, grid_attention)
    key = name, size, attention
    if key not in PRICES:
        generator = torch.Generator().manual_seed(0)
        q, k, v = (torch.randn(channels, *size, generator=generator) for _ in range(3))
        PRICES[key] = cost.measure(attention, q / channels**0.5, k, v, repeats=2)
    return PRICES[key]


def growth(name, what):
    """The exponent: cost ~ T to this power, by a straight line through the logarithms of the longest three."""
    y = [getattr(priced(name, (t, *BLOCK[1:])), what) for t in LENGTHS[-3:]]
    return float(np.polyfit(np.log(LENGTHS[-3:]), np.log(np.maximum(y, 1e-9)), 1)[0])


NAMES = ("dense", "grid", "local")
table([[f"{t} x 12 x 20", *(v for name in NAMES for p in [priced(name, (t, *BLOCK[1:]))]
                            for v in (1000 * p.seconds, p.MiB))] for t in LENGTHS]
      + [["exponent of T", *(growth(name, what) for name in NAMES for what in ("seconds", "MiB"))]],
      ["places", *(f"{name}: {what}" for name in NAMES for what in ("ms", "MiB"))])

# %%
figure, axes = viz.axes_of(5.6, 3.0, "T, frames of 12 x 20 places", "MiB held at once")
for name in NAMES:
    axes.plot(LENGTHS, [priced(name, (t, *BLOCK[1:])).MiB for t in LENGTHS], marker="o", label=name)
axes.set_xscale("log", base=2)
axes.set_xticks(LENGTHS, [str(t) for t in LENGTHS])
axes.set_yscale("log")
axes.legend(frameon=False)
show.described(figure, "Memory of dense, grid and local attention against the number of frames, on log scales")

# %%
big = {name: priced(name, (4, 30, 54)) for name in ("dense", "grid")}
table([[name, p.seconds, p.MiB] for name, p in big.items()], ["4 x 30 x 54", "seconds", "MiB"])
predict.reveal("lab5b.cheaper", big["dense"].seconds / big["grid"].seconds)
predict.reveal("lab5b.layers", next(n for n in range(9) if bool(heard(grid_attention, n).all())))

# %% [markdown]
# *Expected* (two cores): what dense attention holds grows with the square of T, what yours and the local one hold in a
# straight line. At 4 x 30 x 54 yours takes about a fifteenth of the time, and a fortieth of the room.

# %% [markdown] quiz="lab5b.q_mask" points=1
# **A friend writes grid attention as dense attention with a mask: scores of all pairs, those outside the grid set to
# -inf. The results are equal to yours. What has the mask saved?**
#
# - a) Time, since the softmax skips all scores that are set to -inf.
#   Wrong: it computes their exponential, which is 0, like that of any other number.
# - b) Memory, since what is hidden becomes 0, and zeros need no room.
#   Wrong: in a dense tensor a zero takes as much room as anything else.
# - c) Half of both, since in a grid whoever sees a place is seen by it.
#   Wrong: the grid is symmetric, scores are not: q of one with k of the other, or the other way round, are two numbers.
#   Both were computed.
# - d) Nothing: all (THW)^2 scores were computed and held, then hidden.
#   Right: there is even the mask on top. A mask says what is meant, and is a good oracle to test against. The saving is
#   in never making these scores.

# %%
keep(lab, "lab5b.grid_attention", grid_attention)

# %% [markdown]
# ## 3 How many layers until all have heard of all?
#
# Sparse attention is a bargain only if little is lost. What a place cannot see, it may **hear of**, a layer later, from
# those that it sees. Count it for any pattern. Write a pattern as a matrix `mask`, `N,N`: `mask[n, m]` is true if place
# n sees place m. Then
#
# $$ \text{heard}_0 = I \qquad \text{heard}_{l+1}[n] = \bigcup_{m:\, \text{mask}_l[n, m]} \text{heard}_l[m] $$
#
# Several patterns may take turns: layer 0 has `masks[0]`, layer 1 `masks[1]`, and after the last one it begins again
# with the first. How many layers until every place has heard of every place? If that never happens: `None`.
#
# *Shapes.* `masks` is a list of `N,N` bool tensors; each place sees itself in all of them, so nothing is ever
# forgotten. Seeing need not be mutual. Return a number (0 for a single place), or `None`.

# %% answer="lab5b.hops"
def hops(masks: list) -> int | None:
    """Patterns N,N bool, for layers in turns -> the number of layers until all have heard of all; None if never."""
    ### BEGIN SOLUTION
    n = len(masks[0])
    known = torch.eye(n, dtype=torch.bool)
    for layer in range(len(masks) * n + 1):  # a round brings each news one step further, or nothing moves any more
        if known.all():
            return layer
        known = (masks[layer % len(masks)].float() @ known.float()) > 0
    return None
    ### END SOLUTION


# %% check="lab5b.hops" points=3
check("lab5b.hops", hops)

# %% [markdown]
# Patterns of SSTVOS's paper, and a few others, on a block of 3 x 6 x 10 places. *Seen* is the share of all pairs that
# one layer computes. Which of them would you not build a network of?

# %%
SMALL = (3, 6, 10)


def only(axes):
    """Places that differ along these axes alone."""
    at = torch.cartesian_prod(*(torch.arange(n) for n in SMALL))
    free = torch.tensor([letter in axes for letter in "thw"])
    return ((at[:, None] == at[None]) | free).all(-1)


PATTERNS = {"dense": [only("thw")], "grid": [grid_mask(SMALL)], "local": [sparse.local_mask(SMALL)],
            "strided": [sparse.strided_mask(SMALL, (2, 3, 3))],
            "strided, local in turns": [sparse.strided_mask(SMALL, (2, 3, 3)), sparse.local_mask(SMALL, (1, 1, 1))],
            "rows, columns, times in turns": [only("w"), only("h"), only("t")],
            "frames by themselves": [only("hw")], "time lines alone": [only("t")]}
table([[name, str(hops(masks)), float(torch.stack(masks).float().mean())] for name, masks in PATTERNS.items()],
      ["pattern", "layers", "seen"])

# %% [markdown] quiz="lab5b.q_hops" points=1
# **Why does grid attention need exactly three layers, whatever T, H and W are (all above 1)?**
#
# - a) Because SSTVOS has three layers, and each is trained for one of the axes.
#   Wrong: each layer has all three axes. And it is the other way round: a network that wants full reach needs at least
#   so many.
# - b) Because places differ in up to three coordinates, and a layer can change one.
#   Right: along the row, along the column, along the time line; so one layer for each axis, in any order. In a single
#   frame two would do.
# - c) Because self counts once and not three times, so a layer has a third of the reach.
#   Wrong: that changes the weights, not who hears of whom.
# - d) Because each layer doubles what a place has heard of, and three doublings will do.
#   Wrong: then it would depend on the size, as it does for local windows.

# %% [markdown]
# ### Inside the network
#
# **SSTVOS** whole, with your attention in each head of each layer: frames whose masks are known and the new frame are
# one block, and the known labels travel with the attention as further values. Beside it the same network, same weights,
# with dense attention **under the grid's mask**: J must agree. And with dense attention without a mask, which these
# weights have never seen.

# %%
predict("lab5b.sstvos", 0.60, "mean J of SSTVOS on the first clip?")

# %%
MASK_OF = functools.cache(grid_mask)  # made once for a size: what is timed is attention


def under_a_mask(q, k, v):
    return dense_attention(q, k, v, MASK_OF(tuple(q.shape[1:])))


system("sstvos", lambda: registry.make("sstvos", scale=SCALE, attention=grid_attention), uses=("grid_attention",))
system("under a mask", lambda: registry.make("sstvos", scale=SCALE, attention=under_a_mask))
system("dense", lambda: registry.make("sstvos", scale=SCALE, attention=dense_attention))
predict.reveal("lab5b.sstvos", run("sstvos", easy).mean_j())

# %%
table([[name, run(name, easy).mean_j(), run(name, easy).step] for name in ("sstvos", "under a mask", "dense")],
      [easy.name, "J", "s a frame"])

# %%
compare(["stcn", "sstvos"], ALL_CLIPS)

# %% [markdown]
# *Expected* (toy): 0.81 with yours and under a mask, 0.75 with a pattern that these weights do not know. STCN is ahead
# on every clip, and far ahead (0.95 to 0.31) where the object leaves: SSTVOS's window is frame 0 and two latest frames,
# and in the latest ones something else is labelled by then.
#
# On toy frames a block has 4 x 12 x 20 = 960 places: there dense attention is about as quick as yours. The saving
# begins with larger blocks (real frames have 6,480 places): look at section 2's table again.

# %%
keep(lab, "lab5b.hops", hops)

# %% [markdown]
# ## 4 Foreground and background: how near is the object, and how near is the rest?
#
# Twins. How near a pixel is to the object hardly tells them apart: the other one is nearly as near. **CFBI** (Yang et
# al., 2020) asks a second question, of the same frames: how near is the nearest pixel that is **not** the object's? The
# twin is near to the object; but it was in the first frame, too, as background, and to itself it is nearer still.
#
# A distance first. Each pixel has an embedding; memory is a frame whose mask is known. From each pixel of the new frame
# to the nearest one of memory that lies **under the mask**, as the squared L2 distance, mapped to [0, 1]:
#
# $$ d_p = \min_{m \in \text{mask}} |e_p - e_m|^2 \qquad D_p = 2\,\big(\sigma(d_p + b) - \tfrac12\big) $$
#
# 0 is the same (for $b = 0$), 1 is far away. $b$ is learnt: from where on far is far. Where nothing lies under the mask
# nothing is near: exactly 1.
#
# *Shapes.* `query` is `C,H,W`, `memory` is `C,h,w` (it may have another size), `mask` is `...,h,w` bool: all objects
# and the background at once, so that the distances themselves are computed **once** for all. `bias` is a number, or a
# tensor of one. Return `...,H,W`, differentiable along the query.
# (A table of all differences, C x M x N numbers, is fine for toy frames; real ones thank you for
# $|q|^2 - 2\,q \cdot m + |m|^2$.)

# %% answer="lab5b.global_distance"
def global_distance(query: torch.Tensor, memory: torch.Tensor, mask: torch.Tensor, bias=0.0) -> torch.Tensor:
    """query C,H,W, memory C,h,w, mask ...,h,w bool -> ...,H,W in [0,1]: to the nearest memory pixel under the mask."""
    ### BEGIN SOLUTION
    q, m, under = query.flatten(1), memory.flatten(1), mask.flatten(-2)  # C,M; C,N; ...,N
    d = q.square().sum(0)[:, None] - 2 * q.T @ m + m.square().sum(0)  # M,N: |q - m|^2, without C,M,N differences
    nearest = d.masked_fill(~under[..., None, :], torch.inf).amin(-1)  # ...,M
    out = (torch.sigmoid(nearest + bias) - 0.5) * 2
    return torch.where(under.any(-1)[..., None], out, 1.0).unflatten(-1, query.shape[1:])
    ### END SOLUTION


# %% check="lab5b.global_distance" points=4
check("lab5b.global_distance", global_distance)

# %% [markdown]
# And what is *the rest* of an object? All other labels: the background, **and the other objects**. You have the K+1
# distances, to the background and to each object. Of object k the rest is as far away as the nearest label that is not
# k.
#
# *Shapes.* `distance` is `K+1,...`, background first. Return `K,...`, one for each object. Differentiable.

# %% answer="lab5b.rest_distance"
def rest_distance(distance: torch.Tensor) -> torch.Tensor:
    """Distances to K+1 labels, background first -> for each of K objects the distance to all that is not it: K,..."""
    ### BEGIN SOLUTION
    return torch.stack([torch.cat([distance[:k], distance[k + 1 :]]).amin(0) for k in range(1, len(distance))])
    ### END SOLUTION


# %% check="lab5b.rest_distance" points=3
check("lab5b.rest_distance", rest_distance)

# %% [markdown]
# The real network, with both of your functions in its matching. It also matches with the last frame, within small
# windows around each pixel (`local_match`, the library's): from one frame to the next nothing jumps.

# %%
class MyMatching(cfbi_module.Network):
    """CFBI's network, matching by your functions. rest: what is not the object, "all", "ground" alone, or "nothing"."""

    rest = "all"

    def match(self, now, past):
        (far, labels), (near, its) = cfbi_module.joined(past[0]), cfbi_module.latest(past)

        def distances(bias):  # to all labels: K+1,1+windows,h,w
            return torch.cat([global_distance(now, far, labels, bias)[:, None],
                              self.local_match(now, near, its, self.windows, bias)], 1)

        fore, to_all = distances(self.bias[0])[1:], distances(self.bias[1])
        back = to_all[:1].expand_as(fore) if self.rest == "ground" else rest_distance(to_all)
        return self.paired(fore, torch.ones_like(back) if self.rest == "nothing" else back), now[:0]


def cfbi_network(rest="all"):
    net = MyMatching(cfbi_module.SCALES[SCALE], False)
    net.rest = rest
    load_into(net, "cfbi")
    return net.eval()


CFBI_NET = cfbi_network()


@torch.no_grad()
def distances_in(clip, t):
    """The first object's two distances in frame t, to frame 0: h,w each, nearest cell of 8 pixels."""
    c = small(clip)
    first, now = (CFBI_NET.encode(padded(c.frame(s))[None])[-1][0] for s in (0, t))
    _, labels = cfbi_module.memory(first, given(masks_of(clip, 0)))
    fore = global_distance(now, first, labels, CFBI_NET.bias[0])[1]
    return fore, rest_distance(global_distance(now, first, labels, CFBI_NET.bias[1]))[0]


def two_questions(t):
    fore, back = distances_in(twins, t)
    return show.images([twins.frames[t], 1 - fore, 1 - back, fore < back],
                       [f"frame {t}", "near to the object", "near to the rest", "nearer to the object"], height=110)


slider(two_questions, t=(1, len(twins) - 1, 1, 8))

# %% [markdown]
# The second picture lights up at the object and at its twins. Does the third one, and what does the fourth make of it?
#
# ### Cut the background
#
# The same weights, asked half of the questions. (In training some steps went without the background, so this is no
# stranger to the network.) Predict the mean J on the twins with both questions, and without the second one.

# %%
predict("lab5b.twins", [0.5, 0.5], "mean J of CFBI on the look-alikes: with the background, without?")

# %%
def cfbi_with(rest):
    return lambda: cfbi_module.CFBI(cfbi_network(rest))


for said, rest in (("cfbi", "all"), ("other objects left out", "ground"), ("no background", "nothing")):
    system(said, cfbi_with(rest), uses=("global_distance", "rest_distance"))
pair_of_twins = lab.own if len(lab.own.ids) > 1 else CROWDS[2]
compare(["stcn", "cfbi", "no background"], ALL_CLIPS)
predict.reveal("lab5b.twins", [run(n, twins).mean_j() for n in ("cfbi", "no background")])

# %%
show.frames(twins, {"truth": twins.masks, "cfbi": run("cfbi", twins).masks,
                    "no background": run("no background", twins).masks})

# %%
compare(["cfbi", "other objects left out", "no background"], [pair_of_twins, CROWDS[3]])

# %% [markdown]
# *Expected* (toy): asking for the background, too, is better on each of the four clips: 0.63 to 0.58 on the
# look-alikes, more where the object is hidden (0.43 to 0.19) or leaves (0.34 to 0.20). With three objects it is worth
# 0.04. On the shipped clip it is the other way round, 0.47 to 0.59: its two shapes are of one stuff, so the rest is as
# near as the object, and asking confuses. A second question helps where its answer differs from the first.

# %% [markdown] quiz="lab5b.q_background" points=1
# **A twin of the object walks in that was not there in frame 0. What does CFBI's global matching with the background do
# about it?**
#
# - a) It finds the twin nearer to the background than to the object, as before.
#   Wrong: nothing in frame 0's background looks like it.
# - b) It raises the distance of both to 1, since two places cannot be the object.
#   Wrong: it does not count who is near. The object's distance to itself in frame 0 stays what it is.
# - c) Nothing: of all that is in frame 0 only the object looks like this twin.
#   Right: background matching knows the rest that was *seen*. What speaks against the twin is local: it was not near
#   here a frame ago, and once it has been labelled as background, the last frame says so. Global and local matching
#   fail in different places, and that is why there are both.
# - d) It passes it on to the instance gate, which removes what is not the object.
#   Wrong: a gate weights channels, for the whole frame; it knows no places.

# %%
keep(lab, "lab5b.global_distance", global_distance)
keep(lab, "lab5b.rest_distance", rest_distance)

# %% [markdown]
# ## 5 Many objects in one pass: identities
#
# STM writes a memory for each object; CFBI decodes each by itself. With K objects there are K masks at the end that
# never met, and are merged. AOT (Yang et al., 2021) calls that **post-ensemble**, and does something else: it
# **associates**. A **bank** holds a vector for the background (row 0) and one for each object (rows 1, 2, ...), and all
# masks of a frame become **one map** of such vectors:
#
# $$ \text{id}_p = \sum_{k=0}^{K} \text{mask}_k(p)\; \text{bank}_k $$
#
# This map goes into memory beside the frame's features. Whoever looks there reads identities, all at once, and the last
# layer compares what was read with each row of the bank.
#
# *Shapes.* `masks` is `K+1,H,W`, background first, boolean or floats that may be soft; `bank` is `rows,C` with at least
# K+1 rows, of which the first K+1 are used. Return the map `C,H,W`, differentiable along both.

# %% answer="lab5b.assign_identities"
def assign_identities(masks: torch.Tensor, bank: torch.Tensor) -> torch.Tensor:
    """masks K+1,H,W, background first, bank rows,C -> C,H,W: at each pixel the vector of the object it belongs to."""
    ### BEGIN SOLUTION
    return torch.einsum("khw,kc->chw", masks.to(bank.dtype), bank[: len(masks)])
    ### END SOLUTION


# %% check="lab5b.assign_identities" points=3
check("lab5b.assign_identities", assign_identities)

# %% [markdown]
# Yours, with a bank of random vectors: a map of `channels` numbers a pixel, some noise on it (as attention reads it:
# never quite what was written), and then each pixel is compared with each row. From how many channels on do five
# objects come back whole?

# %%
def read_back(channels, noise):
    clip = CROWDS[5]
    masks = given(clip.objects(0, clip.ids))  # K+1,H,W
    generator = torch.Generator().manual_seed(1)
    bank = F.normalize(torch.randn(11, channels, generator=generator), dim=1)
    ident = assign_identities(masks, bank)
    blurred = ident + noise / channels**0.5 * torch.randn(ident.shape, generator=generator)
    found = torch.einsum("chw,kc->khw", blurred, bank[: len(masks)]).argmax(0)
    right = float((found == masks.argmax(0)).float().mean())
    shown = [viz.overlay(clip.frames[0], m.numpy().astype(np.uint8)) for m in (masks.argmax(0), found)]
    return show.images([*shown, ident[:3].movedim(0, -1).sub(ident.min()).div(ident.max() - ident.min() + 1e-9)],
                       ["masks", f"read back: {right:.1%} right", "three channels of the map"], height=120)


slider(read_back, channels=[32, 4, 8, 16, 64], noise=(0.0, 4.0, 0.25, 1.0))

# %% [markdown]
# ### Post-ensemble against associating: the lecture's figure
#
# Four ways to segment K objects. *N x stm* is the ensemble as it is drawn in the lecture: a whole network for each
# object, and then **your** soft aggregation. *stm* shares the frame's query encoder. *aot, each* is AOT with one object
# in a pass, frames encoded once. *aot* is one pass, with your identities. Predict: the time for a frame with five
# objects, over that with one.

# %%
predict("lab5b.ensemble", 3.0, "N x stm: time a frame with five objects over that with one?")
predict("lab5b.associate", 1.5, "aot: time a frame with five objects over that with one?")

# %%
class PostEnsemble:
    """A segmenter for each object, which knows of no other one; merged at the end, by your function."""

    task, causal = "one-shot", True

    def __init__(self, make):
        self.make, self.each = make, []

    def start(self, frame, masks):
        self.each = [self.make() for _ in masks]
        for one, mask in zip(self.each, masks, strict=True):
            one.start(frame, mask[None])
        return given(masks)

    def step(self, frame, new=None):
        return soft_aggregate(torch.stack([one.step(frame)[1] for one in self.each]))


def aot(**options):
    return lambda: registry.make("aot", scale=SCALE, identify=assign_identities, **options)


system("N x stm", lambda: PostEnsemble(lambda: registry.make("stm", scale=SCALE)), uses=("soft_aggregate",))
system("aot, each", aot(passes="each"), uses=("assign_identities",))
system("aot", aot(), uses=("assign_identities",))
WAYS = ("N x stm", "stm", "aot, each", "aot")


def measured(way):
    """J&F and seconds a frame for one to five objects."""
    return [(run(way, CROWDS[n]).quality(), run(way, CROWDS[n]).step) for n in COUNTS]


for way in WAYS[:2]:
    table([[f"{n} objects", *pair] for n, pair in zip(COUNTS, measured(way), strict=True)], [way, "J&F", "s a frame"])

# %%
for way in WAYS[2:]:
    table([[f"{n} objects", *pair] for n, pair in zip(COUNTS, measured(way), strict=True)], [way, "J&F", "s a frame"])

# %%
def against_objects(column, label):
    figure, axes = viz.axes_of(5.2, 2.6, "objects", label)
    for way in WAYS:
        axes.plot(COUNTS, [pair[column] for pair in measured(way)], marker="o", label=way)
    axes.set_ylim(0)
    axes.legend(frameon=False)
    return show.described(figure, f"{label} against the number of objects: {', '.join(WAYS)}")


against_objects(1, "seconds a frame")

# %%
against_objects(0, "J&F")

# %%
def ratio(way):
    return measured(way)[-1][1] / measured(way)[0][1]


predict.reveal("lab5b.ensemble", ratio("N x stm"))
predict.reveal("lab5b.associate", ratio("aot"))

# %% [markdown]
# *Expected* (toy): five objects take *N x stm* more than four times the time of one, *stm* a little over twice, *aot,
# each* three and a half times, and *aot* no longer than one. J&F with five: 0.39, 0.45, 0.81 and 0.75. So one pass is
# not better by itself (a pass for each is, here, for four and five objects); what it is, is one pass.

# %%
show.frames(CROWDS[5], {"truth": CROWDS[5].masks, **{way: run(way, CROWDS[5]).masks for way in ("stm", "aot")}})

# %% [markdown] quiz="lab5b.q_one_pass" points=1
# **Why does AOT's time for a frame hardly grow from one object to five?**
#
# - a) All masks are one map of identities, so attention and decoder run once.
#   Right: whatever K is; only the last comparison, with K+1 rows of the bank, grows. And objects compete in every layer
#   instead of at the very end. The price is a bank of fixed size: more objects than rows need a further pass.
# - b) It segments one object, and the other masks are moved along with it.
#   Wrong: all come from the same pass. Objects move in ways of their own.
# - c) Its attention is sparse, so there is time left for the further objects.
#   Wrong: its long-term attention is dense. Sparse or not, it would not depend on K.
# - d) Its objects share one mask channel: what is segmented is one foreground.
#   Wrong: then nobody could tell them apart. They share a map of vectors.

# %% [markdown]
# ### Names are drawn
#
# Who is row 1? If in training the first object of a clip always had it, row 1 would soon mean something: "the large one
# in the middle", as data sets like to list that one first; and rows 6 to 10, which hardly any clip needs, would learn
# nothing. So every clip **draws anew** which of its objects has which row.
#
# *Write* `draw_rows(count, rows, rng)`: for a clip of `count` objects and a bank of `rows` rows, `count + 1` whole
# numbers (a list, an array or a tensor). The first is the background's: row 0, in every clip. The others are the
# objects': any of the rows 1 to `rows - 1`, none twice, every order as likely as any other. All chance comes from
# `rng`, a numpy generator: the same `rng`, the same names.

# %% answer="lab5b.draw_rows"
def draw_rows(count: int, rows: int, rng: np.random.Generator):
    """Rows of the bank for the background (always 0) and for count objects: count + 1 whole numbers, none twice."""
    ### BEGIN SOLUTION
    return [0, *(1 + rng.permutation(rows - 1)[:count])]
    ### END SOLUTION


# %% check="lab5b.draw_rows" points=2
check("lab5b.draw_rows", draw_rows)

# %% [markdown]
# The bank of the real network with its rows exchanged as **you** draw them, four times: the same network, the same
# objects, other names. What would you expect of J if rows had come to mean something? (The network that was trained
# without drawing is not at hand. What you can see is whether this one cares.)

# %%
DRAWS = (0, 1, 2, 3)  # seeds


def renamed(seed):
    """AOT, its objects called by other rows."""
    def build():
        segmenter = aot()()
        bank = segmenter.net.bank
        drawn = [int(r) for r in draw_rows(5, len(bank), np.random.default_rng(seed))]
        rest = [r for r in range(len(bank)) if r not in drawn]
        with torch.no_grad():
            bank.copy_(bank[[*drawn, *rest]].clone())
        return segmenter

    return build


for seed in DRAWS:
    print(f"draw {seed}: rows", *[int(r) for r in draw_rows(5, 11, np.random.default_rng(seed))])
    system(f"draw {seed}", renamed(seed), uses=("assign_identities", "draw_rows"))
print()
names = ["aot", *(f"draw {seed}" for seed in DRAWS)]
table([[f"{n} objects", *(run(name, CROWDS[n]).mean_j() for name in names)] for n in (2, 3, 5)],
      ["J", "in order", *names[1:]])

# %% [markdown]
# *Expected* (toy): J changes by 0.01 with two or three objects and by 0.04 with five, and in no direction: in order is
# no better. Each row is a mere name.

# %% [markdown] quiz="lab5b.q_shuffle" points=1
# **Why are identities shuffled in training?**
#
# - a) So that an object can change its row within a clip, if another one fits better.
#   Wrong: rows are drawn once for a clip. Within it an object keeps its row, and to change it would be an error.
# - b) So that attention becomes symmetric: whoever is looked at looks back as well.
#   Wrong: nothing about attention changes.
# - c) So that no row comes to mean a kind of object, and all rows are trained.
#   Right: nor a size or a place: a row has to be a mere name, or a clip that hands out names otherwise is lost. And
#   most clips have few objects: with a fixed order rows 6 to 10 would hardly ever have been seen.
# - d) So that the loss cannot see identities, and judges by the masks' outlines alone.
#   Wrong: the loss needs them, to compare each object with its mask.

# %% [markdown]
# ### Where does it look?
#
# Click a pixel. Lit: where in long-term memory the first block looks from there. Compare what you see on the object, on
# its twin, and on the ground.

# %%
STOPPED = {}


def before(clip, t):
    """AOT, stopped just before frame t: what is in memory is what was there then."""
    key = clip.name, t, yours("aot")
    if key not in STOPPED:
        segmenter, c = aot()(), small(clip)
        segmenter.start(padded(c.frame(0)), masks_of(clip, 0))
        for s in range(1, t):
            segmenter.step(padded(c.frame(s)))
        STOPPED[key] = segmenter
    return STOPPED[key]


def lit(frame, weights):
    """A frame H,W,3, dark where nothing is looked at."""
    weights = np.asarray(weights, np.float32)
    return (frame * (0.2 + 0.8 * weights[..., None] / max(weights.max(), 1e-12))).astype(np.uint8)


def looking(clip, t):
    """For `pointer`: the attention of a pixel, over the frames in memory that get most of it."""
    segmenter, c = before(clip, t), small(clip)
    (h, w), inside = c.size, np.argwhere(c.masks[t] == c.ids[0])

    def draw(y, x):
        planes = segmenter.looks(padded(c.frame(t)), (y, x)).numpy()[:, :h, :w]
        shares = planes.sum((1, 2))
        order = np.sort(shares.argsort()[::-1][:3])
        return show.images([lit(c.frames[segmenter.times[i]], planes[i]) for i in order],
                           [f"frame {segmenter.times[i]}: {shares[i]:.0%}" for i in order], height=130)

    at = tuple(int(v) for v in inside[len(inside) // 2]) if len(inside) else (h // 2, w // 2)
    return pointer(draw, c.frames[t], at)


looking(twins, 12)

# %%
keep(lab, "lab5b.assign_identities", assign_identities)
keep(lab, "lab5b.draw_rows", draw_rows)

# %% [markdown]
# ## 6 A whole clip, a few questions
#
# Without any mask: **VisTR** (Wang et al., 2021). A clip goes in as one sequence of places, and N **queries** come out
# in every frame: does this instance exist, where is its box, what is its mask? Query 3 of frame 0 and query 3 of frame
# 5 are **the same instance**. Nothing tracks; an identity is the number of a query.
#
# To train that, instances of a clip must be given to queries. RVOS matched in the first frame and kept that. VisTR
# matches **once for the whole clip**: a query's cost for an instance is its **mean over the frames in which that
# instance is there**, and of all ways to give each instance a query of its own the cheapest one holds, in all frames.
#
# *Shapes.* `cost` is `T,Q,G`: what it would cost in frame t to give instance g the query q; straight from the network
# (detach it). `present` is `T,G` bool; where an instance is not there its cost means nothing, and may be infinite.
# Return a list of pairs `(query, instance)`, ordered by the instance; an instance that is never there has no pair.
# There are at least as many queries as instances.

# %% answer="lab5b.match_sequences"
def match_sequences(cost: torch.Tensor, present: torch.Tensor) -> list[tuple[int, int]]:
    """cost T,Q,G, present T,G bool -> pairs (query, instance), by instance: the cheapest for the clip as a whole."""
    ### BEGIN SOLUTION
    cost = cost.detach()
    seen = [g for g in range(cost.shape[2]) if present[:, g].any()]
    if not seen:
        return []
    mean = torch.stack([cost[present[:, g], :, g].mean(0) for g in seen], dim=1)  # Q,G'
    queries, columns = linear_sum_assignment(mean.numpy())
    pairs = [(int(q), seen[int(i)]) for q, i in zip(queries, columns, strict=True)]
    return sorted(pairs, key=lambda pair: pair[1])
    ### END SOLUTION


# %% check="lab5b.match_sequences" points=4
check("lab5b.match_sequences", match_sequences)

# %% [markdown]
# Yours, on what the real network says of six frames with two objects. Each row is a frame: the query that this frame
# **alone** would give to each object, and last the clip's own match. Where do they differ, and what would a loss that
# matches in every frame teach query 1 there?

# %%
PAIR = toy.clip(7, split="val", objects=2, distractors=0, stickers=0, name="a pair")


@torch.no_grad()
def prices(clip, first=0):
    """The network's costs in one window of a clip: T,Q,G, and who is there: T,G."""
    net, c = vistr_net(), small(clip)
    window = range(first, first + net.window)
    frames = torch.stack([padded(c.frame(t)) for t in window])
    labels = torch.stack([(masks_of(clip, t) * torch.arange(1, len(c.ids) + 1)[:, None, None]).sum(0) for t in window])
    answer, _ = net(frames[None])
    _, present, target = instances(labels)
    return price_of(answer.scores[0], answer.boxes[-1][0], target), present


def vistr_net():
    if "vistr" not in STOPPED:
        STOPPED["vistr"] = registry.make("vistr", scale=SCALE).net
    return STOPPED["vistr"]


cost_of_pair, there = prices(PAIR)
rows = [[f"frame {t} alone", str(match_sequences(cost_of_pair[t : t + 1], there[t : t + 1]))]
        for t in range(len(there))]
table([*rows, ["the clip", str(match_sequences(cost_of_pair, there))]], ["", "(query, object)"])

# %% [markdown]
# Made-up costs show it without chance. Query 0 is the dog for three frames, then the man, then the dog; query 1 the
# other way round. Which match is cheaper: one in every frame, or one for the clip? And which of the two losses
# **notices** that the identities jumped?

# %%
def jumping(at=(3, 4)):
    """Six frames, two queries, two instances: cost 0 for what a query shows, 1 for the other; they change at `at`."""
    same = torch.eye(2).expand(6, 2, 2)
    jumps = torch.tensor([t in at for t in range(6)])[:, None, None]
    return torch.where(jumps, same, 1 - same), torch.ones(6, 2, dtype=torch.bool)


def paid(cost, present, whole):
    """The mean cost under a match for the whole clip, or one for each frame."""
    pairs = [match_sequences(cost, present)] * len(cost) if whole else [
        match_sequences(cost[t : t + 1], present[t : t + 1]) for t in range(len(cost))]
    return float(np.mean([float(cost[t, q, g]) for t, found in enumerate(pairs) for q, g in found]))


table([[said, paid(*jumping(()), whole), paid(*jumping(), whole)]
       for said, whole in (("matched in every frame", False), ("matched once for the clip", True))],
      ["mean cost", "steady", "identities jump"])

# %% [markdown] quiz="lab5b.q_sequence" points=1
# **RVOS matches by the first frame, VisTR by the mean over the clip. Both are kept for all frames. What does the mean
# gain?**
#
# - a) Identities may jump within a clip, since the mean forgives a few bad frames.
#   Wrong: it does forgive them in the match; but that holds for all frames, and a jump costs. Free jumps would be a
#   match in every frame.
# - b) Fewer queries are needed, since instances that never meet can share one.
#   Wrong: each instance still takes one, for all frames.
# - c) No Hungarian method is needed, since means leave no doubt which is cheapest.
#   Wrong: two instances may still want the same query. It is the same assignment, of another table.
# - d) An instance that comes late is matched by the frames in which it can be seen.
#   Right: so is one that is hardly seen at first, and one bad frame does not decide. RVOS's rule knows only what is
#   there in frame 0.

# %% [markdown]
# ### Longer than its window
#
# Full attention over space and time is what section 2 called unaffordable, so VisTR's window is short: six frames here.
# A longer clip takes several windows that **share** three frames, and who goes on as whom is decided by masks and
# scores there: an assignment again, so **your** function does it. *By number* takes query 3 for query 3. Predict the
# mean J on the pair, 20 frames.

# %%
predict("lab5b.stitched", [0.5, 0.5], "zero-shot mean J on the pair: windows joined by your match, and by number?")

# %%
def by_number(cost, present):
    return [(n, n) for n in range(cost.shape[1])]


system("vistr", lambda: registry.make("vistr", scale=SCALE, match=match_sequences), uses=("match_sequences",))
system("by number", lambda: registry.make("vistr", scale=SCALE, match=by_number))
system("fusionseg", lambda: registry.make("fusionseg", scale=SCALE))
compare(["vistr", "by number", "fusionseg"], [PAIR, *ALL_CLIPS], "zero-shot J")
predict.reveal("lab5b.stitched", [run(n, PAIR).mean_j() for n in ("vistr", "by number")])
print("windows of the pair:", vistr_module.spans(len(PAIR), 6, 3))

# %% [markdown]
# *Expected* (toy): 0.76 on the pair, where FusionSeg, which has one foreground, has 0.20; on clips with one object
# FusionSeg is ahead on three of four. And joined by number it is just as good: a query that found the dog in one window
# finds it in the next, since they see nearly the same. Your match is the insurance for the window in which it does not.

# %%
over_time(["vistr", "by number", "fusionseg"], PAIR)

# %%
show.frames(PAIR, {"truth": PAIR.masks, "vistr": run("vistr", PAIR).masks, "by number": run("by number", PAIR).masks})

# %% [markdown] quiz="lab5b.q_window" points=1
# **Your film has an hour. What of VisTR does not come along?**
#
# - a) Nothing: windows are joined, so a query keeps its instance for an hour.
#   Wrong: joined windows know each other only through the frames that they share.
# - b) Whoever is out of sight in all of the frames that two windows share.
#   Right: when it comes back nothing says who it was. Within a window attention reaches everything; beyond it there is
#   a chain of matches, and no memory. And VisTR waits for a window's last frame before it answers. A memory network
#   looks up the first frame after an hour as after a second.
# - c) Its speed, since a frame takes longer, the more windows lie before it.
#   Wrong: each window costs the same, however many came before.
# - d) The outlines, since masks get coarser each time that windows are joined.
#   Wrong: each window draws them anew, at the same resolution.

# %%
keep(lab, "lab5b.match_sequences", match_sequences)

# %% [markdown]
# ## 7 Your own clip: ask for either object
#
# Each system is asked for one object, then for the other, and gives its J on both. The last lines ask for both at once,
# and for nothing.

# %%
mine = lab.own
STAGE5 = ("stm", "stcn", "cfbi", "sstvos", "aot")
rows = []
for name in STAGE5:
    for k in mine.ids:
        one = replace(mine, ids=(k,), starts={k: mine.starts[k]}, name=f"{mine.name}, object {k}")
        masks, frames = run(name, one).masks, scored(mine)
        found = np.stack([masks[t] == k for t in frames])
        j = {other: jaccard(found, np.stack([mine.masks[t] == other for t in frames])).mean() for other in mine.ids}
        rows.append([name, k, float(j[k]), *(float(v) for other, v in j.items() if other != k)])
table(rows, ["own clip", "asked for", "J of it", *["J of the other"] * (len(mine.ids) - 1)])

# %%
for said, name in (("all in one pass", "aot"), ("all, each against the rest", "cfbi"), ("asked for nothing", "vistr")):
    print(f"{said}: " + ", ".join(f"J of object {k} {run(name, mine).J[k].mean():.3f}" for k in mine.ids))

# %% [markdown]
# *Expected* (the shipped clip, J of the first and of the second object when each is asked for alone): STM 0.22 and
# 0.39, STCN 0.69 and 0.79, CFBI 0.45 and 0.50, SSTVOS 0.44 and 0.61, AOT 0.83 and 0.62. AOT, asked for the second
# alone, takes a part of the first along (0.25); asked for both at once it has 0.79 and 0.82: who is named is told
# apart.

# %%
show.frames(mine, {"truth": [m if m is not None else np.zeros(mine.size, np.uint8) for m in mine.masks],
                   **{name: run(name, mine).masks for name in ("stcn", "cfbi", "aot", "vistr")}})

# %% [markdown]
# ## 8 The score card of the whole course
#
# First this lab's lines. Then one of each stage on **your** clip, from the first mask kept for ever to today; what your
# earlier labs measured stays on the card beside it.

# %%
for name in ("cfbi", "sstvos", "aot", "vistr"):
    for clip in CLIPS.values():
        r = run(name, clip)
        card.add(lab, name, clip, J=r.mean_j(), F=r.mean_f(), T=r.steady(), seconds_per_frame=r.seconds())

# %%
system("copy-first", lambda: registry.make("copy-first", scale=SCALE))
system("osvos", lambda: registry.make("osvos", scale=SCALE, steps=STEPS))
system("masktrack-offline", lambda: registry.make("masktrack-offline", scale=SCALE))
system("lucidtracker", lambda: registry.make("lucidtracker-one-stream", scale=SCALE, steps=0))
system("s2s", lambda: registry.make("s2s", scale=SCALE))
system("rvos", lambda: registry.make("rvos", scale=SCALE))
YEARS = {"copy-first": 2016, "osvos": 2017, "masktrack-offline": 2017, "s2s": 2018, "lucidtracker": 2019, "rvos": 2019,
         "stm": 2019, "cfbi": 2020, "stcn": 2021, "sstvos": 2021, "aot": 2021, "vistr": 2021}
EARLY = ("copy-first", "osvos", "masktrack-offline", "lucidtracker", "s2s", "rvos")
table([[f"{YEARS[n]} {n}", run(n, mine).mean_j(), run(n, mine).mean_f(), run(n, mine).seconds()] for n in EARLY],
      [mine.name, "J", "F", "s a frame"])

# %%
for name in YEARS:
    r = run(name, mine)
    card.add(lab, name, mine, J=r.mean_j(), F=r.mean_f(), T=r.steady(), seconds_per_frame=r.seconds())
card.show(lab)

# %% [markdown]
# Quality against time, all that you have run: the lecture's plot, made by you. And on your clip alone, with what the
# papers published drawn hollow beside it. Those are **other machines, other data** (DAVIS-2017's validation set at
# 480p, J&F; seconds as the lecture's table and the papers have them): compare the order, never the numbers.

# %%
PUBLISHED = {"OSVOS": (10, 0.603), "OSMN": (0.14, 0.548), "RVOS": (0.044, 0.606), "STM": (0.16, 0.817),
             "STCN": (1 / 20, 0.853)}  # CFBI lies on STM, the largest AOT on STCN
points = {name: (run(name, mine).seconds(), run(name, mine).quality()) for name in YEARS}
show.described(viz.quality_time(points, PUBLISHED, "quality: mean of J and F"),
               "Quality against seconds a frame on your own clip: "
               + "; ".join(f"{n}: {s:.3g} s, {q:.2f}" for n, (s, q) in points.items()))

# %% [markdown]
# ### Ten years of VOS, on your clip
#
# One film: your clip, all systems side by side in the order of their years, and the score card at its end. It is
# written into your folder as `ten_years.mp4`: show it to somebody who has not been here.

# %%
ten_years = film.export(lab, mine, [film.Take(name, year, run(name, mine).masks, run(name, mine).mean_j(),
                                              run(name, mine).mean_f(), run(name, mine).seconds())
                                    for name, year in YEARS.items()], columns=4)
print(f"written: {ten_years.path.name}, {len(ten_years.data) / 1e6:.1f} MB")
ten_years

# %% [markdown]
# The best picture of the course, and its last failure, which is yours to mend:

# %%
show.frames(CROWDS[5], {"truth": CROWDS[5].masks, "aot": run("aot", CROWDS[5]).masks},
            title="five objects, one pass, nothing was tuned")

# %%
worst = min(((run(name, clip).mean_j(), name, clip) for clip in ALL_CLIPS for name in ("cfbi", "sstvos", "aot")),
            key=lambda item: item[0])
show.frames(worst[2], {"truth": worst[2].masks, worst[1]: run(worst[1], worst[2]).masks},
            title=f"the worst of today: {worst[1]} on '{worst[2].name}', mean J {worst[0]:.2f}")

# %% [markdown] manual="lab5b.reflection" points=6
# **Which of the five stages would you take?** For (1) a **phone** that follows a child through a living room while it
# films; (2) an **annotation tool** in which somebody corrects a mask now and then; (3) a **film studio** that needs one
# actor cut out for a minute, at any cost; (4) a **video of an hour** in which things come back after a long time.
# Choose a system of the course for each (they may repeat), and defend it with **your own score card**: at least **one
# number that you measured for each**, and say on which clip. For one of the four say what the **second best** would be,
# and at which number you would change your mind. Name **one thing that you would measure first** before you trusted the
# choice outside this course. Fifteen sentences at most.
#
# ### BEGIN SOLUTION
# *One good answer among several.* (1) The phone sees frames once, in order, and has little memory and time: STCN with a
# bound on its memory, or AOT if several children are to be followed; my card gives the seconds a frame of both on my
# own clip, and the time of AOT with five objects over that with one. VisTR is out: it waits for frames to come. (2) The
# tool: a correction is a frame with a true mask, and a memory network uses it at once and for ever, by keeping it; S2S
# would write its state anew and forget the first frame. Here I would give STM's or STCN's J on the re-entry clip, and
# what true masks in memory were worth in lab 5a. (3) The studio has one shot and all night: fine-tuning on the first
# frame (OSVOS, OnAVOS, LucidTracker's dreams) buys quality for seconds, on this very actor, whatever he looks like; I
# measured how J rises with the seconds of fine-tuning in lab 1. A careful person would combine: CFBI or AOT for the
# draft, tuned on corrected frames. (4) The hour: memory with a bound, frame 0 for ever, others by a rule that keeps
# what differs; recurrent states are overwritten (S2S after the return, lab 4), and VisTR's chain of windows forgets
# whoever is away for longer than the shared frames. My number is J after the return on the re-entry clip. Second best
# for the phone is RVOS: one encoder and a small decoder for each object; I would change my mind if it came within 0.05
# of J at half of the time on my clip. What I would measure first: all of it on real films of that very kind, as most of
# my numbers are from toy clips of two seconds, on one machine, one seed.
#
# *Marking:* one point for each of the four choices that fits its conditions and is defended with a measured number of
# one's own; one for the second best with the number at which one would change; one for what to measure first, with its
# reason.
# ### END SOLUTION

# %% [markdown]
# ## 9 What to take home
#
# - **Sparse attention**: row, column and time line; $THW(T+H+W)$ instead of $(THW)^2$, and three layers until all have
#   heard of all. A mask says what is meant; it saves nothing.
# - **Foreground and background**: a pixel is the object's if the object is nearer than all that is not it. Other
#   objects are not it, either.
# - **Identities**: all masks as one map of vectors; one pass, whatever the number of objects; names are drawn anew in
#   training, or they come to mean something.
# - **Sequences**: instances are matched with queries once for a clip, by the mean over the frames that show them. An
#   identity is the number of a query, as far as the window reaches.
# - **The course**: learn at test time, hand the mask on, move it along, remember a state, look the past up, attend to
#   everything. Each stage mends what the one before broke, and the score card says at what price.
#
# *Reading.* Duke et al., *SSTVOS: sparse spatiotemporal transformers for video object segmentation* (CVPR 2021):
# section 3. Yang et al., *Collaborative video object segmentation by foreground-background integration* (ECCV 2020):
# section 3. Yang et al., *Associating objects with transformers for video object segmentation* (NeurIPS 2021): section
# 3. Wang et al., *End-to-end video instance segmentation with transformers* (CVPR 2021): section 3.
