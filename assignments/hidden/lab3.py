"""Hidden cases of lab 3: other sizes, other numbers of streams and objects. Instructors only."""

from __future__ import annotations

from vos_teach.lab.exercises.lab3_flow import apart, consistent_case, little, moved, scene, step_case
from vos_teach.lab.exercises.lab3_streams import average_case, channels_case, claims, objects, objects_case, streams
from vos_teach.lab.exercises.lab3_warp import between, warp_case, whole

CASES = {
    "lab3.warp": (
        warp_case("whole pixels, to the left and down, a tall frame", "out(p) = image(p + flow(p)): it is fetched",
                  lambda rng: [whole(rng, 13, 8, -2, 3)]),
        warp_case("further, between pixels, one channel", "between pixels the four around are mixed; outside is 0",
                  lambda rng: [between(rng, 12, 9, 1, far=4.6)]),
        warp_case("a batch of three", "image B,C,H,W goes with flow B,2,H,W, picture by picture",
                  lambda rng: [between(rng, 5, 12, 1, batch=3)]),
        warp_case("the gradient along the image", "what is fetched from a pixel must lead back to it: all in torch",
                  lambda rng: [between(rng, 7, 9)], grad=0),
        warp_case("no motion in a wide frame", "where all flow is 0, the result is the image itself, to its border",
                  lambda rng: [whole(rng, 5, 23, 0, 0)]),
    ),
    "lab3.lucas_kanade": (
        step_case("down, in a taller frame", "the flow is wrong: it goes from first to second, (dx, dy)",
                  lambda rng: [moved(rng, 58, 42, 13, (-0.1, rng.uniform(0.3, 0.5)))]),
        step_case("two halves, a smaller window", "each pixel has its own window, of the size that is given",
                  lambda rng: [apart(rng, 30, 70, 5)]),
        step_case("where little is to be seen, a larger window", "the flow is wrong where something is to be seen",
                  lambda rng: [little(rng, 38, 96, 9)]),
        step_case("nothing moves", "nothing moves: the flow is 0", lambda rng: [moved(rng, 32, 40, 9, (1e-9, 0.0))]),
    ),
    "lab3.consistent": (
        consistent_case("a taller frame", "wrong: the way back is read WHERE THE PIXEL WENT, p + forward(p)",
                        lambda rng: [scene(rng, 52, 34, (-0.8, 0.4), (2.3, -7.4))]),
        consistent_case("a ground that stretches", "wrong where the motion changes from place to place",
                        lambda rng: [scene(rng, 32, 60, (-1.3, 0.3), (-6.4, 3.3), slope=0.06)]),
        consistent_case("other bounds", "share and least are those that are given",
                        lambda rng: [(*scene(rng, 30, 50, (8.3, 0.4), (-7.4, 2.4), error=2.4), 0.08, 0.1)]),
        consistent_case("out of the frame, downwards", "what leaves the frame cannot be found again: false",
                        lambda rng: [scene(rng, 44, 36, (0.3, 9.4), (4.4, -2.3))]),
    ),
    "lab3.average_streams": (
        average_case("two streams of six channels", "the mean over the streams of each stream's softmax",
                     lambda rng: [streams(rng, (6, 3, 4))]),
        average_case("one whispers", "probabilities first, then the mean", lambda rng: [streams(rng, (2, 6, 4),
                                                                                               (5.0, 0.1))]),
        average_case("five streams, a batch", "all streams that are given",
                     lambda rng: [streams(rng, (2, 3, 3, 5), (1.0, 2.0, 0.5, 3.0, 1.5))]),
        average_case("one stream alone", "a single stream: its own softmax", lambda rng: [streams(rng, (3, 4, 3),
                                                                                                  (2.0,))]),
    ),
    "lab3.mask_channels": (
        channels_case("one object, six slots", "object k's mask in channel k, zeros in the free ones",
                      lambda rng: [objects(rng, 1, 6, 7, 4)]),
        channels_case("four objects, five slots, probabilities", "values between 0 and 1 stay as they are",
                      lambda rng: [objects(rng, 4, 5, 5, 8, soft=True)]),
        channels_case("no object at all", "no object: all channels are 0", lambda rng: [objects(rng, 0, 3, 4, 5)]),
    ),
    "lab3.softmax_over_objects": (
        objects_case("five slots, two taken", "absent objects get exactly 0, the others share the whole pixel",
                     lambda rng: [claims(rng, [False, True, False, False, True], 4, 3)]),
        objects_case("a batch, each with its own objects", "present may differ from picture to picture",
                     lambda rng: [claims(rng, [[True, False], [True, True], [False, False]], 3, 4, batch=3)]),
        objects_case("nobody is there", "without objects all is background", lambda rng: [claims(rng, [False] * 3, 3,
                                                                                                 5)]),
        objects_case("low logits, a batch", "absent objects get exactly 0",
                     lambda rng: [claims(rng, [True, False, False], 4, 4, batch=2, base=-25.0)]),
    ),
}
