"""Hidden cases of lab 5a: other sizes, other numbers of objects and of frames. Instructors only."""

from __future__ import annotations

import torch

from vos_teach.lab.exercises.lab5a_affinity import DOT, FEW, L2, affinity_case, keys, long_key, moved
from vos_teach.lab.exercises.lab5a_memory import (
    LOOK,
    READ,
    look_case,
    reading,
    readout_case,
    remember_case,
    remembered,
)
from vos_teach.lab.exercises.lab5a_merge import certain, merge_case, nearly, objects


def mixed(rng, quiet=0.02, loud=40.0, **sizes):
    """Questions of very different length beside each other."""
    mk, qk = keys(rng, **sizes)
    return mk * 10, qk * torch.tensor([quiet if i % 2 else loud for i in range(qk.shape[-1])])


def apart(rng, n=7, m=5, c=6):
    """Keys far from each other; each question is next to one of them."""
    mk = torch.tensor(rng.normal(size=(c, n)) * 300, dtype=torch.float32)
    at = rng.integers(0, n, m)
    return mk, mk[:, at] + torch.tensor(rng.normal(size=(c, m)) * 0.2, dtype=torch.float32)


CASES = {
    "lab5a.dot_affinity": (
        affinity_case("dot", "one key", "a memory of one place: it is all that can be read, weight 1",
                      lambda rng: [keys(rng, 1, 3, 5)]),
        affinity_case("dot", "many channels", "C is the number of channels, whatever it is: / sqrt(C)",
                      lambda rng: [keys(rng, 9, 7, 40, loud=0.7)]),
        affinity_case("dot", "two clips, three objects", "what stands before C broadcasts, on both sides",
                      lambda rng: [keys(rng, 4, 6, 3, lead=((2, 1), (1, 3)))]),
        affinity_case("dot", "quiet questions beside loud ones", "each question by itself: a loud one beside it may "
                      "not matter", lambda rng: [mixed(rng, n=5, m=4, c=5)], atol=2e-3),
        affinity_case("dot", "the gradient, as many questions as keys", DOT, lambda rng: [keys(rng, 3, 3, 2)],
                      slopes=True),
    ),
    "lab5a.readout": (
        readout_case("one place, one question", "wrong with a single place", lambda rng: [reading(rng, 1, 1, 4)]),
        readout_case("an affinity for each object", "STM has keys for each object: K,N,M with K,Cv,N gives K,Cv,M",
                     lambda rng: [reading(rng, 7, 5, 2, ((3,), (3,)))]),
        readout_case("two clips, two objects", "what stands before the last two axes broadcasts",
                     lambda rng: [reading(rng, 4, 6, 3, ((2, 1), (2, 2)))]),
        readout_case("as many channels as places and questions", READ, lambda rng: [reading(rng, 4, 4, 4)]),
        readout_case("the gradient, three objects", READ, lambda rng: [reading(rng, 3, 2, 2, ((), (3,)))],
                     slopes=True),
    ),
    "lab5a.look_up": (
        look_case("six frames", LOOK, lambda rng: [remembered(rng, 6, 1, 5, 3, (2, 3))]),
        look_case("four objects", "each object has values of its own, and all share the affinity",
                  lambda rng: [remembered(rng, 2, 4, 2, 3, (4, 2))]),
        look_case("a question of another size", "the result is as large as the QUESTION's map",
                  lambda rng: [remembered(rng, 2, 2, 3, 2, (3, 2), (4, 5))]),
        look_case("maps of one place", "wrong with maps of a single place", lambda rng: [
            remembered(rng, 4, 2, 3, 3, (1, 1))]),
    ),
    "lab5a.remember": (
        remember_case("every frame", "every=1 is all of the past", lambda rng: [
            (t, last, 1, None) for t in (1, 5, int(rng.integers(6, 30))) for last in (True, False)]),
        remember_case("a bound of one, and of two", "limit=1 leaves frame 0, limit=2 the newest beside it",
                      lambda rng: [(t, last, 3, limit) for t in (1, 8, 14) for last in (True, False)
                                   for limit in (1, 2)]),
        remember_case("a long video", "the oldest go, but never frame 0", lambda rng: [
            (int(rng.integers(200, 400)), True, 7, 6), (int(rng.integers(50, 90)), False, 2, 9)]),
        remember_case("a bound that is not reached", "a bound lets nothing go while there is room",
                      lambda rng: [(t, True, 5, 8) for t in (1, 6, 13, 20)]),
        remember_case("a bound without every", "a bound works without `every`, too", lambda rng: [
            (t, True, None, limit) for t in (1, 2, 17) for limit in (1, 2, 3)]),
    ),
    "lab5a.l2_affinity": (
        affinity_case("l2", "one key", "a memory of one place: it is all that can be read, weight 1",
                      lambda rng: [keys(rng, 1, 3, 5), (*keys(rng, 1, 2, 3), 4)]),
        affinity_case("l2", "many channels", "C is the number of channels, whatever it is: / sqrt(C)",
                      lambda rng: [keys(rng, 9, 7, 36, loud=0.4)]),
        affinity_case("l2", "two clips, three objects, the three nearest", FEW,
                      lambda rng: [(*keys(rng, 5, 4, 3, ((2, 1), (1, 3)), 0.7), 3)]),
        affinity_case("l2", "the nearest alone", "top_k=1: all the weight is on the nearest",
                      lambda rng: [(*keys(rng, 7, 7, 6), 1)]),
        affinity_case("l2", "keys far from each other", L2, lambda rng: [apart(rng), (*apart(rng), 3)], atol=2e-3),
        affinity_case("l2", "a key of very large norm, as many questions as keys", "a long key is far from most "
                      "questions, and counts for little", lambda rng: [long_key(rng, 12, 5, 5, 8)]),
        affinity_case("l2", "all keys moved, the two nearest", "distances do not change when all keys are moved by the "
                      "same", lambda rng: [(*moved(rng, -9.0, n=7, m=3, c=5), 2)], atol=1e-3),
        affinity_case("l2", "the gradient of all", L2, lambda rng: [keys(rng, 3, 3, 2, loud=0.7)], slopes=True),
    ),
    "lab5a.soft_aggregate": (
        merge_case("five objects, none of them sure", "the background is what NO object wants: the product of 1 - p",
                   lambda rng: [objects(rng, 5, 4, 3, low=0.2, high=0.45)]),
        merge_case("one is sure, the others nearly", "1e-7, not more: sure and nearly sure are not alike",
                   lambda rng: [nearly(rng)], atol=3e-4),
        merge_case("two clips, two frames, as many objects as rows", "K is the third axis from the end, whatever "
                   "stands before it", lambda rng: [objects(rng, 3, 3, 3, (2, 2))]),
        merge_case("nothing but 0 and 1, four objects", "wrong where objects are quite sure: clamp all K + 1",
                   lambda rng: [certain(rng, 4, 5, 6)], atol=1e-3),
        merge_case("the gradient, three objects", "wrong: the softmax of log(p / (1 - p))",
                   lambda rng: [objects(rng, 3, 2, 1)], slopes=True),
    ),
}
