"""The right letters of the quizzes. Written by `vos-teach labs build` from assignments/labs/: never edit."""

RIGHT = {
    "lab0.q_2016_2017": "b",
    "lab0.q_decay": "c",
    "lab0.q_disagree": "c",
    "lab0.q_first_frame": "b",
    "lab0.q_mask_blind": "b",
    "lab0.q_objects": "b",
    "lab0.q_scale": "b",
    "lab1.q_flicker": "b",
    "lab1.q_limits": "b",
    "lab1.q_modulation": "b",
    "lab1.q_onavos": "a",
    "lab1.q_one_frame": "b",
    "lab1.q_slow": "b",
    "lab2.q_images": "a",
    "lab2.q_learns": "c",
    "lab2.q_leaves": "d",
    "lab2.q_masks": "c",
}
