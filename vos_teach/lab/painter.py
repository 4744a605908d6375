"""The mask painter as a widget: the browser's part is assets/painter.js; masks come back as bytes after each stroke."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from vos_teach import viz

if TYPE_CHECKING:
    from vos_teach.lab.own import Painting

ASSETS = Path(__file__).parents[1] / "assets"


def make(painting: Painting) -> Any:
    """The widget of a painting, or None where anywidget is not installed. Strokes go into the painting at once."""
    try:
        import anywidget
        import traitlets
    except ImportError:
        return None
    with suppress(ImportError):  # Colab asks before it loads widgets that are not its own
        from google.colab import output

        output.enable_custom_widget_manager()

    class Painter(anywidget.AnyWidget):
        _esm = (ASSETS / "painter.js").read_text(encoding="utf-8")
        _css = (ASSETS / "painter.css").read_text(encoding="utf-8")
        numbers = traitlets.List(traitlets.Int()).tag(sync=True)  # of the frames, in the clip
        images = traitlets.List(traitlets.Bytes()).tag(sync=True)  # JPEG files
        masks = traitlets.List().tag(sync=True)  # bytes; memoryviews from the browser: H*W ids, row by row
        size = traitlets.List(traitlets.Int()).tag(sync=True)  # H, W
        colours = traitlets.List().tag(sync=True)                    # of ids 0, 1, ...: r, g, b

    def painted(change: dict[str, Any]) -> None:
        for t, data in zip(painting.frames, change["new"], strict=False):
            ids = np.frombuffer(bytes(data), np.uint8)
            if ids.size == h * w:
                painting._masks[t] = np.where((ids > painting.objects) & (ids < 255), 0, ids).reshape(h, w)

    h, w = painting.source.size
    vivid = np.minimum(viz.PALETTE[: painting.objects + 1].astype(int) * 2, 255)
    widget = Painter(
        numbers=painting.frames, size=[h, w], colours=vivid.tolist(),
        images=[viz.encode(painting.source.frames[t], "JPEG") for t in painting.frames],
        masks=[painting.mask(t).tobytes() for t in painting.frames],
    )
    widget.observe(painted, names="masks")
    return widget
