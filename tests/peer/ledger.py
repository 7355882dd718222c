"""What was played, in the emulator's form: see `tidings-emulator run --help`."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable


def line(source: str, key: str, emissions: int, acknowledged: int) -> dict[str, object]:
    return {
        "source": source,
        "key": key,
        "copies": 1,
        "emissions": emissions,
        "acknowledged": acknowledged,
        "timeless": False,
    }


def write(path: str, lines: Iterable[dict[str, object]]) -> None:
    """Replaces the file as a whole."""
    new = f"{path}.new"
    with open(new, "w", encoding="utf-8") as file:
        for entry in lines:
            print(json.dumps(entry), file=file)
    os.replace(new, path)
