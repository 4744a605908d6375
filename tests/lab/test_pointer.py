"""`pointer`: drawn once without a browser, then again for each click."""

import base64

import numpy as np
import pytest

from vos_teach.clip import VosError
from vos_teach.lab import pointer, show


@pytest.fixture
def clicked():
    asked = []

    def draw(y, x):
        asked.append((y, x))
        if y == 13:
            raise ValueError("not here")
        picture = np.zeros((32, 48, 3), np.uint8)
        picture[y, x] = 255
        return show.images([picture], height=32)

    return pointer(draw, np.zeros((32, 48, 3), np.uint8), (4, 5)), asked


def test_the_first_picture_is_there_without_a_browser(clicked):
    made, asked = clicked
    assert asked == [(4, 5)] and made.at == (4, 5)
    data, about = made._repr_mimebundle_()
    assert base64.b64decode(data["image/png"]) == show.png(made.figure) and about["image/png"]["alt"]


def test_a_click_draws_anew(clicked):
    pytest.importorskip("anywidget")
    made, asked = clicked
    before = made.image.value
    made.clicked.at = [20, 30]  # what the browser does
    assert asked == [(4, 5), (20, 30)] and made.at == (20, 30) and made.image.value != before
    made.clicked.at = [13, 0]
    assert "not here" in made.said.value
    made.point(3, 2)
    assert made.clicked.at == [3, 2] and asked[-1] == (3, 2) and asked.count((3, 2)) == 1


def test_pixels_outside_are_refused(clicked):
    with pytest.raises(VosError, match="outside the picture of 32 x 48"):
        clicked[0].point(32, 0)
    with pytest.raises(VosError, match="outside"):
        pointer(lambda y, x: None, np.zeros((4, 4, 3), np.uint8), (0, -1))
