"""Reading and writing of arrays (safetensors), tables (TSV or CSV) and JSON; writes are atomic."""

from __future__ import annotations

import json
import math
import os
import re
import shutil
import tempfile
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pandas as pd
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from llm4brain.errors import UserError, needs_space

# NumPy's name of a type -> safetensors' name, in the order in which safetensors stores arrays.
TYPES = {"uint64": "U64", "int64": "I64", "float64": "F64", "float32": "F32", "uint32": "U32"}
TYPES |= {"int32": "I32", "float16": "F16", "uint16": "U16", "int16": "I16", "int8": "I8"}
TYPES |= {"uint8": "U8", "bool": "BOOL"}


def _umask() -> int:
    """The user's umask; it can only be read by setting it."""
    now = os.umask(0o022)
    os.umask(now)
    return now


def readable(path: Path) -> None:
    """Give a file the usual mode; safetensors makes files readable by their owner only."""
    path.chmod(0o666 & ~_umask())


def partial_of(path: Path) -> Path:
    """Where this process writes a file or folder before it is renamed to `path`.

    What killed processes left of the same one is removed; what others are writing stays.
    """
    for old in path.parent.iterdir():
        left = re.fullmatch(rf"\.partial-(\d+)-{re.escape(path.name)}", old.name)
        if left and not _alive(int(left[1])):
            shutil.rmtree(old, ignore_errors=True) if old.is_dir() else old.unlink(missing_ok=True)
    return path.with_name(f".partial-{os.getpid()}-{path.name}")


def _alive(process: int) -> bool:
    """Whether another process of this number is there; this one has left nothing."""
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass  # somebody else's
    return process != os.getpid()


@contextmanager
def atomic_write(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path next to `path`, renamed to it only if the block succeeds.

    The temporary name keeps the suffixes, since NIfTI writers choose the format by them. Several
    processes may write the same file at once; the last one's stays.

    Raises:
        UserError: the disk is full.
    """
    path = Path(path)
    with needs_space(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = partial_of(path)
        try:
            yield partial
            readable(partial)
            os.replace(partial, path)
        finally:
            partial.unlink(missing_ok=True)


@contextmanager
def scratch(prefix: str) -> Iterator[Path]:
    """Yield a temporary folder (under TMPDIR), which is removed in the end.

    Raises:
        UserError: its disk is full.
    """
    with (
        needs_space(f"TMPDIR ({tempfile.gettempdir()})"),
        tempfile.TemporaryDirectory(prefix=f"{prefix}-") as folder,
    ):
        yield Path(folder)


def missing(path: str | Path, todo: str) -> UserError:
    """The error for a file that is not there, which tells a link that leads nowhere."""
    if Path(path).is_symlink():
        where = os.readlink(path)
        return UserError(path, f"is a link to {where}, which is not there", "fetch that file")
    return UserError(path, "does not exist", todo)


def keep_only(folder: str | Path, names: Collection[str]) -> None:
    """Remove files that an earlier run with other settings left in an output folder.

    A workflow deletes only the current outputs of a job, not its former ones.
    """
    for path in Path(folder).iterdir():
        ours = path.is_file() or path.is_symlink()  # a link may be broken
        if ours and path.name not in names and not path.name.startswith(".partial-"):
            path.unlink()


def write_arrays(
    path: str | Path, arrays: Mapping[str, np.ndarray], meta: Mapping[str, Any] | None = None
) -> None:
    """Write named arrays and a JSON-serialisable `meta` to one safetensors file."""
    header = {"meta": json.dumps(meta or {}, sort_keys=True)}
    with atomic_write(path) as partial:
        save_file({k: np.ascontiguousarray(v) for k, v in arrays.items()}, partial, header)


class Stream:
    """The layout of a safetensors file that is written part by part.

    Args:
        shapes, meta: see `stream_arrays`.

    Attributes:
        size: of the file, bytes.
        done: name -> rows written so far.
    """

    def __init__(
        self,
        shapes: Mapping[str, tuple[str, tuple[int, ...]]],
        meta: Mapping[str, Any] | None = None,
    ) -> None:
        order = sorted(shapes, key=lambda name: (list(TYPES).index(shapes[name][0]), name))
        header: dict[str, Any] = {"__metadata__": {"meta": json.dumps(meta or {}, sort_keys=True)}}
        end, self._place = 0, {}
        for name in order:
            dtype, shape = shapes[name]
            begin, end = end, end + math.prod(shape) * np.dtype(dtype).itemsize
            header[name] = {"dtype": TYPES[dtype], "shape": shape, "data_offsets": [begin, end]}
            self._place[name] = begin
        text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
        text += b" " * (-len(text) % 8)
        self._header = len(text).to_bytes(8, "little") + text
        self._shapes = {name: (dtype, tuple(shape)) for name, (dtype, shape) in shapes.items()}
        self.size = len(self._header) + end
        self.done = dict.fromkeys(shapes, 0)

    def begin(self, file: BinaryIO) -> None:
        """Write the header, and give the file its size."""
        file.write(self._header)
        file.truncate(self.size)

    def put(self, file: BinaryIO, name: str, rows: np.ndarray) -> None:
        """Write an array's next rows."""
        dtype, shape = self._shapes[name]
        if rows.dtype != dtype or rows.shape[1:] != shape[1:]:
            wrong = f"{rows.dtype} {rows.shape} is not a part of {self._shapes[name]}"
            raise ValueError(f"{name}: {wrong}")
        row = math.prod(shape[1:]) * rows.itemsize
        file.seek(len(self._header) + self._place[name] + self.done[name] * row)
        file.write(np.ascontiguousarray(rows).data)
        self.done[name] += len(rows)

    def require_complete(self) -> None:
        """Raise ValueError unless all rows were written."""
        wrong = [name for name, (_, shape) in self._shapes.items() if self.done[name] != shape[0]]
        if wrong:
            raise ValueError(f"{', '.join(wrong)}: not written as long as {self._shapes}")


def stream_arrays(
    path: str | Path,
    shapes: Mapping[str, tuple[str, tuple[int, ...]]],
    parts: Iterable[tuple[str, np.ndarray]],
    meta: Mapping[str, Any] | None = None,
) -> None:
    """Write the same bytes as `write_arrays`, with only one part in memory at a time.

    Args:
        shapes: name -> NumPy's name of the type, and the shape, of each array.
        parts: pairs of a name and the array's next rows; names may alternate.

    Raises:
        ValueError: the parts do not match `shapes`.
    """
    stream = Stream(shapes, meta)
    with atomic_write(path) as partial, partial.open("wb") as file:
        stream.begin(file)
        for name, rows in parts:
            stream.put(file, name, rows)
        stream.require_complete()


class Arrays:
    """A safetensors file, opened without loading: `arrays["name"]`, `arrays.mapped("name")`.

    Attributes:
        meta: the `meta` given to `write_arrays`.
        names: the names of the arrays.

    Raises:
        UserError: the file is missing, or is not a complete safetensors file.
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
        """The shape of an array, without reading the array."""
        return tuple(self._file.get_slice(self._known(name)).get_shape())

    def mapped(self, name: str) -> np.ndarray:
        """A memory-mapped array, read from disk on access.

        Pages that were read count as memory until the array is dropped.
        """
        dtype, shape, offset = self.place(name)
        if 0 in shape:  # empty arrays cannot be mapped
            return np.zeros(shape, dtype)
        return np.asarray(np.memmap(self.path, dtype, "r", offset, shape))

    def place(self, name: str) -> tuple[str, tuple[int, ...], int]:
        """NumPy's name of an array's type, its shape, and its byte offset in the file."""
        with self.path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            about = json.loads(file.read(length))[self._known(name)]
        dtype = next(numpy for numpy, stored in TYPES.items() if stored == about["dtype"])
        return dtype, tuple(about["shape"]), 8 + length + about["data_offsets"][0]

    def _known(self, name: str) -> str:
        if name not in self.names:
            raise UserError(self.path, f"holds no array '{name}'", "delete it and run again")
        return name


def write_table(path: str | Path, table: pd.DataFrame) -> None:
    """Write a table as TSV (or CSV, by its suffix); floats keep six significant digits."""
    sep = "," if Path(path).suffix == ".csv" else "\t"
    with atomic_write(path) as partial:
        table.to_csv(partial, sep=sep, index=False, na_rep="n/a", float_format="%.6g")


def read_table(
    path: str | Path, columns: tuple[str, ...] = (), *, as_text: bool = False
) -> pd.DataFrame:
    """Read a TSV or CSV; labels such as the "01" of `sub-01`, and all text, stay strings.

    Args:
        columns: those that it must have.
        as_text: every cell as it stands, with `n/a` and the empty cell as words of their own.

    Raises:
        UserError: the file cannot be read, is not a table, or lacks one of `columns`.
    """
    sep = "," if Path(path).suffix == ".csv" else "\t"
    text = dict.fromkeys(("subject", "run", "caption", "text", "stim_file"), str)
    text |= dict.fromkeys(("clip_id", "image_id", "video_id", "id"), str)
    try:
        how = {"dtype": str} if as_text else {"dtype": text, "na_values": ["n/a"]}
        # index_col: a tab at the end of each row would make an index of the first column
        table = pd.read_csv(path, sep=sep, keep_default_na=False, index_col=False, **how)
    except FileNotFoundError:
        raise missing(path, "make it or correct the path") from None
    except (OSError, pd.errors.EmptyDataError, pd.errors.ParserError, UnicodeDecodeError) as error:
        raise UserError(path, f"is not a table ({error})", "write it again") from None
    lacks = [c for c in columns if c not in table]
    if lacks:
        raise UserError(path, f"has no column {', '.join(lacks)}", "add it")
    return table


def write_json(path: str | Path, value: Any) -> None:
    """Write JSON with sorted keys, so that equal values give identical files."""
    with atomic_write(path) as partial:
        partial.write_text(json.dumps(value, indent=2, sort_keys=True) + "\n")


def read_json(path: str | Path, *, once: bool = False) -> Any:
    """Read JSON.

    Args:
        once: refuse an object that has a key twice, of which Python takes the last.

    Raises:
        UserError: the file is missing or not JSON.
    """

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        made = dict(pairs)
        if len(made) < len(pairs):
            keys = [key for key, _ in pairs]
            again = next(key for key in keys if keys.count(key) > 1)
            raise UserError(path, f"has {again} more than once", "keep one, or write a list")
        return made

    try:
        return json.loads(Path(path).read_text(), object_pairs_hook=unique if once else None)
    except FileNotFoundError:
        raise missing(path, "make it or correct the path") from None
    except (OSError, json.JSONDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise UserError(path, f"is not JSON ({error})", "write it again") from None
