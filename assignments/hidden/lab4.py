"""Hidden cases of lab 4: other sizes, other numbers of objects and of frames. Instructors only."""

from __future__ import annotations

from vos_teach.lab.exercises.lab4_cells import level, level_case, lstm_case, memory, without
from vos_teach.lab.exercises.lab4_loops import film, find_case, still, unroll_case
from vos_teach.lab.exercises.lab4_match import crowd, faint, gone, greedy_slot, iou_case, masks, match_case, rivals

CASES = {
    "lab4.convlstm": (
        lstm_case("a kernel of one pixel", "the new state is wrong: the padding comes from the weights' shape",
                  lambda rng: [memory(rng, 1, 4, 2, 3, 3, 1)]),
        lstm_case("three clips, many channels", "the new state is wrong: i, f, o, g of one convolution of [x, h]",
                  lambda rng: [memory(rng, 3, 1, 4, 5, 3)]),
        lstm_case("loud inputs, a tall frame", "the new state is wrong where gates are wide open or shut",
                  lambda rng: [memory(rng, 2, 2, 1, 7, 2, loud=6.0)]),
        lstm_case("the gradient, two channels", "the new state is wrong", lambda rng: [memory(rng, 1, 1, 2, 2, 2, 1)],
                  slopes=True),
    ),
    "lab4.unroll": (
        unroll_case("two frames", "wrong: one step, from the state that frame 0 was written into",
                    lambda rng: [film(rng, 2, 9, 6)]),
        unroll_case("a long, tall clip", "each frame's step begins with the state that the frame before left",
                    lambda rng: [film(rng, 12, 11, 6)]),
        unroll_case("masks in three more frames", "a mask that is given is the answer, and the state is written anew, "
                    "each time", lambda rng: [film(rng, 9, 8, 8, at=(2, 3, 8))]),
        unroll_case("the gradient, with a mask on the way", "no gradient passes a state that is written anew, and all "
                    "other states let it pass", lambda rng: [film(rng, 6, 5, 7, at=(3,))], grad=1),
        unroll_case("three clips in turn", "nothing may be left of a clip before", lambda rng: [
            film(rng, 3, 6, 6), film(rng, 4, 6, 6, at=(1,)), film(rng, 3, 6, 6)]),
    ),
    "lab4.find_objects": (
        find_case("one thing", "one object, and then the stop", lambda rng: [still(rng, 1, [1.5, -0.4], 6, 9)]),
        find_case("another bound", "`until` is the bound, whatever it is",
                  lambda rng: [still(rng, 4, [2.0, 0.2, -0.8, -2.0], w=24, until=0.3),
                               still(rng, 4, [3.0, 1.2, 1.0, -2.0], w=24, until=0.8)]),
        find_case("a low score, and then a high one", "the first low score ends it, whatever comes after",
                  lambda rng: [still(rng, 4, [2.0, -1.0, 2.0, 2.0, -3.0], w=24)]),
        find_case("six things", "object after object, each told the state that the last one left",
                  lambda rng: [still(rng, 6, [2.0, 1.8, 1.6, 1.4, 1.2, 1.0, -1.0], 7, 40)]),
        find_case("exactly as many as may be had", "at most `most` objects", lambda rng: [
            still(rng, 5, [2.0], w=30, most=5), still(rng, 5, [2.0], w=30, most=1)]),
    ),
    "lab4.soft_iou": (
        iou_case("a batch of clips", "the last two axes are summed over, whatever stands before them",
                 lambda rng: [masks(rng, (2, 3), 4, 9)]),
        iou_case("no prediction, no object", "one of the two empty: 0; both: exactly 1",
                 lambda rng: [masks(rng, (4,), 5, 5, empty="p"), masks(rng, (4,), 5, 5, empty="t"),
                              masks(rng, (), 5, 5, empty="pt")]),
        iou_case("soft targets in a large frame", "sum(p t) / sum(p + t - p t)", lambda rng: [masks(rng, (2,), 24, 30,
                                                                                                   soft=True)]),
        iou_case("boolean targets, one mask a row", "targets may be boolean", lambda rng: [masks(rng, (5,), 3, 4,
                                                                                                kind=bool)]),
        iou_case("the gradient, empty ones among others", "the slope is 0 where both are empty, and right elsewhere",
                 lambda rng: [masks(rng, (2, 2), 5, 4, empty="pt")], grad=True),
    ),
    "lab4.match_instances": (
        match_case("five objects, six slots", "slots[i] is the slot of object i",
                   lambda rng: [crowd(rng, 6, 5, 4, 20)]),
        match_case("one object", "a single object: a tensor of one number", lambda rng: [crowd(rng, 3, 1, 5, 8)]),
        match_case("two rivals in a wide frame", "the SUM of soft IoU is to be greatest",
                   lambda rng: [rivals(rng, 60), rivals(rng, 60, turn=True)]),
        match_case("unsure, in a tall frame", "nothing is thresholded", lambda rng: [faint(rng, 11, 6)]),
        match_case("yes everywhere, four objects", "IoU divides by the union",
                   lambda rng: [greedy_slot(rng, 3, 16, 4)]),
        match_case("out of sight, five slots", "an empty object and an empty slot agree",
                   lambda rng: gone(rng, 4, 9, 5)),
        match_case("as many objects as slots, from the network", "a slot for each object, without a gradient",
                   lambda rng: [crowd(rng, 4, 4, 5, 16)], network=True),
    ),
    "lab4.space_time": (
        level_case("a single channel of state", "wrong: x and time go in together, the state is the neighbour's",
                   lambda rng: [level(rng, 1, 4, 1, 5, 3)]),
        level_case("a batch of three", "each clip of a batch has its own neighbour and its own past",
                   lambda rng: [level(rng, 3, 2, 4, 3, 4)]),
        level_case("as many channels of x as of state", "x comes first, time after it", lambda rng: [level(rng, 2, 3, 3,
                                                                                                          2, 6)]),
        level_case("the first object of the first frame", "neither a neighbour nor a past: zeros go in",
                   lambda rng: [without(without(level(rng, 1, 5, 2, 4, 4), "space"), "time")]),
    ),
}
