"""Stage 4: recurrent networks."""

from __future__ import annotations

import numpy as np
from drawing import BLUE, GOLD, GREEN, PINK, RED, arrow, blank, box, canvas, figure, kept
from matplotlib.figure import Figure
from matplotlib.patches import Circle

from vos_teach import claims_speed, viz

GREY = "#555555"


@figure
def convlstm_cell() -> Figure:
    """A ConvLSTM cell: one convolution, four maps, two states."""
    made, axes = canvas(12.4, 4.6, 0.84)
    box(axes, 1.2, 1.3, 1.9, 0.8, "features x(t)", GREY, 13)
    box(axes, 1.2, 2.6, 1.3, 0.8, "h(t-1)", BLUE, 14)
    box(axes, 3.6, 1.95, 1.5, 1.1, "one\nconvolution", GREY, 13)
    arrow(axes, (2.2, 1.35), (2.83, 1.75))
    arrow(axes, (1.88, 2.6), (2.83, 2.15), BLUE)
    for y, colour, text in ((3.25, GOLD, "σ  forget f"), (2.4, GREEN, "σ  input i"), (1.55, PINK, "tanh  candidate g"),
                            (0.7, RED, "σ  output o")):
        box(axes, 5.9, y, 2.0, 0.62, text, colour, 13)
        arrow(axes, (4.37, 1.95), (4.86, y))
    for x, y, text in ((8.1, 4.1, "×"), (8.1, 1.98, "×"), (9.6, 4.1, "+"), (10.3, 0.7, "×")):
        box(axes, x, y, 0.4, 0.45, text, GREY, 15)
    box(axes, 1.2, 4.1, 1.3, 0.8, "c(t-1)", RED, 14)
    arrow(axes, (1.88, 4.1), (7.85, 4.1), RED)
    arrow(axes, (6.93, 3.3), (7.95, 3.85), GOLD)
    arrow(axes, (6.93, 2.35), (7.86, 2.05), GREEN)
    arrow(axes, (6.93, 1.6), (7.86, 1.9), PINK)
    arrow(axes, (8.33, 4.1), (9.35, 4.1))
    arrow(axes, (8.33, 2.05), (9.5, 3.83))
    arrow(axes, (9.83, 4.1), (10.9, 4.1), RED)
    box(axes, 11.5, 4.1, 1.1, 0.8, "c(t)", RED, 14)
    box(axes, 11.5, 2.4, 1.1, 0.62, "tanh", GREY, 13)
    arrow(axes, (11.5, 3.68), (11.5, 2.75), RED)
    arrow(axes, (6.93, 0.7), (10.05, 0.7), RED)
    arrow(axes, (11.2, 2.07), (10.4, 0.97))
    arrow(axes, (10.53, 0.7), (10.9, 0.7), BLUE)
    box(axes, 11.5, 0.7, 1.1, 0.8, "h(t)", BLUE, 14)
    return made


@figure
def s2s_network() -> Figure:
    """S2S: the first frame fills the state, which is all that is handed on."""
    made, axes = canvas(12.6, 4.4, 0.84)
    box(axes, 1.2, 0.7, 1.8, 0.85, "frame 0\n+ its mask", GREY, 13)
    box(axes, 1.2, 2.3, 1.7, 0.85, "initializer", GOLD, 14)
    arrow(axes, (1.2, 1.17), (1.2, 1.83))
    arrow(axes, (2.08, 2.3), (3.55, 2.3), GOLD)
    axes.text(2.82, 2.55, "$h_0, c_0$", fontsize=15, ha="center", color=GOLD)
    for i in range(3):
        x = 4.4 + 3.2 * i
        axes.text(x, 0.2, f"frame {i + 1}", fontsize=13, ha="center", va="center", color="#222222")
        arrow(axes, (x, 0.4), (x, 0.72))
        box(axes, x, 1.1, 1.5, 0.72, "encoder", BLUE, 13)
        arrow(axes, (x, 1.5), (x, 1.87), BLUE)
        box(axes, x, 2.3, 1.6, 0.8, "ConvLSTM", RED, 13)
        arrow(axes, (x, 2.73), (x, 3.1), RED)
        box(axes, x, 3.48, 1.5, 0.72, "decoder", GREEN, 13)
        arrow(axes, (x, 3.88), (x, 4.1), GREEN)
        axes.text(x, 4.27, f"mask {i + 1}", fontsize=13, ha="center", va="center", color="#222222")
        if i < 2:
            arrow(axes, (x + 0.83, 2.3), (x + 2.35, 2.3), RED)
            axes.text(x + 1.6, 2.55, f"$h_{i + 1}, c_{i + 1}$", fontsize=15, ha="center", color=RED)
    return made


@figure
def visual_memory_network() -> Figure:
    """Visual memory: two streams into a memory that runs both ways."""
    made, axes = canvas(12.6, 4.4, 0.84)
    for y, data, net, colour, out in ((3.3, "frame t", "appearance\nnetwork", BLUE, "128 channels"),
                                      (1.1, "flow t to t+1", "motion network,\nfrozen", RED, "one map")):
        box(axes, 1.1, y, 1.75, 0.8, data, GREY, 13)
        box(axes, 3.7, y, 2.1, 1.0, net, colour, 13)
        arrow(axes, (2.0, y), (2.6, y))
        arrow(axes, (4.8, y), (5.75, 2.2 + 0.25 * np.sign(y - 2.2)), colour)
        axes.text(5.5, y + 0.3 * np.sign(y - 2.2), out, fontsize=12, color=colour, ha="center", va="center")
    box(axes, 6.1, 2.2, 0.6, 1.1, "[ , ]", GREY, 14)
    for y, text, colour, a, b in ((3.1, "ConvGRU, forwards", GREEN, 7.0, 10.2),
                                  (1.3, "ConvGRU, backwards", PINK, 10.2, 7.0)):
        box(axes, 8.6, y, 2.4, 0.75, text, colour, 13)
        arrow(axes, (6.45, 2.2 + 0.2 * np.sign(y - 2.2)), (7.35, y), GREY)
        arrow(axes, (9.83, y), (10.6, 2.2 + 0.2 * np.sign(y - 2.2)), colour)
        arrow(axes, (a, y + 0.75 * np.sign(y - 2.2)), (b, y + 0.75 * np.sign(y - 2.2)), colour)
        axes.text(8.6, y + 1.02 * np.sign(y - 2.2), "through the whole clip", fontsize=12, color=colour, ha="center",
                  va="center")
    box(axes, 11.2, 2.2, 1.15, 0.9, "decoder", GOLD, 13)
    arrow(axes, (11.2, 1.72), (11.2, 1.1))
    axes.text(11.2, 0.88, "mask t", fontsize=13, ha="center", va="center", color="#222222")
    return made


@figure
def rvos_space() -> Figure:
    """Recurrence over the objects of one still image, with a stop."""
    made, axes = canvas(12.4, 3.9, 0.84)
    box(axes, 1.0, 0.6, 1.4, 0.8, "frame", GREY, 14)
    box(axes, 3.1, 0.6, 1.6, 0.8, "encoder", BLUE, 14)
    arrow(axes, (1.73, 0.6), (2.27, 0.6))
    axes.plot([3.93, 11.1], [0.6, 0.6], color=BLUE, lw=2)
    axes.text(7.0, 0.3, "features, once for all objects", fontsize=12.5, color=BLUE, ha="center", va="center")
    for i in range(3):
        x = 5.1 + 3.0 * i
        arrow(axes, (x, 0.6), (x, 1.5), BLUE)
        box(axes, x, 1.95, 1.75, 0.85, f"decoder,\nobject {i + 1}", RED, 13)
        if i < 2:
            arrow(axes, (x + 0.9, 1.95), (x + 2.1, 1.95), RED)
            axes.text(x + 1.5, 2.3, "$h, c$", fontsize=15, color=RED, ha="center")
        arrow(axes, (x, 2.4), (x, 2.95), GREEN if i < 2 else GREY)
        axes.text(x, 3.2, f"mask {i + 1}" if i < 2 else "nothing: stop", fontsize=14, ha="center", va="center",
                  color=GREEN if i < 2 else "#222222")
    axes.text(6.6, 2.85, "\"this one is taken\"", fontsize=12.5, ha="center", va="center", color=RED, style="italic")
    return made


@figure
def space_time_grid() -> Figure:
    """The grid of space and time: objects down, frames to the right; each circle hears two neighbours."""
    made, axes = canvas(11.0, 4.8, 0.84)
    columns, rows, r = 4, 3, 0.42
    place = {(i, t): (2.3 + 2.2 * t, 3.6 - 1.4 * i) for i in range(rows) for t in range(columns)}
    for (i, t), (x, y) in place.items():
        marked = (i, t) == (1, 2)
        axes.add_patch(Circle((x, y), r, facecolor="#fff3c4" if marked else "white", edgecolor=viz.INK,
                              lw=3 if marked else 1.5))
        axes.text(x, y, f"{i + 1}, {t}", fontsize=13, ha="center", va="center", color="#222222")
        if t + 1 < columns:
            near = (i, t + 1) == (1, 2)
            arrow(axes, (x + r + 0.06, y), (x + 2.2 - r - 0.06, y), RED, lw=3.5 if near else 2)
            if near:
                axes.text(x + 1.1, y + 0.2, "$h_{2,1}$", fontsize=15, ha="center", color=RED)
        if i + 1 < rows:
            near = (i + 1, t) == (1, 2)
            arrow(axes, (x, y - r - 0.06), (x, y - 1.4 + r + 0.06), BLUE, lw=3.5 if near else 2)
            if near:
                axes.text(x + 0.15, y - 0.75, "$h_{1,2}, c_{1,2}$", fontsize=15, va="center", color=BLUE)
    for t in range(columns):
        axes.text(2.3 + 2.2 * t, 4.4, f"frame {t}", fontsize=13, ha="center", color="#222222")
    for i in range(rows):
        axes.text(1.5, 3.6 - 1.4 * i, f"object {i + 1}", fontsize=13, ha="right", va="center", color="#222222")
    axes.text(10.1, 3.0, "space:\nover objects", fontsize=13, color=BLUE, va="center")
    axes.text(10.1, 1.6, "time:\nover frames", fontsize=13, color=RED, va="center")
    return made


@figure
def match_once() -> Figure:
    """Two disks that cross; the outputs swap. Matched anew in every frame the loss is 0; matched once it is not."""
    made = blank(9.6, 4.4)
    axes = made.subplots(2, 3)
    at = [((0.7, 0.5), (2.3, 0.5)), ((1.28, 0.5), (1.72, 0.5)), ((2.3, 0.5), (0.7, 0.5))]  # of the two objects
    answers = [(BLUE, RED), (BLUE, RED), (RED, BLUE)]  # which output says so
    losses = (("0", "0", "0"), ("0", "0", "large: A is on B's object"))
    for row, said in enumerate(("matched anew in every frame", "matched at the first frame only")):
        for t in range(3):
            a = axes[row, t]
            for k, ((x, y), colour) in enumerate(zip(at[t], answers[t], strict=True)):
                a.add_patch(Circle((x, y), 0.26, facecolor=colour, alpha=0.75, edgecolor=viz.INK, lw=1.2))
                a.text(x, y, "12"[k], fontsize=13, ha="center", va="center", color="white", weight="bold")
            a.set_xlim(0.2, 2.8)
            a.set_ylim(0.1, 0.9)
            a.set_aspect("equal")
            a.set_xticks([])
            a.set_yticks([])
            a.set_xlabel(f"loss {losses[row][t]}", fontsize=12.5, color=RED if row and t == 2 else viz.INK)
            if row == 0:
                a.set_title(f"frame {t}", fontsize=12.5, color=viz.INK)
        axes[row, 0].set_ylabel(said.replace(" at", "\nat").replace(" in", "\nin"), fontsize=12.5, color=viz.INK)
    made.suptitle("number: the true object; colour: which output says so (A blue, B orange)", fontsize=12.5,
                  color=viz.INK)
    return made


@figure
def speed_ratio() -> Figure:
    """OSVOS's time over that of systems without online learning, against its fine-tuning, as measured."""
    return claims_speed.draw_speed(kept(4, "speed"))
