"""Hidden cases of lab 2: other sizes, more control points, other amounts. Instructors only."""

from __future__ import annotations

from vos_teach.lab.cases import Case, equals
from vos_teach.lab.exercises.lab2 import at_controls, spline_call, spline_oracle, turned
from vos_teach.lab.exercises.lab2_dream import dream_call, dream_case
from vos_teach.lab.exercises.lab2_pair import again as pairs_again
from vos_teach.lab.exercises.lab2_pair import draws_from_rng, last_is_spoiled, pair_calls, pair_case, target_is_true
from vos_teach.lab.exercises.lab2_pair import of_each as of_each_pair
from vos_teach.lab.exercises.lab2_spoil import (
    again,
    at_border,
    dilated,
    draws,
    empty,
    of_all,
    of_each,
    same_for_same_seed,
    scaled,
    shifted,
    spoil_case,
    stays_empty,
    stays_on_its_side,
)
from vos_teach.lab.exercises.lab2_track import film, track_case

_LANDS = equals(spline_oracle, "the points do not land where the spline takes them", atol=1e-3)

CASES = {
    "lab2.track": (
        track_case("a longer way in a taller frame", "the masks are wrong: the last MASK goes in beside the NEW frame",
                   lambda rng: [film(rng, 60, 90, 14, fast=True)]),
        track_case("a twin, in a larger frame", "only 0 and 1 may be fed back: this network takes anything else for a "
                   "hint", lambda rng: [film(rng, 44, 80, 11, twin=True)]),
        track_case("out of sight twice", "where nothing is found the answer is empty, and the last mask that was found "
                   "goes in again", lambda rng: [film(rng, 40, 72, 12, gone=(2, 3, 7, 8, 9))]),
        track_case("gone at the end", "where nothing is found the answer is empty",
                   lambda rng: [film(rng, 36, 64, 7, gone=(5, 6))]),
        track_case("nothing was asked for", "an empty mask asks for nothing: all answers are empty",
                   lambda rng: [film(rng, 28, 52, 5, absent=True)]),
        track_case("a clip of one larger frame", "one mask for each frame, and the first is the one that was given",
                   lambda rng: [film(rng, 40, 64, length=1)]),
    ),
    "lab2.thin_plate_spline": (
        Case("nine control points", lambda rng: [at_controls(rng, 9)],
             equals(spline_oracle, "each control point must land exactly on its goal", atol=1e-3)),
        Case("seven control points, many points in between", lambda rng: [spline_call(rng, 7, 60)], _LANDS),
        Case("three control points", lambda rng: [spline_call(rng, 3, 10)],
             equals(spline_oracle, "three control points: the map is affine", atol=1e-3)),
        Case("a large frame, one point", lambda rng: [spline_call(rng, 6, 1, size=(480.0, 854.0))], _LANDS),
        Case("turned and shifted as one, eight points", lambda rng: [turned(rng, 8, 20)],
             equals(spline_oracle, "an affine change of the control points is an affine change of all points",
                    atol=1e-3)),
    ),
    "lab2.spoil": (
        spoil_case("dilated alone, by more", of_each(dilated), lambda rng: draws(rng, 96, 160, thick=7 / 96, n=2)),
        spoil_case("shifted alone, a larger object by less", of_all(shifted),
                   lambda rng: draws(rng, 160, 320, shift=0.12, tall=40, wide=120)),
        spoil_case("scaled alone, a larger object by less", of_all(scaled),
                   lambda rng: draws(rng, 120, 300, scale=0.15, tall=30, wide=120)),
        spoil_case("an object at the border of a tall frame", of_each(stays_on_its_side),
                   lambda rng: at_border(rng, 90, 120)),
        spoil_case("an empty mask of another size", of_each(stays_empty), lambda rng: empty(rng, 57, 33)),
        spoil_case("the same rng, the same mask, another size", of_all(same_for_same_seed),
                   lambda rng: again(rng, h=70, w=150, wide=50)),
    ),
    "lab2.training_pair": (
        pair_case("the target of a round object", of_each_pair(target_is_true),
                  lambda rng: pair_calls(rng, 72, 80, round_one=True)),
        pair_case("the last mask of a round object", of_each_pair(last_is_spoiled),
                  lambda rng: pair_calls(rng, 80, 96, round_one=True)),
        pair_case("the same rng, the same pair, another size", draws_from_rng,
                  lambda rng: pairs_again(rng, h=70, w=100)),
    ),
    "lab2.dream": (
        dream_case("to the left and down", "second frame, mask or flow is wrong",
                   lambda rng: [dream_call(rng, (-int(rng.integers(3, 7)), int(rng.integers(1, 4))), 28, 36)]),
        dream_case("two objects", "the ids stay what they were",
                   lambda rng: [dream_call(rng, (2, 3), 30, 44, ids=2)]),
        dream_case("quite out of the frame", "what leaves the frame is gone; its flow is known all the same",
                   lambda rng: [dream_call(rng, (33, -2), 26, 38)]),
        dream_case("out at the top left", "negative places are outside too: indices there count from the end",
                   lambda rng: [dream_call(rng, (-6, -4), 26, 42, edge="top left")]),
        dream_case("down alone, a taller frame", "a shift is (dx, dy): this one moves rows, and no columns",
                   lambda rng: [dream_call(rng, (0, 4), 40, 32)]),
    ),
}
