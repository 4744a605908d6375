"""`slider`: drag, and one figure answers.

The figure is an image whose bytes are replaced, so nothing flickers and the page never jumps. It is drawn once, in
Python, before anything is shown: a notebook executed without a browser holds that picture, and no widget state.
"""

from __future__ import annotations

import base64
import time
from collections.abc import Callable
from typing import Any

from vos_teach.errors import VosError
from vos_teach.lab import show

QUICK = 0.25  # seconds: a function faster than this follows the drag, a slower one answers when it ends


class Slider:
    """What `slider` returns. `controls[name].value = x` moves a slider from code; `figure` is the last drawn."""

    def __init__(self, function: Callable[..., Any], ranges: dict[str, Any]):
        if not ranges:
            raise VosError("slider: say what can be moved, for example slider(draw, n=(0, 20))")
        self.function = function
        self._settings = {name: _setting(name, value) for name, value in ranges.items()}
        started = time.perf_counter()
        self.figure = function(**{name: s["value"] for name, s in self._settings.items()})
        self._first = show.png(self.figure)  # the function's own exception passes: nothing is drawn, the cell says why
        quick = time.perf_counter() - started < QUICK
        self.controls: dict[str, Any] = {}
        self.box = None
        try:
            import ipywidgets
        except ImportError:  # no extra "lab": the first picture is all there is
            return
        self.controls = {name: _control(ipywidgets, name, s, quick) for name, s in self._settings.items()}
        width = int.from_bytes(self._first[16:20], "big")  # as a PNG's header has it; a box would stretch it
        self.image = ipywidgets.Image(value=self._first, format="png", layout={
            "width": f"{width}px", "max_width": "100%", "height": "auto", "align_self": "flex-start"})
        self.said = ipywidgets.HTML()
        self.box = ipywidgets.VBox([*self.controls.values(), self.image, self.said])
        for control in self.controls.values():
            control.observe(self._moved, names="value")

    def _moved(self, _: Any) -> None:
        started = time.perf_counter()
        try:
            self.figure = self.function(**{name: c.value for name, c in self.controls.items()})
            self.image.value = show.png(self.figure)
            self.said.value = ""
        except Exception as error:
            self.said.value = f"<code>{show.escape(f'{type(error).__name__}: {error}'[:300])}</code>"
        quick = time.perf_counter() - started < QUICK  # the first draw, with its imports, says too little
        for control in self.controls.values():
            if hasattr(control, "continuous_update"):
                control.continuous_update = quick

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None, **_: Any) -> Any:
        alt = getattr(self.figure, "alt", "A figure that answers to sliders")
        data = {"image/png": base64.b64encode(self._first).decode(), "text/plain": alt}
        if self.box is not None:
            data.update(view(self.box))
        return data, {"image/png": {"alt": alt}}


def slider(function: Callable[..., Any], **ranges: Any) -> Slider:
    """One or more sliders that redraw one figure.

    function  takes the ranges' names, returns a matplotlib figure or an image (H,W or H,W,3)
    ranges    (low, high), (low, high, step) or (low, high, step, start) of numbers; a list of choices; True or False
    """
    return Slider(function, ranges)


def view(widget: Any) -> dict[str, Any]:
    """What a notebook's output needs to show a widget, without its text."""
    found = widget._repr_mimebundle_()
    data = found[0] if isinstance(found, tuple) else found or {}
    return {kind: content for kind, content in data.items() if kind != "text/plain"}


def _setting(name: str, value: Any) -> dict[str, Any]:
    """A range as the keywords of the control: at least its first `value`."""
    if isinstance(value, bool):
        return {"value": value}
    if isinstance(value, list) and value:
        return {"value": value[0], "options": value}
    numbers = isinstance(value, tuple) and all(isinstance(v, (int, float)) for v in value)
    if not numbers or not 2 <= len(value) <= 4 or value[0] >= value[1]:
        raise VosError(f"slider: {name}={value!r} is no range: give (low, high), (low, high, step), "
                       "(low, high, step, start), a list of choices, or True or False")
    low, high = value[:2]
    whole = all(isinstance(v, int) for v in value)
    step = value[2] if len(value) > 2 else 1 if whole else (high - low) / 50
    start = value[3] if len(value) > 3 else low
    return {"min": low, "max": high, "step": step, "value": min(max(start, low), high)}


def _control(ipywidgets: Any, name: str, setting: dict[str, Any], quick: bool) -> Any:
    label = {"description": name.replace("_", " "), "style": {"description_width": "initial"}}
    if "options" in setting:
        return ipywidgets.Dropdown(**setting, **label)
    if "min" not in setting:
        return ipywidgets.Checkbox(**setting, **label)
    whole = all(isinstance(v, int) for v in setting.values())
    kind = ipywidgets.IntSlider if whole else ipywidgets.FloatSlider
    return kind(**setting, **label, continuous_update=quick, layout={"width": "480px", "max_width": "100%"})
