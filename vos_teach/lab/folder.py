"""The student's folder: small JSON files in it, written whole."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from vos_teach.data.png import write_bytes
from vos_teach.errors import VosError


def work_folder() -> Path:
    """VOS_TEACH_WORK, or vos_teach_work beside the notebook. It is made when something is first written."""
    return Path(os.environ.get("VOS_TEACH_WORK") or "vos_teach_work").expanduser().resolve()


def load_json(path: Path) -> dict[str, Any]:
    """What a file holds; {} where there is none. Raises VosError for what is no JSON object."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise VosError(f"'{path}' cannot be read ({error}): remove it, and run the lab's cells again") from None
    if not isinstance(found, dict):
        raise VosError(f"'{path}' is not what a lab writes: remove it, and run the lab's cells again")
    return found


def save_json(path: Path, content: dict[str, Any]) -> None:
    """Write it whole or not at all."""
    write_bytes(path, (json.dumps(content, indent=1) + "\n").encode())
