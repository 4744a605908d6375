"""`predict`: commit to a number before you measure it; `predict.reveal` puts both side by side."""

from __future__ import annotations

from typing import Any

import numpy as np

from vos_teach.errors import VosError
from vos_teach.lab.cases import plain
from vos_teach.lab.check import NotAttempted
from vos_teach.lab.folder import load_json, save_json, work_folder


class Predict:
    """The callable behind `predict`. Predictions are kept in predictions.json in the student's folder."""

    def __call__(self, name: str, value: Any, question: str = "") -> None:
        """Commit to a prediction: a number, a word or a list of them. It can be changed until it is revealed.

        value None (as the notebook comes) raises NotAttempted.
        """
        if value is None or value is Ellipsis:
            raise NotAttempted(name, "put your prediction in place of None; there is no wrong one, only a missing one")
        path, value = work_folder() / "predictions.json", _simple(name, value)
        kept = load_json(path)
        before = kept.get(name, {})
        if "measured" in before and before["value"] != value:
            print(f"{name}: already revealed, so your prediction stays {_text(before['value'])}")
            return
        kept[name] = {"question": question, **before, "value": value}
        save_json(path, kept)
        print(f"Predicted - {name}: {_text(value)}{f'  ({question})' if question else ''}")

    def reveal(self, name: str, measured: Any) -> None:
        """Print prediction and measurement side by side. Raises NotAttempted where nothing was predicted."""
        path, measured = work_folder() / "predictions.json", _simple(name, measured)
        kept = load_json(path)
        if name not in kept:
            raise NotAttempted(name, "commit to a prediction first: run the cell with predict(...) above")
        mine = kept[name]["value"]
        kept[name]["measured"] = measured
        save_json(path, kept)
        off = ""
        if all(isinstance(v, (int, float)) and not isinstance(v, bool) for v in (mine, measured)):
            off = f"   off by {abs(mine - measured):.3g}"
        elif mine == measured:
            off = "   as predicted"
        question = kept[name].get("question")
        print(f"{question or name}\n  predicted {_text(mine)}   measured {_text(measured)}{off}")


predict = Predict()


def _simple(name: str, value: Any) -> Any:
    """Numbers, words, and lists or dicts of them, as JSON has them."""
    if isinstance(value, (str, bool, int, float)):
        return value
    if isinstance(value, dict):
        return {str(k): _simple(name, v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_simple(name, v) for v in value]
    try:
        array = plain(value)
    except Exception:
        array = np.array(None)
    if array.dtype.kind not in "biuf":
        raise VosError(f"{name}: {type(value).__name__} can be neither predicted nor measured: give a number or a word")
    return array.tolist()


def _text(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.3g}"
    if isinstance(value, list):
        return ", ".join(_text(v) for v in value)
    if isinstance(value, dict):
        return ", ".join(f"{k}: {_text(v)}" for k, v in value.items())
    return str(value)
