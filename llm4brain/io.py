"""One file format for numbers: safetensors, TSV or CSV, JSON; written whole or not at all."""

from __future__ import annotations

import json
import os
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from llm4brain.errors import UserError


def _umask() -> int:
    """What the user takes away from new files; there is no way to ask but to set it."""
    now = os.umask(0o022)
    os.umask(now)
    return now


@contextmanager
def whole(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`, renamed onto it only if the block succeeds.

    The temporary name keeps the suffixes, since NIfTI writers choose the format by them.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".partial-{os.getpid()}-{path.name}")
    try:
        yield partial
        partial.chmod(0o666 & ~_umask())  # safetensors writes for its owner alone
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def keep_only(folder: str | Path, names: Collection[str]) -> None:
    """Remove the files of a folder of ours that another run left there, under other settings.

    A workflow clears the outputs that a job has now, not those that it had.
    """
    for path in Path(folder).iterdir():
        if path.is_file() and path.name not in names and not path.name.startswith(".partial-"):
            path.unlink()


def write_arrays(
    path: str | Path, arrays: Mapping[str, np.ndarray], meta: Mapping[str, Any] | None = None
) -> None:
    """Write named arrays and a JSON-able `meta` to one safetensors file."""
    header = {"meta": json.dumps(meta or {}, sort_keys=True)}
    with whole(path) as partial:
        save_file({k: np.ascontiguousarray(v) for k, v in arrays.items()}, partial, header)


class Arrays:
    """A safetensors file opened without reading it: `arrays["name"]`, `arrays.part("name", rows)`.

    Attributes:
        meta: what `write_arrays` was given as `meta`.
        names: the names of the arrays.

    Raises:
        UserError: the file is missing, or is not a whole safetensors file.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        try:
            self._file = safe_open(self.path, framework="numpy")
        except FileNotFoundError:
            raise UserError(path, "does not exist", "run the step that makes it") from None
        except (SafetensorError, OSError) as error:
            raise UserError(
                path, f"is not a whole safetensors file ({error})", "delete it and run again"
            ) from None
        self.meta: dict[str, Any] = json.loads((self._file.metadata() or {}).get("meta", "{}"))
        self.names: list[str] = sorted(self._file.keys())

    def __getitem__(self, name: str) -> np.ndarray:
        return self._file.get_tensor(self._known(name))

    def part(self, name: str, rows: slice) -> np.ndarray:
        """Read only `rows` of the first axis from disk."""
        return self._file.get_slice(self._known(name))[rows]

    def shape(self, name: str) -> tuple[int, ...]:
        """The shape of an array, which is not read for it."""
        return tuple(self._file.get_slice(self._known(name)).get_shape())

    def _known(self, name: str) -> str:
        if name not in self.names:
            raise UserError(self.path, f"holds no array '{name}'", "delete it and run again")
        return name


def write_table(path: str | Path, table: pd.DataFrame) -> None:
    """Write a table as TSV (or CSV by its suffix); floats keep six significant digits."""
    sep = "," if Path(path).suffix == ".csv" else "\t"
    with whole(path) as partial:
        table.to_csv(partial, sep=sep, index=False, na_rep="n/a", float_format="%.6g")


def read_table(path: str | Path, columns: tuple[str, ...] = ()) -> pd.DataFrame:
    """Read a TSV or CSV; labels such as `sub-01`'s "01", and all words, stay strings.

    Raises:
        UserError: the file cannot be read, is no table, or lacks one of `columns`.
    """
    sep = "," if Path(path).suffix == ".csv" else "\t"
    text = dict.fromkeys(("subject", "run", "caption", "text"), str)
    text |= dict.fromkeys(("clip_id", "image_id", "video_id", "id"), str)
    try:
        table = pd.read_csv(path, sep=sep, na_values=["n/a"], keep_default_na=False, dtype=text)
    except FileNotFoundError:
        raise UserError(path, "does not exist", "make it or correct the path") from None
    except (OSError, pd.errors.EmptyDataError, pd.errors.ParserError, UnicodeDecodeError) as error:
        raise UserError(path, f"is not a table ({error})", "write it anew") from None
    missing = [c for c in columns if c not in table]
    if missing:
        raise UserError(path, f"has no column {', '.join(missing)}", "add it")
    return table


def write_json(path: str | Path, value: Any) -> None:
    """Write JSON with sorted keys, so that equal values are equal bytes."""
    with whole(path) as partial:
        partial.write_text(json.dumps(value, indent=2, sort_keys=True) + "\n")


def read_json(path: str | Path) -> Any:
    """Read JSON.

    Raises:
        UserError: the file is missing or not JSON.
    """
    try:
        return json.loads(Path(path).read_text())
    except FileNotFoundError:
        raise UserError(path, "does not exist", "make it or correct the path") from None
    except (OSError, json.JSONDecodeError, UnicodeDecodeError) as error:
        raise UserError(path, f"is not JSON ({error})", "write it anew") from None
