"""No quiz gives itself away: neither by the place of the right option nor by its length."""

import re
from collections import Counter
from pathlib import Path

import pytest

from vos_teach.grading import build, source

LABS = build.sources(Path(__file__).resolve().parents[2])


def quizzes(path):
    """Of each quiz of a lab: the right letter, and letter -> characters of the option."""
    for cell in source.read(path):
        if cell.tag == "quiz":
            asked = source.question(cell)
            parts = re.split(r"(?m)^[-*] +([a-z])\) ", asked.text)[1:]
            yield cell.name, asked.right, {k: len(" ".join(t.split())) for k, t in zip(parts[::2], parts[1::2],
                                                                                       strict=True)}


@pytest.mark.parametrize("path", LABS, ids=lambda p: p.stem)
def test_no_letter_is_right_more_often_than_half(path):
    right = Counter(letter for _, letter, _ in quizzes(path))
    assert max(right.values()) <= -(-sum(right.values()) // 2) and len(right) > 2, right


def test_the_right_option_is_not_the_longest():
    longest, found = [], [quiz for path in LABS for quiz in quizzes(path)]
    assert len(found) >= 40 and all(len(size) == 4 for _, _, size in found)
    for name, right, size in found:
        wrong = [n for letter, n in size.items() if letter != right]
        assert size[right] <= 1.5 * sum(wrong) / len(wrong), f"{name} can be told by its length"
        longest += [name] * (size[right] > max(wrong))
    assert len(longest) <= 0.4 * len(found), longest
