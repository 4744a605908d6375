"""Hidden cases of lab 5b: other sizes, other numbers of objects and of frames. Instructors only."""

from __future__ import annotations

from vos_teach.lab.exercises.lab5b_grid import block, cost_case, grid, grid_case, hops_case, lines, one_way, star
from vos_teach.lab.exercises.lab5b_many import film, identities_case, objects, sequences_case, told_apart
from vos_teach.lab.exercises.lab5b_match import apart, distance_case, rest_case, scene, tables
from vos_teach.lab.exercises.lab5b_rows import (
    clips,
    every_pair,
    every_row,
    nothing_more,
    rows_case,
    the_same,
    together,
    twice,
)

CASES = {
    "lab5b.grid_attention": (
        grid_case("a single line each", "wrong for a block of one row, of one column, or of one time line alone",
                  lambda rng: [block(rng, 1, 1, 6), block(rng, 1, 5, 1), block(rng, 4, 1, 1)]),
        grid_case("taller than wide, many values", "sizes come from the inputs, T, H, W in this order, and values may "
                  "have more channels than keys", lambda rng: [block(rng, 4, 5, 2, 2, 7)]),
        grid_case("seven frames", "each place sees its own row, column and time line, self once",
                  lambda rng: [block(rng, 7, 2, 3)]),
        cost_case("what it costs, a tall block", lambda rng: [block(rng, 2, 12, 11, 1, 2)]),
        grid_case("the gradient along k", "the gradient along k is wrong", lambda rng: [block(rng, 3, 2, 2)], grad=1),
        grid_case("the gradient along v", "the gradient along v is wrong", lambda rng: [block(rng, 2, 2, 3)], grad=2),
    ),
    "lab5b.hops": (
        hops_case("a place alone", "one place has heard of all there is before any layer: 0",
                  lambda rng: [([star(1)],)]),
        hops_case("a flat block", "the number of layers is wrong: it depends on the pattern alone",
                  lambda rng: [([grid(1, 4, 3)],), ([grid(5, 1, 1)],)]),
        hops_case("a long row", "the number of layers is wrong: it may be as large as the number of places less one",
                  lambda rng: [([lines(23)],), ([lines(40, 3)],)]),
        hops_case("three patterns in turns", "wrong for three patterns: layers take them in turns, one a layer",
                  lambda rng: [([grid(2, 3, 3, p) for p in "twh"],), ([lines(13, r) for r in (1, 1, 4)],)]),
        hops_case("who hears whom, more places", "wrong where seeing is not mutual: place n hears what ITS places m "
                  "had heard", lambda rng: [(one_way(rng, 8),), ([lines(6)],)]),
        hops_case("two halves", "some places never hear of each other: then return None",
                  lambda rng: [([grid(3, 2, 2, "hw")],), ([grid(2, 3, 2, "t"), grid(2, 3, 2, "w")],)]),
    ),
    "lab5b.global_distance": (
        distance_case("one pixel", "a frame and a memory of a single pixel each", lambda rng: [
            scene(rng, 1, 1, (1,)), scene(rng, 1, 1, (), 1)]),
        distance_case("masks in rows and columns", "whatever axes come before H,W of the masks stay as they are",
                      lambda rng: [scene(rng, 3, 4, (2, 3))]),
        distance_case("a larger memory", "memory's size is its own, and so is the mask's", lambda rng: [
            scene(rng, 3, 4, (3,), memory=(7, 2))]),
        distance_case("nothing under any mask", "nothing is near where there is nothing: 1, with any bias",
                      lambda rng: [scene(rng, 3, 4, (), empty=True), scene(rng, 3, 4, (1,), empty=True, bias=-0.5)]),
        distance_case("nearer ones outside, wide", "only pixels UNDER the mask count", lambda rng: [
            apart(rng, 3, 9, 5)]),
        distance_case("a bias for a frame of another size", "the bias is added to the squared distance",
                      lambda rng: [scene(rng, 5, 2, (4,), bias=1.3), scene(rng, 5, 2, (4,), bias=-0.6)]),
        distance_case("the gradient, three masks", "the gradient goes through the nearest pixel, and there is none "
                      "where the mask is empty", lambda rng: [scene(rng, 2, 3, (3,), memory=(3, 3), empty=True)],
                      grad=True),
    ),
    "lab5b.rest_distance": (
        rest_case("six objects", "the least distance to all labels that are not the object's", lambda rng: [
            tables(rng, 6, (3, 4))]),
        rest_case("one that is nowhere", "a label at distance 1 everywhere is near to nothing", lambda rng: [
            tables(rng, 2, (5, 5), gone=2), tables(rng, 3, (5, 5), gone=0)]),
        rest_case("one object, many axes", "whatever axes come after the labels stay as they are",
                  lambda rng: [tables(rng, 1, (2, 2, 3)), tables(rng, 4, (6,))]),
        rest_case("the gradient, four objects", "the gradient goes to the label that is the nearest",
                  lambda rng: [tables(rng, 4, (3, 3))], grad=True),
    ),
    "lab5b.assign_identities": (
        identities_case("one object", "background row 0, object 1 row 1", lambda rng: [objects(rng, 1, 2, 4, 3, 5)]),
        identities_case("nothing but background", "without any object there is the background's row everywhere",
                        lambda rng: [objects(rng, 0, 3)]),
        identities_case("ten objects", "background row 0, object k row k", lambda rng: [
            objects(rng, 10, 11, 8, 9, 6)]),
        identities_case("an object that cannot be seen", "an empty mask adds nothing", lambda rng: [
            objects(rng, 3, 5, absent=2)]),
        identities_case("soft masks, a tall frame", "where masks share a pixel, so do their vectors", lambda rng: [
            objects(rng, 5, 8, 9, 3, 3, soft=True)]),
        identities_case("the gradient along the bank, ten rows", "the gradient along the bank is wrong",
                        lambda rng: [objects(rng, 3, 10, 3, 4, 2)], grad=1),
        identities_case("the gradient along the masks", "the gradient along the masks is wrong",
                        lambda rng: [objects(rng, 2, 4, 3, 3, soft=True)], grad=0),
    ),
    "lab5b.draw_rows": (
        rows_case("nobody", together(nothing_more), lambda rng: clips(rng, 0, 4, 3)),
        rows_case("one object, a bank for one", together(nothing_more), lambda rng: clips(rng, 1, 2, 3)),
        rows_case("ten objects", together(nothing_more), lambda rng: clips(rng, 10, 11, 10)),
        rows_case("one object in 200 clips, nine rows", together(every_row), lambda rng: clips(rng, 1, 9, 200)),
        rows_case("all rows in use, in 150 clips", together(every_row), lambda rng: clips(rng, 4, 5, 150)),
        rows_case("which first two of three, in 200 clips", together(every_pair), lambda rng: clips(rng, 3, 5, 200)),
        rows_case("the same rng, nine objects", together(the_same), lambda rng: twice(clips(rng, 9, 11, 8))),
    ),
    "lab5b.match_sequences": (
        sequences_case("five queries, four instances", "one query for each instance, for the whole clip",
                       told_apart(lambda rng: film(rng, 7, 5, 4), "own best", "first frame", "last frame", "greedy",
                                  "least", "turned")),
        sequences_case("a single frame, a single instance", "one frame, one instance: one pair",
                       lambda rng: [film(rng, 1, 3, 1)]),
        sequences_case("late, in a long clip", "the MEAN over the frames in which the instance is there", told_apart(
            lambda rng: film(rng, 10, 5, 3, late=True), "sum", "all frames", "first seen")),
        sequences_case("no cost where nothing is", "costs of frames without the instance are infinite: leave those "
                       "frames out, do not multiply by 0", lambda rng: [film(rng, 5, 4, 3, late=True, wild=True)]),
        sequences_case("nobody is ever there", "no instance, no pair: an empty list", lambda rng: [
            (film(rng, 3, 4, 2)[0], film(rng, 3, 4, 2)[1] & False)]),
        sequences_case("one never comes, among five", "the others keep their numbers", lambda rng: [
            film(rng, 4, 6, 5, never=True)]),
        sequences_case("from the network, late", "a cost that asks for a gradient: .detach() before .numpy()",
                       told_apart(lambda rng: film(rng, 6, 3, 3, late=True), "sum", "all frames"), network=True),
    ),
}
