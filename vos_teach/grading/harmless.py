"""What a submission shows, without anything that could act in the browser of who looks at it."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Sequence
from typing import Any

from vos_teach.grading.reading import joined

TEXT = 20_000  # characters of one output
CELL = 2 << 20  # characters of all outputs of a cell
NOTEBOOK = 10 << 20
PICTURES = ("image/png", "image/jpeg", "image/gif")
# Tags that a text may hold, without any attribute.
TAGS = ("b", "i", "em", "strong", "u", "s", "sub", "sup", "br", "p", "hr", "code", "pre", "kbd", "blockquote", "ul",
        "ol", "li", "table", "thead", "tbody", "tr", "td", "th", "details", "summary", "h1", "h2", "h3", "h4", "h5",
        "h6", "div", "span", "small", "caption")
_LOOSE = re.compile(rf"<(?!/?(?:{'|'.join(TAGS)})\s*/?>)(?=[a-zA-Z/!?])", re.I)
_TARGET = r"(?!https?://|#|attachment:|mailto:|[\w./ -]*[)>\"'\s]|$)"  # anything else: a scheme, perhaps in disguise
_LINK = re.compile(rf"(\]\(\s*<?|^[ >]*\[[^\]\n]+\]:\s*<?){_TARGET}", re.M)
_SCHEME = re.compile(r"(?i)(j\s*a\s*v\s*a|v\s*b)\s*s\s*c\s*r\s*i\s*p\s*t\s*:|data\s*:\s*text/html")


class Allowance:
    """How much of a notebook's outputs may still be kept."""

    def __init__(self) -> None:
        self.left, self.dropped = NOTEBOOK, 0

    def kept(self, outputs: Sequence[Any]) -> list[dict[str, Any]]:
        """A cell's outputs, harmless and no more than allowed."""
        out, cell = [], CELL
        for given in outputs:
            clean = output(given)
            if clean is None:
                self.dropped += 1
                continue
            size = len(str(clean))
            if size > min(cell, self.left):
                self.dropped += 1
                continue
            cell, self.left = cell - size, self.left - size
            out.append(clean)
        return out


def output(given: Any) -> dict[str, Any] | None:
    """One output as nbformat 4 has it, with only what is text or a picture; None if nothing is left."""
    if not isinstance(given, dict):
        return None
    kind = given.get("output_type")
    if kind == "stream":
        said = joined(given.get("text"))
        name = "stderr" if given.get("name", given.get("stream")) == "stderr" else "stdout"
        return None if said is None else {"output_type": "stream", "name": name, "text": _short(said)}
    if kind in ("error", "pyerr"):
        lines = given.get("traceback") if isinstance(given.get("traceback"), list) else []
        return {"output_type": "error", "ename": _short(joined(given.get("ename")) or "", 200),
                "evalue": _short(joined(given.get("evalue")) or "", 2000),
                "traceback": [_short(joined(line) or "") for line in lines[:40]]}
    if kind not in ("display_data", "execute_result", "pyout"):
        return None
    data = given.get("data") if isinstance(given.get("data"), dict) else {}
    shown = _bundle(data)
    return {"output_type": "display_data", "data": shown, "metadata": {}} if shown else None


def _bundle(data: dict[str, Any]) -> dict[str, str]:
    shown: dict[str, str] = {}
    for kind in PICTURES:
        if (picture := base64_of(data.get(kind))) is not None:
            shown[kind] = picture
    drawing = joined(data.get("image/svg+xml"))
    if drawing is not None and not shown:  # inside <img> a drawing cannot act
        packed = base64.b64encode(drawing.encode("utf-8", "replace")).decode()
        shown["text/html"] = f'<img alt="a drawing" src="data:image/svg+xml;base64,{packed}">'
    elif (page := joined(data.get("text/html"))) is not None and not shown and len(page) <= CELL:
        shown["text/html"] = html(page)
    if (said := joined(data.get("text/plain"))) is not None:
        shown["text/plain"] = _short(said)
    return shown


def base64_of(value: Any) -> str | None:
    """A picture's bytes as base64 on one line, or None if it is anything else (it ends up inside an attribute)."""
    text = joined(value)
    if text is None:
        return None
    try:
        return base64.b64encode(base64.b64decode("".join(text.split()), validate=True)).decode()
    except (binascii.Error, ValueError):
        return None


def html(page: str) -> str:
    """A page's text and tables, by bleach; no attributes but those of tables."""
    import bleach

    page = re.sub(r"(?is)<(script|style)\b.*?(</\1\s*>|$)", "", page)  # bleach would keep what is in them, as text
    return bleach.clean(page, tags=set(TAGS), attributes={"td": ["colspan", "rowspan"], "th": ["colspan", "rowspan"]},
                        protocols=set(), strip=True, strip_comments=True)


def markdown(text: str) -> str:
    """A text cell in which only plain tags are left; what would act is shown as it was written."""
    text = _LINK.sub(r"\1#", _LOOSE.sub("&lt;", text))
    return _SCHEME.sub(lambda found: found.group().replace(":", " :"), text)


def attachments(given: dict[str, Any]) -> dict[str, dict[str, str]]:
    """The pictures that are pinned to a text cell."""
    out = {}
    for name, bundle in list(given.items())[:20]:
        if isinstance(name, str) and re.fullmatch(r"[\w.-]{1,80}", name) and isinstance(bundle, dict):
            kept = {kind: picture for kind in PICTURES
                    if (picture := base64_of(bundle.get(kind))) is not None and len(picture) <= CELL}
            if kept:
                out[name] = kept
    return out


def _short(text: str, most: int = TEXT) -> str:
    return text if len(text) <= most else f"{text[:most]}\n[... {len(text) - most} characters more]\n"
