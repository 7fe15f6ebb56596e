"""Clips of the stimuli, and the window of BOLD volumes that is read for each.

Time. A volume k of a run stands for `start_time + k tr` seconds on the clock of the events. A
clip at stimulus time s, shown by an event with onset o, asks for BOLD from o + s + lag on. Its
window's first volume is **the first that is acquired at that moment or after it** (a millisecond
before it counts as at it), so a window never holds a volume from before its lag; it spans
`window / tr` volumes, rounded half up, at least one. A window that would leave its run does not
exist: that trial is left out and counted.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import PurePosixPath
from typing import Any

import numpy as np
import pandas as pd

from llm4brain.errors import UserError, some
from llm4brain.io import Arrays
from llm4brain.sections import ClipSettings, Splits

CLIP_COLUMNS = ("clip_id", "stim_file", "onset", "duration", "split")
TRIAL_COLUMNS = ("trial", "clip_id", "stim_file", "onset", "split", "run", "repeat", "valid")
UNKNOWN = "stimulus not in the clip table"  # why a showing is left out
# s; containers round a film's length to a frame, scanners' clocks tick in ms
FRAME, TICK = 0.1, 1e-3


def clip_table(
    durations: Mapping[str, float], splits: Splits, duration: float
) -> tuple[pd.DataFrame, dict[str, float]]:
    """Cut each stimulus into clips; its split is the whole stimulus's.

    Args:
        durations: stim_file -> s.
        duration: of a clip, s.

    Returns:
        the clip table, and stim_file -> seconds at its end that are shorter than a clip and so
        belong to none.

    Raises:
        UserError: two stimuli whose clips would have the same name, or one shorter than a clip.
    """
    rows, rest = [], {}
    for split in ("train", "validation", "test"):
        for stim_file in getattr(splits, split):
            seconds = durations[stim_file]
            count = int((seconds + FRAME) // duration)
            if count == 0:
                raise UserError(
                    stim_file, f"lasts {seconds:g} s, less than a clip", "lower clips.duration"
                )
            left = seconds - count * duration
            if left > FRAME:
                rest[stim_file] = left
            stem = str(PurePosixPath(stim_file).with_suffix("")).replace("/", "_").replace(" ", "_")
            rows += [
                (f"{stem}_{k * duration:06.1f}", stim_file, k * duration, duration, split)
                for k in range(count)
            ]
    table = pd.DataFrame(rows, columns=list(CLIP_COLUMNS))
    if (twice := table.loc[table["clip_id"].duplicated(), "stim_file"]).any():
        raise UserError(twice.iloc[0], "has the name of another stimulus", "rename one of them")
    return table, rest


def window_volumes(window: float, tr: float) -> int:
    """How many volumes a window of so many seconds spans: rounded half up, at least one."""
    return max(1, int(np.floor(window / tr + 0.5)))


def first_volume(seconds: float, tr: float, start_time: float) -> int:
    """The first volume acquired at or after `seconds` on the run's clock; may lie off the run.

    >>> first_volume(4.0, tr=2.0, start_time=0.0), first_volume(4.0, tr=2.0, start_time=1.0)
    (2, 2)
    >>> first_volume(5.1, tr=2.0, start_time=1.0)
    3
    """
    return int(np.ceil((seconds - start_time - TICK) / tr))


@dataclass(frozen=True)
class Run:
    """A run's clean BOLD.

    Attributes:
        label: `01`.
        bold: (volumes, voxels) float32.
        valid: (volumes,) bool.
        tr, start_time: s.
        events: dicts of onset, duration (s; None: the whole stimulus), stim_file.
    """

    label: str
    bold: np.ndarray
    valid: np.ndarray
    tr: float
    start_time: float
    events: list[dict[str, Any]]

    def rolled(self, seconds: float) -> Run:
        """The run with its BOLD turned by at least so many seconds, end joined to start.

        Raises:
            UserError: the run is so short that it would turn back towards where it was.
        """
        volumes = int(np.sign(seconds) * np.ceil(abs(seconds) / self.tr - 1e-6))
        if len(self.bold) < 2 * abs(volumes):
            raise UserError(
                f"run {self.label}",
                f"of {len(self.bold)} volumes cannot be turned by {seconds:g} s",
                "lower evaluate.shift_seconds or leave the run out",
            )
        return Run(
            self.label,
            np.roll(self.bold, volumes, axis=0),
            np.roll(self.valid, volumes),
            self.tr,
            self.start_time,
            self.events,
        )


def read_runs(bold: Arrays) -> Iterator[Run]:
    """The runs of a `data/bold/sub-XX.safetensors`, BOLD memory-mapped: who lets a run go before
    the next holds no more than one in memory."""
    for label, about in sorted(bold.meta["runs"].items()):
        yield Run(
            label,
            bold.mapped(f"run-{label}"),
            bold[f"valid-{label}"],
            about["tr"],
            about["start_time"],
            about["events"],
        )


def films_meant(named: Iterable[str], films: Collection[str]) -> dict[str, str]:
    """Stimuli as events name them -> the films that are meant.

    A name that is none of the films is compared without spaces around it, `./`, `stimuli/`, the
    direction of its slashes and its case; it is taken for a film if it is like one alone.

    >>> films_meant(["a.mp4", "stimuli\\\\A.mp4 ", "b.mp4"], ["a.mp4"])
    {'a.mp4': 'a.mp4', 'stimuli\\\\A.mp4 ': 'a.mp4', 'b.mp4': 'b.mp4'}
    """

    def bare(name: str) -> str:
        parts = name.strip().replace("\\", "/").casefold().split("/")
        parts = [part for part in parts if part not in ("", ".")]
        return "/".join(parts[1:] if parts[:1] == ["stimuli"] and len(parts) > 1 else parts)

    alike: dict[str, list[str]] = {}
    for film in films:
        alike.setdefault(bare(film), []).append(film)
    one = {key: own[0] for key, own in alike.items() if len(own) == 1}
    return {name: name if name in films else one.get(bare(name), name) for name in named}


def run_windows(run: Run, parts: Sequence[slice]) -> np.ndarray:
    """Windows (parts, volumes, voxels) float16 of a run's BOLD."""
    return np.stack([run.bold[part].astype(np.float16) for part in parts])


@dataclass(frozen=True)
class Plan:
    """Which volumes of which run are the window of each trial.

    Attributes:
        trials: the table of `TRIAL_COLUMNS`, run by run.
        parts: the volumes of each trial, run by run.
        span: volumes of a window.
        left_out: reason -> how many showings of a clip have no window for it.
        whose: reason -> stimulus -> how many of those are its own.
        taken: a name in the events that is not a film's -> the film that it was taken for.
    """

    trials: pd.DataFrame
    parts: list[list[slice]]
    span: int
    left_out: dict[str, int]
    whose: dict[str, Counter[str]]
    taken: dict[str, str]

    def said(self) -> Iterator[str]:
        """What a reader of the log should know; the lines with `warning: ` go to the terminal."""
        if self.taken:
            yield from (
                f"events: {name!r} is taken for {film}" for name, film in self.taken.items()
            )
            yield f"warning: events: names taken for films of splits: {some(self.taken)}"
        for reason, own in self.whose.items():
            yield f"{self.left_out[reason]} showings left out: {reason}"
            yield from (f"  {film}: {count}" for film, count in own.items())
        if self.left_out:
            yield f"warning: showings of clips left out: {_reasons(self.whose)}"

    def windows(self, runs: Iterable[Run]) -> Iterator[Callable[[], np.ndarray]]:
        """Functions that cut a run's windows, (trials of the run, span, voxels) float16."""
        for run, parts in zip(runs, self.parts, strict=True):
            if parts:
                yield partial(run_windows, run, parts)


@dataclass(frozen=True)
class Windows:
    """Windows of BOLD and the trials they belong to, row for row.

    Attributes:
        windows: (trials, volumes, voxels) float16.
        trials: the table of `TRIAL_COLUMNS`.
        left_out: reason -> how many showings of a clip have no window for it.
    """

    windows: np.ndarray
    trials: pd.DataFrame
    left_out: dict[str, int] = field(default_factory=dict)


def plan_windows(
    runs: Iterable[Run], clips: pd.DataFrame, settings: ClipSettings, *, lag: float | None = None
) -> Plan:
    """Find the window of every showing of every clip; no BOLD is looked at.

    Args:
        clips: the clip table; stimuli that it does not hold give no trial.
        settings: lag and window, s.
        lag: s, in place of `settings.lag`; a lag sweep's, also negative.

    Raises:
        UserError: runs of different TR would give windows of different length, or no window
            exists at all.
    """
    lag = settings.lag if lag is None else lag
    by_stimulus = dict(iter(clips.groupby("stim_file", sort=False)))
    reasons = ("off the run", "not shown", UNKNOWN, "shared with another split")
    whose: dict[str, Counter[str]] = {reason: Counter() for reason in reasons}
    taken: dict[str, str] = {}
    labels, trs, spans, parts, rows, shown = [], [], [], [], [], {}
    for run in runs:
        span = window_volumes(settings.window, run.tr)
        cut: list[tuple[slice, tuple]] = []
        meant = films_meant((event["stim_file"] for event in run.events), by_stimulus)
        taken |= {name: film for name, film in meant.items() if name != film}
        for event in run.events:
            stim_file, length = meant[event["stim_file"]], event["duration"]
            if stim_file not in by_stimulus:
                whose[UNKNOWN][stim_file] += 1
                continue
            shown[stim_file] = shown.get(stim_file, 0) + 1
            for clip in by_stimulus[stim_file].itertuples():
                if length is not None and clip.onset + clip.duration > length + FRAME:
                    whose["not shown"][stim_file] += 1
                    continue
                first = first_volume(event["onset"] + clip.onset + lag, run.tr, run.start_time)
                if first < 0 or first + span > len(run.bold):
                    whose["off the run"][stim_file] += 1
                    continue
                part = slice(first, first + span)
                trial = (clip.clip_id, stim_file, clip.onset, clip.split, run.label)
                cut.append((part, (*trial, shown[stim_file], float(run.valid[part].mean()))))
        kept = _apart(cut, len(run.bold))
        whose["shared with another split"] += Counter(row[1] for _, row in cut)
        whose["shared with another split"] -= Counter(row[1] for _, row in kept)
        labels.append(run.label)
        trs.append(run.tr)
        spans.append(span)
        parts.append([part for part, _ in kept])
        rows += [row for _, row in kept]
    if len(set(spans)) != 1:
        raise UserError(
            "runs",
            f"differ in TR, and so in volumes per window: {_told(labels, trs)}",
            "keep runs of one TR (tasks names those that are read), or choose another clips.window",
        )
    whose = {reason: own for reason, own in whose.items() if own}
    if not rows:
        wrong = f"none of its clips has a window in any run: {_reasons(whose)}"
        raise UserError("clip table", wrong, "check splits")
    trials = pd.DataFrame(rows, columns=list(TRIAL_COLUMNS[1:]))
    trials.insert(0, "trial", np.arange(len(trials)))
    return Plan(trials, parts, span, {why: n.total() for why, n in whose.items()}, whose, taken)


def cut_windows(
    runs: Iterable[Run],
    clips: pd.DataFrame,
    settings: ClipSettings,
    *,
    lag: float | None = None,
    roll: float = 0.0,
) -> Windows:
    """All windows at once, as `plan_windows` finds them.

    Args:
        roll: s by which each run's BOLD is turned first: the rolled-brain floor.
    """
    turned = [run.rolled(roll) if roll else run for run in runs]
    plan = plan_windows(turned, clips, settings, lag=lag)
    return Windows(
        np.concatenate([cut() for cut in plan.windows(turned)]), plan.trials, plan.left_out
    )


def _reasons(whose: Mapping[str, Counter[str]]) -> str:
    return "; ".join(f"{own.total()} {why} ({some(own)})" for why, own in whose.items())


def _told(labels: Sequence[str], trs: Sequence[float]) -> str:
    """Which runs have which TR, three of each by name."""
    said = []
    for tr in sorted(set(trs)):
        own = [label for label, other in zip(labels, trs, strict=True) if other == tr]
        more = ", ..." if len(own) > 3 else ""
        said.append(f"{tr:g} s in {len(own)} ({', '.join(own[:3])}{more})")
    return ", ".join(said)


def _apart(cut: list[tuple[slice, tuple]], volumes: int) -> list[tuple[slice, tuple]]:
    """Windows of a run that share no volume with a window of a split that is kept before it.

    Test is kept whole, then validation: where films of several splits follow each other in one
    run, a train window must not hold what a test window reads.
    """
    split = TRIAL_COLUMNS.index("split") - 1  # rows have no trial number yet
    owner = np.full(volumes, "", dtype=object)
    for name in ("test", "validation", "train"):
        for part, row in cut:
            if row[split] == name:
                free = owner[part] == ""
                owner[part][free] = name
    return [(part, row) for part, row in cut if (owner[part] == row[split]).all()]
