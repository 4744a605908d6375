"""`pointer`: click a pixel of a picture, and one figure answers.

As `slider`, it draws once, in Python, before anything is shown: a notebook executed without a browser holds that
picture, and no widget state. The browser's part is assets/pointer.js.
"""

from __future__ import annotations

import base64
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from vos_teach.errors import VosError
from vos_teach.lab import show
from vos_teach.lab.cases import plain
from vos_teach.lab.widgets import view

ASSET = Path(__file__).parents[1] / "assets" / "pointer.js"


class Pointer:
    """What `pointer` returns. `point(y, x)` clicks from code; `at` is the pixel, `figure` the last drawn."""

    def __init__(self, function: Callable[[int, int], Any], picture: Any, at: tuple[int, int], step: int):
        self.function, self.size = function, plain(picture).shape[:2]
        self.at = self._inside(*at)
        self.figure = function(*self.at)
        self._first = show.png(self.figure)  # the function's own exception passes: the cell says why
        self.box: Any = None
        try:
            import anywidget
            import ipywidgets
            import traitlets
        except ImportError:  # no extra "lab": the first picture is all there is
            return
        with suppress(ImportError):  # Colab asks before it loads widgets that are not its own
            from google.colab import output

            output.enable_custom_widget_manager()

        class Clicked(anywidget.AnyWidget):
            _esm = ASSET.read_text(encoding="utf-8")
            picture = traitlets.Bytes().tag(sync=True)  # a PNG
            size = traitlets.List(traitlets.Int()).tag(sync=True)  # H, W
            at = traitlets.List(traitlets.Int()).tag(sync=True)  # y, x
            step = traitlets.Int().tag(sync=True)

        self.clicked = Clicked(picture=show.png(plain(picture)), size=list(self.size), at=list(self.at), step=step)
        self.clicked.observe(self._moved, names="at")
        self.image = ipywidgets.Image(value=self._first, format="png", layout={
            "max_width": "100%", "height": "auto", "align_self": "flex-start"})
        self.said = ipywidgets.HTML()
        self.box = ipywidgets.VBox([self.clicked, self.image, self.said])

    def point(self, y: int, x: int) -> None:
        """As if that pixel had been clicked."""
        self.at = self._inside(y, x)
        self.figure = self.function(*self.at)
        if self.box is not None:
            self.image.value = show.png(self.figure)
            self.clicked.at = list(self.at)

    def _inside(self, y: int, x: int) -> tuple[int, int]:
        if not (0 <= y < self.size[0] and 0 <= x < self.size[1]):
            raise VosError(f"pixel ({y}, {x}) lies outside the picture of {self.size[0]} x {self.size[1]}")
        return int(y), int(x)

    def _moved(self, change: dict[str, Any]) -> None:
        if tuple(change["new"]) == self.at:
            return
        try:
            self.point(*change["new"])
            self.said.value = ""
        except Exception as error:
            self.said.value = f"<code>{show.escape(f'{type(error).__name__}: {error}'[:300])}</code>"

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None, **_: Any) -> Any:
        alt = getattr(self.figure, "alt", "A figure that answers to clicks")
        data = {"image/png": base64.b64encode(self._first).decode(), "text/plain": alt}
        if self.box is not None:
            data.update(view(self.box))
        return data, {"image/png": {"alt": alt}}


def pointer(function: Callable[[int, int], Any], picture: Any, at: tuple[int, int], step: int = 16) -> Pointer:
    """A picture to click, and a figure that answers.

    function  (y, x) -> a matplotlib figure or an image
    picture   H,W,3 uint8, what is clicked;   at: (y, x), the pixel to begin with
    step      pixels that the arrow keys move by, and the size of the mark: a cell of the features
    """
    return Pointer(function, picture, at, step)
