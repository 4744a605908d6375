# Lab 5a, memory. Source of notebooks/lab5a_memory.ipynb: `vos-teach labs build` writes that.
# Answers are between BEGIN and END SOLUTION. In the student's notebook every cell must either run or raise
# NotAttempted, so a cell never uses what another cell computed with the student's functions: it calls `run` (cached).

# %% [markdown]
# # Lab 5a - Memory: stop compressing the past, look it up
#
# *About two hours for you, four minutes of computing at most on two CPU cores (`SCALE = "toy"`).*
#
# In lab 4 the past was a state of fixed size, and every frame wrote over it. Today nothing is compressed: some frames
# are **kept**, with their masks, and each pixel of a new frame **looks up** the pixels like it. What it finds there
# tells it whether it belongs to the object. That is the space-time memory network, **STM** (Oh et al., 2019), and its
# leaner child, **STCN** (Cheng et al., 2021).
#
# When you are done you can
#
# - write the look-up, **affinity** and **readout**, and put them into the real STM;
# - **click a pixel** and see where in memory it looks;
# - choose **which frames to remember**, and say what a wrong mask in memory does;
# - give **one affinity to all objects**, and say why STM cannot;
# - explain why STCN measures a **distance** and not a dot product, and show a key that steals everything;
# - merge objects by **soft aggregation**, and say what all this costs as a film goes on.
#
# Every exercise has the same form: the idea, a function to write, `check(...)`, and a picture of **your** function at
# work. Stuck? `hint("lab5a.dot_affinity")` gives a nudge; call it again for more.

# %% setup

# %% [markdown]
# Our tool box for today, much as in lab 4: `run(name, clip)` runs a system on a clip and scores it with **your** J and
# F (the library's, if this machine does not know yours). Results are kept until you change one of your functions.

# %%
from dataclasses import dataclass, replace

import numpy as np
import torch
import torch.nn.functional as F

from vos_teach import engine, registry, viz
from vos_teach.clip import resize_mask
from vos_teach.data import toy
from vos_teach.metrics import temporal_stability
from vos_teach.transformers.memory import looks, share_read, true_masks

jaccard = recall_operator(lab, "lab0.jaccard")
boundary_f = recall_operator(lab, "lab0.boundary_f")

REAL = SCALE == "small" and len(lab.real) > 0  # real DAVIS, where it is present
CLIPS = dict(list(lab.real.items())[:4]) if REAL else dict(lab.clips)


def height(clip):
    """Real frames are made smaller, as the networks were trained; toy frames are small already."""
    return 240 if clip.size[0] > 240 else None


def small(clip):
    return clip if height(clip) is None else clip.resize(height(clip))


def padded(maps):
    """...,H,W -> the same with both sizes multiples of 16: a cell of the features is 16 pixels high and wide."""
    h, w = maps.shape[-2:]
    lead = maps.shape[:-2]
    grown = F.pad(maps.float().reshape(-1, 1, h, w), (0, -w % 16, 0, -h % 16), mode="replicate")
    return grown.reshape(*lead, *grown.shape[-2:])


@dataclass
class Run:
    """What a system did on a clip. J, F: id -> a value per scored frame; T: per pair of frames."""

    masks: list
    J: dict
    F: dict
    T: np.ndarray
    start: float  # seconds on frame 0
    step: float  # mean seconds for each later frame

    def mean_j(self):
        return float(np.mean([j.mean() for j in self.J.values()]))

    def mean_f(self):
        return float(np.mean([f.mean() for f in self.F.values()]))

    def late_j(self, t):  # of frame t and those after it
        return float(np.mean([j[t - 1 :].mean() for j in self.J.values()]))

    def seconds(self):  # per frame, with the start spread over the clip
        return (self.start + self.step * (len(self.masks) - 1)) / len(self.masks)


BUILD, DONE, MAKE = {}, {}, {}


def system(name, build, uses=(), true=False):
    """Give a system a name. build() makes a segmenter. uses: names of your functions inside it. true: what it
    remembers of the frames that it has segmented are their TRUE masks (nobody has those outside a laboratory)."""

    def work(clip):
        segmenter = build()
        if true:
            segmenter.truth = true_masks(clip, height(clip))
        result = engine.run(segmenter, clip, height=height(clip))
        return list(result.masks), result.start_seconds, float(np.mean(result.step_seconds))

    BUILD[name], MAKE[name] = (work, uses), build


def looped(name, work, uses):
    """The same for a loop of your own: work(clip) returns a label map for each frame."""
    BUILD[name] = lambda clip: (work(clip), 0.0, float("nan")), uses


def scored(clip):
    """DAVIS's rule for one-shot: neither the first frame, which was given, nor the last."""
    frames = [t for t in range(1, len(clip)) if clip.masks[t] is not None]
    return frames[:-1] if len(frames) > 2 else frames


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


def larger(name, **knobs):
    """One of the lab's toy clips, drawn twice as large: 12 x 20 cells of features instead of 6 x 10."""
    knobs = {**toy.SUITE[name], "size": (192, 320), **knobs}
    return toy.clip(list(toy.SUITE).index(name), split="val", name=f"{name}, large", **knobs)


easy, hidden, twins, away = lab.clips.values()  # toy clips, whatever the scale: they show what they are named after
ALL_CLIPS = list(CLIPS.values())
MANY = [crowd(2), crowd(4)]


def back(clip):
    """The first frame in which the first object is there again after it was gone (else two thirds of the clip)."""
    seen = [m is not None and bool((m == clip.ids[0]).any()) for m in clip.masks]
    return next((t for t in range(2, len(clip) - 2) if seen[t] and not seen[t - 1]), (2 * len(clip)) // 3)


BACK = back(away)

# %% [markdown]
# ## 1 Where lab 4 left us
#
# Your score card so far, and lab 4's recurrent networks on the clip in which the object leaves and comes back. What was
# in the state of it when it came back?

# %%
card.show(lab)

# %%
system("s2s", lambda: registry.make("s2s", scale=SCALE))
system("rvos ST", lambda: registry.make("rvos", scale=SCALE))
show.frames(away, {"truth": away.masks, "s2s": run("s2s", away).masks, "rvos": run("rvos ST", away).masks},
            title=f"a state of fixed size; the object is back in frame {BACK}")

# %% [markdown]
# ### Commit to predictions
#
# STM keeps frame 0 and its mask as they are, every fifth frame, and the one before, and looks into all of them. What
# mean J will it reach on this clip from the frame on in which the object is back? And over the whole first clip?

# %%
predict("lab5a.back", 0.50, "mean J of STM on the re-entry clip, from the return on?")
predict("lab5a.easy", 0.50, "mean J of STM on the first clip?")

# %% [markdown]
# ## 2 The look-up
#
# Memory is a long list of **places**: every cell of every frame that is kept. Each has a **key**, a vector that says
# what it looks like, and (next section) a **value**. A new frame has a key at each of its cells, too; call it a
# **question**. How much should place $i$ of memory count for question $j$? STM multiplies their keys, and lets all
# places compete in a softmax:
#
# $$ s_{ij} = \frac{k_i \cdot q_j}{\sqrt{C}} \qquad\qquad A_{ij} = \frac{e^{s_{ij}}}{\sum_{i'} e^{s_{i'j}}} $$
#
# This is the attention of transformers, word for word. ($\sqrt C$ keeps scores of the same size whatever the number of
# channels is: a sum of $C$ products of noise is about $\sqrt C$ large.)
#
# *Shapes.* `mk` is `...,C,N`, the keys of N places of memory; `qk` is `...,C,M`, those of M questions. Return
# `...,N,M`, and **each column sums to 1**: a question shares its attention among all of memory. What stands before C
# broadcasts. Scores may be large: nothing may become infinite. Differentiable along both.

# %% answer="lab5a.dot_affinity"
def dot_affinity(mk: torch.Tensor, qk: torch.Tensor) -> torch.Tensor:
    """Keys of memory ...,C,N and of questions ...,C,M -> ...,N,M: softmax over memory of k.q / sqrt(C)."""
    ### BEGIN SOLUTION
    score = mk.transpose(-1, -2) @ qk / mk.shape[-2] ** 0.5  # ...,N,M
    return torch.softmax(score, dim=-2)
    ### END SOLUTION


# %% check="lab5a.dot_affinity" points=4
check("lab5a.dot_affinity", dot_affinity)

# %% [markdown]
# Yours at work, without any network: a key is a **colour**, once for each square of 4 x 4 pixels, its three channels
# centred and multiplied by `loud`. The question is the square in the middle of the object in frame 6; memory is frame
# 0. What `loud` does to the softmax is what training does when it makes keys longer.

# %%
def colours(clip, t, loud=10.0, centred=True):
    """Keys 3,h,w of a frame: mean colours of squares of 4 x 4 pixels."""
    key = F.avg_pool2d(clip.frame(t)[None], 4)[0]
    return loud * (key - 0.5 if centred else key)


def lit(frame, weights, top=None):
    """A frame H,W,3, dark where nothing is looked at, bright where weights H,W are `top` (default: their largest)."""
    weights = np.asarray(weights, np.float32)
    share = (weights / max(weights.max() if top is None else top, 1e-12)) ** 0.5  # the root: small ones are seen, too
    return (frame * (0.25 + 0.75 * share[..., None])).astype(np.uint8)


def marked(frame, y, x, size=4):
    """A frame with a white square where the question is."""
    frame = frame.copy()
    y, x = y // size * size, x // size * size
    for edge in (np.s_[y : y + size, [x, min(x + size, frame.shape[1]) - 1]],
                 np.s_[[y, min(y + size, frame.shape[0]) - 1], x : x + size]):
        frame[edge] = 255
    return frame


def middle(clip, t):
    """A pixel (y, x) in the middle of the first object in frame t: the one farthest from its edge."""
    import cv2

    inside = cv2.distanceTransform((clip.masks[t] == clip.ids[0]).astype(np.uint8), cv2.DIST_L2, 3)
    return tuple(int(v) for v in np.unravel_index(inside.argmax(), inside.shape))


def darkest(clip, t):
    """A pixel (y, x) in the darkest square of frame t."""
    light = F.avg_pool2d(clip.frame(t)[None], 4)[0].sum(0)
    return tuple(4 * int(v) for v in np.unravel_index(int(light.argmin()), light.shape))


def by_colour(loud, t, asks):
    y, x = middle(easy, t) if asks == "the object" else darkest(easy, t)
    memory, question = colours(easy, 0, loud), colours(easy, t, loud)[:, y // 4, x // 4]
    seen = dot_affinity(memory.flatten(1), question[:, None])[:, 0].reshape(memory.shape[1:])
    large = seen.repeat_interleave(4, 0).repeat_interleave(4, 1)
    return show.images([marked(easy.frames[t], y, x), lit(easy.frames[0][: len(large), : large.shape[1]], large)],
                       [f"frame {t}: the question", f"frame 0: the largest weight is {float(seen.max()):.4f}"],
                       height=200)


slider(by_colour, loud=(0, 60, 5, 20), t=(1, len(easy) - 1, 1, 6), asks=["the object", "the darkest square"])

# %% [markdown]
# Loud or not: do the squares that light up belong to the object? And which squares light up when the darkest square of
# the frame asks? Keep what you see in mind; section 7 comes back to it.

# %%
keep(lab, "lab5a.dot_affinity", dot_affinity)

# %% [markdown]
# ## 3 Reading
#
# A place of memory has a **value**, too: what is worth knowing about it. The simplest value is whether it lies in the
# object. A question reads the mean of all values, weighted by its column of the affinity:
#
# $$ r_j = \sum_i A_{ij}\, v_i $$
#
# *Shapes.* `affinity` is `...,N,M`, `mv` is `...,Cv,N`. Return `...,Cv,M`. What stands before broadcasts: one affinity
# `N,M` serves the values `K,Cv,N` of K objects.

# %% answer="lab5a.readout"
def readout(affinity: torch.Tensor, mv: torch.Tensor) -> torch.Tensor:
    """Weights ...,N,M of memory for each question, values ...,Cv,N of memory -> what each question reads, ...,Cv,M."""
    ### BEGIN SOLUTION
    return mv @ affinity
    ### END SOLUTION


# %% check="lab5a.readout" points=2
check("lab5a.readout", readout)

# %% [markdown]
# Affinity and readout together are a segmenter of a few lines: keys are colours, the value of a square of frame 0 is
# how much of it is object, and each later frame looks there. No training, no state, no flow.

# %%
def segmented(clip, affinity, loud=40.0, centred=True):
    """Label maps of a clip: each frame looks up its colours in frame 0."""
    c, found = small(clip), []
    memory = colours(c, 0, loud, centred)
    value = F.avg_pool2d(c.objects(0, c.ids).float()[None], 4)[0]  # K,h,w
    for t in range(len(c)):
        question = colours(c, t, loud, centred)
        read = readout(affinity(memory.flatten(1), question.flatten(1)), value.flatten(1)).reshape(value.shape)
        full = F.interpolate(torch.cat([1 - read.sum(0, keepdim=True), read])[None], c.size, mode="bilinear")[0]
        best = np.array([0, *c.ids], np.uint8)[full.argmax(0).numpy()]
        found.append(resize_mask(best, clip.size))
    return [clip.masks[0], *found[1:]]


system("copy", lambda: registry.make("copy-first", scale=SCALE))
looped("colours, dot", lambda clip: segmented(clip, dot_affinity), ("dot_affinity", "readout"))
compare(["copy", "colours, dot", "s2s"], ALL_CLIPS)
show.frames(easy, {"truth": easy.masks, "colours, dot": run("colours, dot", easy).masks})

# %% [markdown]
# Whatever it finds, it finds it in frame 0, however long the clip is, and wherever the object has gone. What is missing
# is a key that knows more than a colour, a value that knows more than one bit, and a decoder that draws clean edges
# from what was read. Those are learnt; the look-up itself has nothing to learn.

# %%
keep(lab, "lab5a.readout", readout)

# %% [markdown]
# ## 4 STM
#
# **STM** has two encoders. One sees a frame **with its mask** (and with the masks of the other objects), and writes
# keys and values at stride 16; the other sees the new frame alone and asks. Your two functions stand between them and
# the decoder. Memory holds frame 0, every fifth, and always the one before; masks in it are STM's **own**, but for
# frame 0. Nothing is tuned on the test video.

# %%
system("stm", lambda: registry.make("stm", scale=SCALE, affinity=dot_affinity, read=readout),
       uses=("dot_affinity", "readout"))
compare(["s2s", "rvos ST", "colours, dot", "stm"], ALL_CLIPS)
predict.reveal("lab5a.back", run("stm", away).late_j(BACK))
predict.reveal("lab5a.easy", run("stm", easy).mean_j())

# %% [markdown]
# *Expected* (toy): STM has 0.84 on `easy`, as S2S and RVOS have, and 0.56 after the return. Over the whole re-entry
# clip it is ahead of both (0.41), and behind them on the other two: 0.29 on `occlusion`, 0.26 on `look-alike`, where
# RVOS has 0.84. Looking up is not yet enough. Sections 5 and 6 take apart why, and what cures it.

# %%
over_time(["s2s", "rvos ST", "stm"], away)

# %%
show.frames(away, {"truth": away.masks, "s2s": run("s2s", away).masks, "stm": run("stm", away).masks},
            title=f"the object is back in frame {BACK}")

# %% [markdown] quiz="lab5a.q_state" points=1
# **What is the recurrent network's state, and what is the memory's?**
#
# - a) Both are feature maps that each frame overwrites; the memory's are only larger.
#   Wrong: nothing in memory is overwritten. Frames are added, and perhaps let go, whole.
# - b) The RNN's is the mask that it hands on, the memory's is all masks since frame 0.
#   Wrong: the RNN's state held features, too; handing on masks alone was mask propagation, in lab 2. And a mask in
#   memory is no use without its frame: that is where the keys come from.
# - c) The RNN's is maps that every frame writes into, the memory's is frames kept whole.
#   Right: the maps are of one size, the list of frames grows. An RNN must decide, as it was trained to, what to keep
#   before it knows what will be asked. A memory decides afterwards, by looking.
# - d) The RNN's is its feature maps; the memory has none, since each frame stands by itself.
#   Wrong: segmenting each frame by itself was OSVOS. Here frames in memory are past ones, with masks that were found on
#   the way.

# %% [markdown]
# ### Click a pixel
#
# Which places of memory does a pixel look at? Click one in the picture (or use the arrow keys; where widgets do not
# run, what is drawn is the middle of the object). Below it are the frames that get most of the attention, dark where
# nothing is looked at. Ask something inside the object, something at its edge, something on the look-alike, and on
# plain background: what does background look at?

# %%
WATCH = larger("look-alike", length=14)
WHEN = 12
STOPPED = {}


@torch.no_grad()
def before(name, clip, t):
    """A system, stopped just before frame t: what is in memory is what was there then."""
    key = (name, clip.name, t, yours(name))
    if key not in STOPPED:
        segmenter, c = MAKE[name](), small(clip)
        segmenter.start(padded(c.frame(0)), padded(c.objects(0, c.ids)) > 0.5)
        for s in range(1, t):
            segmenter.step(padded(c.frame(s)))
        STOPPED[key] = segmenter
    return STOPPED[key]


def attention(name, clip, t, y, x, most=3):
    """A row of pictures: the question, and the frames in memory that it looks at most."""
    c, segmenter = small(clip), before(name, clip, t)
    h, w = c.size
    planes = looks(segmenter, padded(c.frame(t)), (y, x))[:, :h, :w].numpy()
    shares = planes.sum((1, 2))
    order = sorted(np.argsort(-shares, kind="stable")[:most])
    row = [viz.label(marked(c.frames[t], y, x, 16), f"{name}: frame {t}")]
    row += [viz.label(lit(c.frames[segmenter.bank.times[i]], planes[i], planes.max()),
                      f"frame {segmenter.bank.times[i]}: {shares[i]:.0%}") for i in order]
    return np.concatenate(row + [np.zeros_like(row[0])] * (most + 1 - len(row)), 1)


def look_at(names, clip, t):
    """For `pointer`: the attention of a pixel in each of some systems, a row each."""
    def draw(y, x):
        rows = np.concatenate([attention(name, clip, t, y, x) for name in names])
        return show.images([rows], height=150 * len(names))

    return pointer(draw, small(clip).frames[t], middle(small(clip), t))


look_at(["stm"], WATCH, WHEN)

# %% [markdown] quiz="lab5a.q_background" points=1
# **A pixel of the background looks into memory, too. What does it need to find there?**
#
# - a) Places like it, whose values tell it that they are not the object's.
#   Right: memory has to know what is NOT asked for, as well. Values are written from frame and mask, so those outside
#   the mask say so. That is why a look-alike that was in frame 0, unmasked, can be told apart, as long as the masks in
#   memory are right.
# - b) Nothing: memory holds the object alone, and background finds nothing there.
#   Wrong: memory holds whole frames. And no pixel finds nothing: its weights sum to 1, so where nothing is like it, it
#   reads other places all the same.
# - c) The nearest pixel of the object, to measure how far it is away.
#   Wrong: nothing here measures distances in the picture. Keys of STM do not even know where in the frame they are, but
#   for what a convolution sees of the border.
# - d) The same pixel in the frame before, since most of the ground stays put.
#   Wrong: it may happen to look there, if it is alike. No rule says so, and a camera that pans moves all of the ground.

# %% [markdown]
# ## 5 What to remember
#
# A film of a minute has 1,500 frames. Which of them go into memory? **Frame 0** always: its mask was given, it is the
# only one that is known to be true. **The last one**: it looks most like the new one. **Every n-th**: so that views
# which come and go are found again. And if memory has a **bound**, the oldest go, but never frame 0. Frame t itself
# cannot be there: its mask is what we are looking for.
#
# *Write* `remember(t, last, every, limit)`: the frames to hold while frame t is segmented (t is at least 1), as a list
# of numbers, **each once, the oldest first**: 0; `t - 1` if `last`; 0, `every`, 2 `every`, ... of those before t,
# unless `every` is None. If that is more than `limit` (None: no bound; else at least 1), let the oldest go until
# `limit` are left, but keep frame 0.

# %% answer="lab5a.remember"
def remember(t: int, last: bool = True, every: int | None = 5, limit: int | None = None) -> list[int]:
    """Frames to hold while frame t is segmented: 0, t - 1 if last, every n-th; at most limit, the oldest go first."""
    ### BEGIN SOLUTION
    held = {0} | ({t - 1} if last else set()) | (set(range(0, t, every)) if every else set())
    held = sorted(held)
    if limit is not None and len(held) > limit:
        held = held[:1] + held[len(held) - limit + 1 :]
    return held
    ### END SOLUTION


# %% check="lab5a.remember" points=3
check("lab5a.remember", remember)

# %% [markdown]
# Your rule as a picture: a line for each frame t, a dot for each frame that memory holds then.

# %%
def rule(every, limit, last):
    figure, axes = viz.axes_of(5.2, 3.0, "frame in memory", "frame t")
    points = [(s, t) for t in range(1, 41) for s in remember(t, last, every, limit)]
    axes.scatter(*zip(*points, strict=True), s=7)
    axes.set_ylim(41, 0)
    largest = max(len(remember(t, last, every, limit)) for t in range(1, 41))
    return show.described(figure, f"Frames in memory for every {every}, limit {limit}: at most {largest} at a time")


slider(rule, every=(1, 12, 1, 5), limit=(1, 12, 1, 5), last=True)

# %% [markdown]
# ### Predict, then measure
#
# STM with three rules, **first** alone, **first + last**, and **first + last + every fifth**, on three clips in which
# the object leaves and comes back, from that frame on. Which is best, and by how much? Then the same with **true**
# masks in memory, as if the network never made a mistake: how much of what a rule gains or loses is the rule's, and how
# much is due to the masks that it stores?

# %%
predict("lab5a.rules", [0.5, 0.5, 0.5], "mean J after the return: first, first+last, and every?")
predict("lab5a.true", [0.5, 0.5, 0.5], "the same with true masks in memory?")

# %%
RULES = {"first": (False, None), "first+last": (True, None), "first+last+every": (True, 5)}
PARTS = ("dot_affinity", "readout", "remember")


def ruled(last, every, limit=None, **options):
    return registry.make("stm", scale=SCALE, affinity=dot_affinity, read=readout, limit=None,
                         policy=lambda t: remember(t, last, every, limit), **options)


for name, (last, every) in RULES.items():
    for true in (False, True):
        system(name + ", true" * true, lambda last=last, every=every: ruled(last, every), PARTS, true)


def after(clip, t, true=False):
    return [run(name + ", true" * true, clip).late_j(t) for name in RULES]


RETURNS = [away, *(toy.clip(seed, split="val", name=f"re-entry {seed}", out_of_view=True) for seed in (901, 902))]
OWN, TRUE = ([after(clip, back(clip), true) for clip in RETURNS] for true in (False, True))
for clip, *pair in zip(RETURNS, OWN, TRUE, strict=True):
    table([[said, *values] for said, values in zip(("own masks", "true masks"), pair, strict=True)],
          [f"'{clip.name}', J from frame {back(clip)} on", *RULES])
    print()
predict.reveal("lab5a.rules", np.mean(OWN, axis=0).round(3))
predict.reveal("lab5a.true", np.mean(TRUE, axis=0).round(3))

# %% [markdown]
# *Expected* (toy), mean of the three: 0.27, 0.18 and 0.19 with its own masks, 0.27, 0.42 and 0.46 with true ones. On
# the third clip nothing finds the object again, not even with true masks: a memory is as good as its keys.

# %%
over_time(list(RULES), away, f"'{away.name}': J, own masks in memory")

# %%
over_time([name + ", true" for name in RULES], away, f"'{away.name}': J, true masks in memory")

# %% [markdown]
# Three clips are three throws of the dice. Here are others, seen from their middle on: the clip with the occlusion, the
# one with the look-alikes, in which nothing leaves, and a **real** one, where DAVIS is present: a motocross rider who
# comes close, fills the frame, and is then small again (every third frame of it).

# %%
def real_clip():
    """Every third frame of a real clip, where there is one; else the look-alike's."""
    if not lab.real:
        print("no real clip here: VOS_TEACH_DAVIS names no folder (see lab 0); a toy clip stands in for it")
        return twins
    clip = lab.real.get("motocross-jump") or next(iter(lab.real.values()))
    return replace(clip, frames=clip.frames[::3], masks=clip.masks[::3], frame_names=clip.frame_names[::3],
                   forward_flow=None, backward_flow=None, name=f"{clip.name}, every third frame")


real = real_clip()
for clip in (hidden, twins, *([real] if real is not twins else [])):
    half = len(clip) // 2
    table([["own masks", *after(clip, half)], ["true masks", *after(clip, half, True)]],
          [f"'{clip.name}', J from frame {half} on", *RULES])
    print()

# %% [markdown]
# *Expected* (toy): on the look-alike 0.72, 0.09 and 0.11 with its own masks; 0.72, 0.72 and 0.76 with true ones. There
# the frame before does all the harm, and it is the mask in it that does it.

# %%
show.frames(real, {"truth": real.masks, **{name: run(name, real).masks for name in RULES}})

# %% [markdown]
# Frame 0 has no mistakes. Every other frame is remembered with the mask that was found for it, and a mistake that is
# stored is read again, by all frames that follow. Compare the two rows: which rule gains most from true masks? Where a
# rule is better with true masks and worse with the network's own, what could be done about it: by a rule that is asked
# *whether* to remember? In training? (This network was trained with its own masks in memory already, over windows of
# three and four frames.)

# %% [markdown] quiz="lab5a.q_true" points=1
# **Suppose that with true masks in memory "first + last + every n-th" beats "first" alone, and with the network's own
# masks it does not. What would follow?**
#
# - a) That frame 0 is enough, since further frames tell nothing new.
#   Wrong: with true masks they are of use, so there is something to be found in them.
# - b) That the softmax is too soft, since many places share the weight.
#   Wrong: then true masks would not help either. Memory has as many places with them.
# - c) That frame 0 should go, too, since its view is the oldest of all.
#   Wrong: its mask is the only one without mistakes. It is the same in both rows; what differs is the others.
# - d) That further views help, and the mistakes in their masks undo it.
#   Right: the difference between the two rows is what stored mistakes cost, so judge a rule by both. What is missing is
#   better masks, or a rule that leaves bad ones out.

# %% [markdown]
# ### What a growing memory costs
#
# `every=1` and no bound: seconds for each frame of a film that goes on, and the same with at most six frames. (A clip
# of twice the usual size: what grows is the affinity, N x M numbers, and N is frames times cells.)

# %%
LONG = larger("easy", length=36)


def step_seconds(limit):
    segmenter = ruled(True, 1, limit)
    return engine.run(segmenter, LONG, height=height(LONG)).step_seconds


show.curves({"all frames": step_seconds(None), "at most 6": step_seconds(6)}, "seconds for each frame, in STM", "s",
            first=1)

# %% [markdown] quiz="lab5a.q_cost" points=1
# **Every n-th frame is remembered, without a bound. How does the time for ONE frame grow with the length of the film,
# and what does a bound change?**
#
# - a) It stays the same, as every frame is encoded and decoded once; a bound saves only room.
#   Wrong: encoding and decoding stay the same, but each question has to be compared with more and more places. With a
#   bound it is time that is saved, too.
# - b) Quadratically, since every place is compared with every other; a bound makes it linear.
#   Wrong: only the new frame's cells ask. Over the WHOLE film that sums to a square, for one frame it is linear, and
#   under a bound it stays the same.
# - c) Exponentially, since a softmax takes a power for each score; a bound only delays it.
#   Wrong: it has an exponential function in it, and as many of those as there are scores. One place more is one more
#   for each question.
# - d) Linearly, as each place in memory is a row of the affinity; a bound ends the growth.
#   Right: what is paid with is the middle of the past, which is let go; frame 0 and the newest stay. For an hour of
#   film one must choose, or merge places that are alike.

# %%
keep(lab, "lab5a.remember", remember)

# %% [markdown]
# ## 6 One affinity for all objects
#
# STM's keys are written from frame **and mask**. So each object has keys of its own, and an affinity of its own: five
# objects are five encodings of each frame in memory and five affinities. **STCN** asks whether that makes sense. Do two
# places *look alike* only if a certain object is asked for? Its keys come from the frame alone, and the same encoder
# makes keys for memory and for questions. One affinity serves all objects; only the values know of masks. And a frame
# that was segmented has its key already: to remember it costs nothing but its values.
#
# Now the whole look-up. Memory is a list of frames, and each frame is a pair: a key `C,h,w` and the values of all
# objects `K,Cv,h,w`. The question is a key `C,H,W` (as a rule H,W is h,w; do not rely on it).
#
# *Write* `look_up(affinity, memory, qk)`, which returns what each cell of the question reads for each object,
# `K,Cv,H,W`. All places of all frames are **one** memory: they compete in **one** softmax. `affinity(mk, qk)` takes
# `C,N` and `C,M`, returns `N,M`, and may be asked **once**: it is the expensive part. Keys and values must stand in the
# same order.

# %% answer="lab5a.look_up"
def look_up(affinity, memory: list[tuple[torch.Tensor, torch.Tensor]], qk: torch.Tensor) -> torch.Tensor:
    """Frames in memory, (key C,h,w, values K,Cv,h,w) each; a question's key C,H,W -> what it reads, K,Cv,H,W."""
    ### BEGIN SOLUTION
    mk = torch.cat([key.flatten(1) for key, _ in memory], dim=-1)  # C,N
    mv = torch.cat([value.flatten(2) for _, value in memory], dim=-1)  # K,Cv,N
    read = mv @ affinity(mk, qk.flatten(1))  # K,Cv,M
    return read.unflatten(-1, qk.shape[-2:])
    ### END SOLUTION


# %% check="lab5a.look_up" points=3
check("lab5a.look_up", look_up)

# %% [markdown]
# STCN with your look-up in it, and first with your dot product: this network was **trained** with it (`stcn-dot`). The
# one that the paper proposes, with a distance, follows in section 7.

# %%
def looking(segmenter):
    """STCN whose memory is read by your look_up."""
    net = segmenter.net

    def segment(memory, seen, rows):
        kept = [(entry.key, entry.value) for entry in segmenter.bank.entries]
        return net.decoder(look_up(net.attend, kept, seen.key[0]), seen.value, seen.skips, rows)

    net.segment = segment
    return segmenter


system("stcn, dot", lambda: looking(registry.make("stcn", weights="stcn-dot", scale=SCALE, affinity=dot_affinity)),
       uses=("dot_affinity", "look_up"))
compare(["stm", "stcn, dot"], [*ALL_CLIPS, *MANY])

# %% [markdown]
# ### Time against objects
#
# Seconds for a frame with one to five objects, and J beside them. Predict first: by what factor does the time of each
# grow from one object to five?

# %%
predict("lab5a.growth", [3.0, 2.0], "time with 5 objects over time with 1: STM, STCN?")

# %%
COUNTS = (1, 2, 3, 4, 5)
WAYS = ("stm", "stcn, dot")
crowds = {n: crowd(n) for n in COUNTS}
for way in WAYS:
    run(way, crowds[1])  # the first run of a network is slower than the others: it is not counted
    DONE.pop((way, crowds[1].name, crowds[1].ids, yours(way)))
table([[f"{n} objects", *(v for way in WAYS for r in [run(way, crowds[n])] for v in (r.mean_j(), r.mean_f(), r.step))]
       for n in COUNTS], ["", *(f"{way}: {what}" for way in WAYS for what in ("J", "F", "s a frame"))])
figure, axes = viz.axes_of(5.2, 2.6, "objects", "seconds a frame")
for way in WAYS:
    axes.plot(COUNTS, [run(way, crowds[n]).step for n in COUNTS], marker="o", label=way)
axes.set_ylim(0)
axes.legend(frameon=False)
predict.reveal("lab5a.growth", [run(way, crowds[5]).step / run(way, crowds[1]).step for way in WAYS])
show.described(figure, "Seconds a frame against the number of objects: STM, and STCN with one affinity for all")

# %% [markdown]
# *Expected* (toy): from one object to five STM takes a little over twice the time, STCN one and a half times; J falls
# from 0.89 to 0.42 with STM, and from 0.90 to 0.72 with STCN.

# %% [markdown] quiz="lab5a.q_share" points=1
# **Why can STCN use one affinity for all objects, and STM cannot? And what is still paid for each object?**
#
# - a) Because its values are the same for all objects; each object costs a decoder alone.
#   Wrong: values are just what differs. They say where the object is, and each object's have to be written.
# - b) Because its keys know no masks; each object still costs its values and a decoder.
#   Right: STM writes its keys from frame and mask, so they differ from object to object. STCN's values come from a
#   light encoder. In neither system are objects free: it is "one pass for each object behind a shared encoder". AOT, in
#   lab 5b, has one pass for all.
# - c) Because it keeps fewer frames, and so has room for all; each object costs a decoder.
#   Wrong: that makes the affinity smaller; it would still be one for each object. And a decoder is not all that each
#   costs.
# - d) Because its softmax runs over all objects at once; then one more costs nothing.
#   Wrong: it runs over places of memory. Objects meet only when their masks are merged, and each has had a decoder of
#   its own by then.

# %%
keep(lab, "lab5a.look_up", look_up)

# %% [markdown]
# ## 7 A distance instead of a product
#
# Look at the formula of section 2 again. $k \cdot q$ is large if $k$ and $q$ point the same way, **and if $k$ is
# long**. A long key has a high score with half of all questions. Here are six keys in a plane (C = 2), each with a
# colour as its value, and every point of the plane asks: its colour is what it reads. Make the red key longer. And who
# reads the grey one, which is short?

# %%
SPOTS = torch.tensor([[0.9, 0.2, -0.8, -0.5, 0.5, -0.1], [0.3, 0.9, 0.4, -0.7, -0.8, 0.1]])
PAINT = torch.tensor([[0.84, 0.37, 0.0], [0.0, 0.45, 0.7], [0.0, 0.62, 0.45], [0.94, 0.89, 0.26], [0.8, 0.47, 0.65],
                      [0.6, 0.6, 0.6]]).T  # red, blue, green, yellow, pink, grey
PLANE = torch.stack(torch.meshgrid(torch.linspace(-2, 2, 120), torch.linspace(-2, 2, 120), indexing="xy"))


def spots(times):
    """The six keys, the first one so many times as long."""
    scale = torch.ones(6)
    scale[0] = times
    return SPOTS * scale


def painted(affinity, keys, sharp=4.0):
    """What every point of the plane reads, H,W,3, with the keys drawn as black squares."""
    read = readout(affinity(sharp * keys, sharp * PLANE.flatten(1)), PAINT)
    picture = (read.reshape(3, 120, 120).permute(1, 2, 0).numpy().clip(0, 1) * 255).astype(np.uint8)
    for x, y in keys.T.tolist():
        row, column = (round((v + 2) / 4 * 119) for v in (y, x))
        if 0 <= row < 120 and 0 <= column < 120:
            picture[max(0, row - 2) : row + 3, max(0, column - 2) : column + 3] = 0
    return picture


def product(times):
    return show.images([painted(dot_affinity, spots(times))], [f"dot, red {times:.1f} times as long"],
                       height=260)


slider(product, times=(0.5, 6.0, 0.5, 3.0))

# %% [markdown]
# The short key is never the best match, not even for the questions just around it, which are more like it than like any
# other: little of it is ever read. STCN takes the negative squared **distance** instead:
#
# $$ s_{ij} = -\frac{\lVert m_i - q_j \rVert^2}{\sqrt C} = \frac{2\, m_i \cdot q_j - \lVert m_i\rVert^2 -
#    \lVert q_j\rVert^2}{\sqrt C} $$
#
# Read the right-hand side: it *is* the dot product, minus a fine for long keys. ($\lVert q_j\rVert^2$ is the same for
# all places of memory, so the softmax does not see it, and it need not be computed.) And one more thing: of a thousand
# places, nine hundred that are quite unlike still get a little weight each, and together that is much. So at test time
# only the **top k** places of each question count (STCN: 20); the softmax is taken of their scores alone.
#
# *Shapes.* As before: `mk` is `...,C,N`, `qk` is `...,C,M`, return `...,N,M` whose columns sum to 1. `top_k` None: all
# count; else only the `top_k` nearest of each question, the others weigh exactly 0; beyond N it means N. Differences of
# all pairs would need C x N x M numbers: the right-hand side needs N x M.

# %% answer="lab5a.l2_affinity"
def l2_affinity(mk: torch.Tensor, qk: torch.Tensor, top_k: int | None = None) -> torch.Tensor:
    """Keys ...,C,N and ...,C,M -> ...,N,M: softmax over memory of -|m - q|^2 / sqrt(C), of the top_k nearest alone."""
    ### BEGIN SOLUTION
    score = (2 * mk.transpose(-1, -2) @ qk - mk.square().sum(-2)[..., None]) / mk.shape[-2] ** 0.5  # ...,N,M
    if top_k is None or top_k >= score.shape[-2]:
        return torch.softmax(score, dim=-2)
    best, where = score.topk(top_k, dim=-2)  # ...,k,M
    return torch.zeros_like(score).scatter(-2, where, torch.softmax(best, dim=-2))
    ### END SOLUTION


# %% check="lab5a.l2_affinity" points=4
check("lab5a.l2_affinity", l2_affinity)

# %% [markdown]
# The plane again, side by side. What becomes of the red key's country as it grows longer, and why? And the grey one's?

# %%
def both(times):
    keys = spots(times)
    return show.images([painted(dot_affinity, keys), painted(l2_affinity, keys)],
                       [f"dot, red {times:.1f} times as long", "distance"], height=260)


slider(both, times=(0.5, 6.0, 0.5, 3.0))

# %% [markdown]
# And the segmenter of a few lines: its keys are colours, now plain ones, from black (a short key) to white (the longest
# there is). The same frames, the same values; one line is different.

# %%
looped("plain colours, dot", lambda clip: segmented(clip, dot_affinity, centred=False), ("dot_affinity", "readout"))
looped("plain colours, L2", lambda clip: segmented(clip, l2_affinity, centred=False), ("l2_affinity", "readout"))
compare(["copy", "colours, dot", "plain colours, dot", "plain colours, L2"], ALL_CLIPS)

# %% [markdown]
# *Expected* (toy): on `easy` 0.00 by the dot product and 0.83 by the distance, on `occlusion` 0.17 and 0.73;
# look-alikes have one colour, and neither helps. On `occlusion` that is more than any network of today has: there the
# object's plain colour is all that one needs.

# %%
show.frames(easy, {"truth": easy.masks, "dot": run("plain colours, dot", easy).masks,
                   "L2": run("plain colours, L2", easy).masks})

# %% [markdown] quiz="lab5a.q_norm" points=1
# **With the dot product, what does a place of memory with a key of very large norm do?**
#
# - a) It is read by nobody, since its scores overflow and drop out of the softmax.
#   Wrong: softmax subtracts the largest score first, so nothing overflows.
# - b) Nothing special, since the division by sqrt(C) takes its length out again.
#   Wrong: sqrt(C) is the same number for all places, whatever the length of their keys.
# - c) It has the highest score for about half of all questions, alike or not.
#   Right: the score grows with |k|, in every direction within 90 degrees of k, and others that are more alike go
#   unread. The distance fines it by |k| squared: the place is then far from all but the few that are as long.
# - d) It is read more, but only by those like it: a long key is a confident one.
#   Wrong: its score grows for all questions within 90 degrees, alike or not. A network could learn to write into norms
#   how confident it is, but being confident is not being alike.

# %% [markdown]
# ### In the real network: how much of memory is ever read?
#
# A trained network has learnt to live with its affinity: `stcn-dot` was trained with the dot product, `stcn` with the
# distance, and all else is equal. `share_read` runs a clip and counts the places that are the very best of **any**
# question in **any** frame. The others never decided anything. Predict the share for each of the two.

# %%
predict("lab5a.share", [0.5, 0.5], "share of memory that is ever read: dot product, distance?")

# %%
system("stcn", lambda: looking(registry.make("stcn", scale=SCALE, affinity=l2_affinity)),
       uses=("l2_affinity", "look_up"))
SHARE_OF = ALL_CLIPS[0] if REAL else larger("re-entry", length=14)
SHARES = {}


def shares(clip):
    key = clip.name, dot_affinity, l2_affinity, look_up
    if key not in SHARES:
        SHARES[key] = [share_read(MAKE[name](), clip, height(clip), 1) for name in ("stcn, dot", "stcn")]
    return SHARES[key]


table([[c.name, *shares(c)] for c in ((SHARE_OF,) if REAL else (easy, SHARE_OF))], ["share read", "stcn, dot", "stcn"])
print()
compare(["stm", "stcn, dot", "stcn"], [*ALL_CLIPS, *MANY])
predict.reveal("lab5a.share", shares(SHARE_OF))

# %% [markdown]
# *Expected* (toy): 0.80 and 1.00 on `easy`, 0.82 and 0.92 on the other clip. So the paper's point holds for trained
# networks: by the dot product a part of memory is never the best for anybody. But J of the two is within about 0.02 on
# every clip: what is never read is not missed, as its neighbours say the same. (The paper has a difference in quality,
# too, after far longer training; page 5 has ours on real frames.) Compare both with STM instead: from 0.26 to 0.79 and
# more on the look-alike. What made the difference there is above all a memory without the frame before (section 5: 0.72
# with the first alone).

# %% [markdown]
# Click again: the upper row is the network trained with the dot product, the lower one that with the distance. Which of
# them looks at few places, which at the right ones? Try the look-alike.

# %%
look_at(["stcn, dot", "stcn"], WATCH, WHEN)

# %% [markdown]
# ### Top k
#
# From one place to all of them. Where is J best?

# %%
TOPS = (1, 4, 20, 60, None)
for k in TOPS:
    system(f"top {k or 'all'}", lambda k=k: registry.make("stcn", scale=SCALE, affinity=l2_affinity, read=readout,
                                                          top_k=k), uses=("l2_affinity", "readout"))
table([[c.name, *(run(f"top {k or 'all'}", c).mean_j() for k in TOPS)] for c in (twins, away, MANY[1])],
      ["J", *(f"top {k or 'all'}" for k in TOPS)])

# %% [markdown]
# *Expected* (toy): equal to the second digit. These keys have become so loud that the nearest place has nearly all of
# the weight, so it hardly matters how many more are let in.

# %%
keep(lab, "lab5a.l2_affinity", l2_affinity)

# %% [markdown]
# ## 8 Who gets the pixel?
#
# Each object's decoder says for each pixel how likely it is *its* object, and knows nothing of the others: two may both
# say 0.9, or all say 0.3. **Soft aggregation** makes one choice out of K answers. First, who wants a pixel if no object
# does? The background, with the probability that **none** of them is right:
#
# $$ p_0 = \prod_k (1 - p_k) $$
#
# Then all $K + 1$ go back to logits, and through one softmax:
#
# $$ \ell_m = \log\frac{p_m}{1 - p_m} \qquad\qquad \hat p_m = \frac{e^{\ell_m}}{\sum_n e^{\ell_n}} $$
#
# (With one object that is *not* $1 - p$ and $p$ again: 0.7 becomes 0.84. Who wins stays the same, by a larger margin;
# try it on paper.) Where a $p$ is 0 or 1 the logarithm is infinite, so all $K + 1$ are clamped to
# $[10^{-7}, 1 - 10^{-7}]$ first.
#
# *Shapes.* `prob` is `...,K,H,W`. Return `...,K+1,H,W`, **background first**, which sums to 1 over K + 1.
# Differentiable: in training the loss is taken of what comes out.

# %% answer="lab5a.soft_aggregate"
def soft_aggregate(prob: torch.Tensor) -> torch.Tensor:
    """Probabilities of K objects, each by itself, ...,K,H,W -> ...,K+1,H,W: background first, summing to 1."""
    ### BEGIN SOLUTION
    background = (1 - prob).prod(dim=-3, keepdim=True)
    p = torch.cat([background, prob], dim=-3).clamp(1e-7, 1 - 1e-7)
    return torch.softmax(torch.logit(p), dim=-3)
    ### END SOLUTION


# %% check="lab5a.soft_aggregate" points=3
check("lab5a.soft_aggregate", soft_aggregate)

# %% [markdown]
# Two discs that overlap, one said with probability `a`, the other with `b`; a little of each is said everywhere. Below
# are the three planes that **your** function makes of them. Where both are quite unsure, who wins?

# %%
def discs(a, b):
    y, x = torch.meshgrid(torch.arange(80.0), torch.arange(140.0), indexing="ij")
    first = a * torch.sigmoid((28 - (x - 50).hypot(y - 40)) / 2)
    second = b * torch.sigmoid((28 - (x - 88).hypot(y - 40)) / 2)
    merged = soft_aggregate(torch.stack([first, second]))
    ids = merged.argmax(0).numpy().astype(np.uint8)
    return show.images([*merged.numpy(), ids], ["background", f"a = {a:.2f}", f"b = {b:.2f}", "who wins"], height=120,
                       title="both at (40, 69): " + ", ".join(f"{v:.3f}" for v in merged[:, 40, 69].tolist()))


slider(discs, a=(0.05, 0.95, 0.05, 0.6), b=(0.05, 0.95, 0.05, 0.45))

# %% [markdown]
# In the real network, against two simpler ways to merge: every object by its own threshold with the later one on top,
# and probabilities divided by their sum. What is merged goes into memory, too, so a bad merge is read again.

# %%
def later_on_top(prob):
    out = torch.zeros(len(prob) + 1, *prob.shape[-2:])
    out[0] = 1
    for k, p in enumerate(prob):
        out[:, p > 0.5] = 0
        out[k + 1, p > 0.5] = 1
    return out


def shares_of_sum(prob):
    p = torch.cat([1 - prob.amax(0, keepdim=True), prob])
    return p / p.sum(0, keepdim=True)


for name, merge, used in (("soft", lambda p: soft_aggregate(p), ("soft_aggregate",)), ("on top", later_on_top, ()),
                          ("shares", shares_of_sum, ())):
    system(f"stcn, {name}", lambda merge=merge: registry.make("stcn", scale=SCALE, affinity=l2_affinity, read=readout,
                                                              aggregate=merge), uses=("l2_affinity", "readout", *used))
compare(["stcn, soft", "stcn, on top", "stcn, shares"], [*MANY, crowd(5), lab.own])

# %% [markdown]
# *Expected* (toy): within 0.01. At inference a merge decides few pixels; its worth is in training, where its gradient
# tells each object of the others.

# %% [markdown] quiz="lab5a.q_merge" points=1
# **Three objects each say 0.4 for a pixel. What does soft aggregation give the background, and why?**
#
# - a) The least: (1 - 0.4)^3 = 0.216, whose odds are below those of 0.4.
#   Right: three who each half believe it make it likely that SOMEBODY is there; they share what is left evenly: 0.12
#   for the background, 0.29 for each object. With a threshold for each object it would have been background.
# - b) The most: no object reaches 1/2, so nobody wants the pixel, and it is left over.
#   Wrong: each of them doubts it, but it is not likely that all three are wrong.
# - c) A quarter, as much as each object, since softmax shares evenly among four.
#   Wrong: that would be so if its own p were 0.4, too.
# - d) Nothing: 1 - 3 x 0.4 is less than 0, and what is below 0 is clamped.
#   Wrong: probabilities of independent answers are multiplied, not summed.

# %%
keep(lab, "lab5a.soft_aggregate", soft_aggregate)

# %% [markdown]
# ## 9 STM against STCN
#
# All your functions in both, on the same clips: quality, time, and what is in memory at the end.

# %%
system("stm, yours", lambda: registry.make(
    "stm", scale=SCALE, affinity=dot_affinity, read=readout, limit=None, policy=lambda t: remember(t, True, 5, 16),
    aggregate=lambda p: soft_aggregate(p)), uses=("dot_affinity", "readout", "remember", "soft_aggregate"))
system("stcn, yours", lambda: looking(registry.make(
    "stcn", scale=SCALE, affinity=l2_affinity, limit=None, policy=lambda t: remember(t, False, 5, 8),
    aggregate=lambda p: soft_aggregate(p))), uses=("l2_affinity", "look_up", "remember", "soft_aggregate"))
FINAL = ("stm, yours", "stcn, yours")
table([[c.name, *(v for name in FINAL for r in [run(name, c)] for v in (r.mean_j(), r.mean_f(), r.step))]
       for c in [*ALL_CLIPS, *MANY]], ["", *(f"{n.partition(',')[0]}: {w}" for n in FINAL for w in ("J", "F", "s"))])

# %%
for name in FINAL:
    segmenter = before(name, away, len(away) - 1)
    cells = sum(entry.key.numel() + entry.value.numel() for entry in segmenter.bank.entries)
    print(f"{name}: frames {segmenter.bank.times} in memory, {cells:,} numbers in all")

# %%
show.frames(twins, {"truth": twins.masks, **{name.partition(",")[0]: run(name, twins).masks for name in FINAL}})

# %% [markdown] quiz="lab5a.q_single_pass" points=1
# **In lab 3 the lecture asked how an architecture could deal with several objects in a single pass. What is the answer
# of the memory networks?**
#
# - a) A full one: each object has an input channel, and one pass gives all masks.
#   Wrong: that was LucidTracker, and its number of objects is fixed by its weights. Here each object is decoded by
#   itself.
# - b) Half of one: the frame is encoded once, but each object is decoded by itself.
#   Right: in STCN it is matched once, too, and objects meet only when their masks are merged. The number of objects is
#   free, and what they share is what does not depend on them. A decoder that sees all objects together is what AOT
#   adds.
# - c) None: the whole network runs once for each object, since each has a memory.
#   Wrong: the query encoder runs once for a frame, in both.
# - d) A full one: memory holds all objects as one foreground, and they are told apart last.
#   Wrong: each has values of its own from the first frame on.

# %% [markdown]
# ## 10 Your own clip: ask for either object
#
# Each system is asked for one object, then for the other, and gives its J on both. The last lines ask for both at once.

# %%
mine = lab.own
rows = []
for name in ("s2s", *FINAL):
    for k in mine.ids:
        one = replace(mine, ids=(k,), starts={k: mine.starts[k]}, name=f"{mine.name}, object {k}")
        masks, frames = run(name, one).masks, scored(mine)
        found = np.stack([masks[t] == k for t in frames])
        j = {other: jaccard(found, np.stack([mine.masks[t] == other for t in frames])).mean() for other in mine.ids}
        rows.append([name, k, float(j[k]), *(float(v) for other, v in j.items() if other != k)])
table(rows, ["own clip", "asked for", "J of it", *["J of the other"] * (len(mine.ids) - 1)])
for name in FINAL:
    print(f"{name}, all at once: " + ", ".join(f"J of object {k} {run(name, mine).J[k].mean():.3f}" for k in mine.ids))

# %% [markdown]
# *Expected* (the shipped clip), first and second object: S2S 0.30 and 0.39, STM 0.22 and 0.39, STCN 0.69 and 0.79; none
# takes the other for the one that was asked for. All at once STM has 0.23 and 0.52, STCN 0.70 and 0.80.

# %%
show.frames(mine, {"truth": [m if m is not None else np.zeros(mine.size, np.uint8) for m in mine.masks],
                   **{name.partition(",")[0]: run(name, mine).masks for name in ("s2s", *FINAL)}})

# %% [markdown]
# ## 11 The score card
#
# Two lines more for each clip, and quality against time of all that you have run since lab 1.

# %%
for name in FINAL:
    for clip in CLIPS.values():
        r = run(name, clip)
        steady = float(np.nanmean(r.T)) if np.isfinite(r.T).any() else None  # None: nothing was found to be compared
        card.add(lab, name.partition(",")[0], clip, J=r.mean_j(), F=r.mean_f(), T=steady, seconds_per_frame=r.seconds())
card.show(lab)

# %% [markdown]
# The best picture of today, and the new failure. The object that left is looked up when it is back. But a memory
# believes whatever is written in it. STM always keeps the frame before: what it misses of the object once is in memory
# a frame later, as background, and is read from there, so that the mask withers. (STCN, which does not keep that frame,
# holds on; section 5 has shown what each rule does on this clip.)

# %%
show.frames(away, {"truth": away.masks, "s2s": run("s2s", away).masks, "stcn": run("stcn, yours", away).masks},
            title="it left, it is back, and it was looked up")

# %%
show.frames(twins, {"truth": twins.masks, "stm": run("stm, yours", twins).masks},
            title="and two that look alike: a memory that believes its own mistakes")

# %% [markdown] manual="lab5a.reflection" points=4
# **What should be remembered?** A camera in a forest watches one fox, marked by a keeper in the first frame, for an
# hour. It is away for minutes, comes back in other light, and there are other foxes. The machine has room for eight
# frames. Choose a system (S2S, RVOS, STM, STCN), and a **rule** by which its memory is filled and emptied, and defend
# both. Give **two numbers that you measured** today; say **what a wrong mask in memory does** from then on, and what
# your rule does against it; say **which frames are let go** and what is lost with them; and name **one thing that no
# rule can mend** in this film. About ten sentences.
#
# ### BEGIN SOLUTION *One good answer among several.* STCN: there is one object, so its shared affinity is no argument
# here, but its keys are made once for each frame, and a frame that is remembered costs only its values. A recurrent
# network is out of the question: after minutes without the fox its state has been overwritten by trees; I measured the
# J of S2S after the return against that of STM on the re-entry clip. My rule is frame 0 for ever, and of the rest every
# n-th, but only frames in which the fox was found and its mask is sure; how the time for a frame grows with every=1,
# and that it does not with a bound, I measured as well. A wrong mask in memory is read again by all frames that look
# alike, and writes further wrong masks: what that costs is the difference between own and true masks. So a frame whose
# probabilities are near 1/2, or whose mask jumps, is not stored. Full, the memory lets go the oldest but the first;
# what is lost is the middle: the fox by dusk, if dusk was an hour ago. Better would be to let go the frame that is most
# like another one in memory, so that different views stay. What no rule can mend: a second fox that was never in the
# first frame looks like ours, and memory holds nothing that says "not this one"; and who comes back after minutes is
# known by its looks alone.
#
# *Marking:* one point each for a system and a rule that fit the conditions, with reasons from the task; two measured
# numbers used correctly; what wrong masks do, and what the rule does against it; what is let go and what no rule mends.
# ### END SOLUTION

# %% [markdown]
# ## 12 What to take home, and what breaks
#
# - **Memory** keeps frames with their masks, and chooses when it is asked. **Affinity**: softmax over memory, a column
#   for each question. **Readout**: a weighted mean of values. Neither has anything to learn; keys and values do.
# - **Which frames**: the first is the only true one; every other one carries the network's own mistakes along. Judge a
#   rule with true masks and with its own. A bound makes a long film cost as much as a short one.
# - **STCN**: keys without masks, so one affinity for all objects; a frame's key is made once.
# - **L2, not dot**: a long key steals; a distance fines it, and more of memory is read. **Top k**: the many unlike
#   places shall not add up.
# - **Soft aggregation**: background is what nobody wants; one softmax over the logits of all.
# - What breaks: memory grows with the film unless something is let go; a mistake that is stored is read again, and on
#   look-alikes it is soon made; at stride 16 small
#   things are a fraction of a cell; each object is still decoded by itself.
#
# **Lab 5b** lets all objects, and all frames, attend to each other at once, and makes that affordable.
#
# *Reading.* Oh et al., *Video object segmentation using space-time memory networks* (ICCV 2019): section 3. Cheng et
# al., *Rethinking space-time networks with improved memory coverage for efficient video object segmentation* (NeurIPS
# 2021): sections 3 and 4. Vaswani et al., *Attention is all you need* (NeurIPS 2017): section 3.2.
