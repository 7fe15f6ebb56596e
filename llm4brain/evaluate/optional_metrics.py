"""Optional metrics that need a model or parser: SPICE, BERTScore, CLIP-score.

They are not part of the default. Each is computed if a setting names what it needs, and is n/a
otherwise. All are means over clips of one value per clip.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from llm4brain.errors import UserError
from llm4brain.evaluate.bertscore import bertscore, token_states
from llm4brain.evaluate.clipscore import Clip, clip_score, seen
from llm4brain.evaluate.names import FURTHER
from llm4brain.evaluate.spice import spice
from llm4brain.video.frames import film_frames

# clip ids, captions and references of each system -> value of each system and clip
Measure = Callable[
    [
        Sequence[str],
        Mapping[str, Sequence[str]],
        Mapping[str, Sequence[Sequence[str]]],
    ],
    dict[str, np.ndarray],
]
# clip ids -> frames of each, uint8 (height, width, 3)
FramesOf = Callable[[Sequence[str]], list[list[np.ndarray]]]
PICTURES = (".png", ".jpg", ".jpeg", ".webp", ".bmp")
BLIND = ("clip_score",)  # uses no references


def measures(
    *,
    corenlp: Path | None = None,
    bertscore_model: Path | None = None,
    layer: int | None = None,
    clip_model: Path | None = None,
    frames_of: FramesOf | None = None,
) -> dict[str, Measure]:
    """The metrics that can be computed from the arguments, in the order of `FURTHER`.

    Args:
        corenlp: folder with the jars of CoreNLP, for SPICE.
        bertscore_model: folder of an encoder, whose `layer` is used.
        layer: see `llm4brain.evaluate.bertscore.token_states`.
        clip_model: folder of a CLIP model; needs `frames_of`.
        frames_of: returns the frames for CLIP.
    """
    found: dict[str, Measure] = {}
    if corenlp is not None:

        def by_spice(ids, systems, references):
            flat = [c for captions in systems.values() for c in captions]
            truth = [own for name in systems for own in references[name]]
            parts = np.split(spice(flat, truth, corenlp), len(systems))
            return dict(zip(systems, parts, strict=True))

        found["spice"] = by_spice
    if bertscore_model is not None:
        found["bertscore"] = lambda ids, systems, references: bertscore(
            systems, references, token_states(bertscore_model, layer)
        )
    if clip_model is not None and frames_of is not None:

        def by_clip(ids, systems, references):
            clip = Clip(clip_model)
            return clip_score(systems, seen(clip, frames_of(ids)), clip)

        found["clip_score"] = by_clip
    assert list(found) == [name for name in FURTHER if name in found]
    return found


def of_films(clips: pd.DataFrame, stimuli: Path, frames: int) -> FramesOf:
    """Frames of clips in the clip table, sampled as for the video model.

    Args:
        clips: the clip table.
        stimuli: folder of the films.
        frames: number of frames per clip.
    """

    def read(ids: Sequence[str]) -> list[list[np.ndarray]]:
        known = clips.set_index("clip_id")
        missing = [clip for clip in ids if clip not in known.index]
        if missing:
            wrong = f"lacks {len(missing)} clips, such as {missing[0]}"
            raise UserError("clips", wrong, "make the clip table again")
        found: dict[str, list[np.ndarray]] = {}
        for film, own in known.loc[list(ids)].groupby("stim_file", sort=True):
            spans = list(zip(own["onset"], own["duration"], strict=True))
            read = film_frames(stimuli / str(film), spans, frames)
            found |= {clip: list(each) for clip, each in zip(own.index, read, strict=True)}
        return [found[clip] for clip in ids]

    return read


def of_pictures(folder: Path) -> FramesOf:
    """Frames from a folder: `<id>.png` (or jpg, webp, bmp), or `<id>/` with several in it.

    Raises (when read):
        UserError: an id has no picture, or a picture cannot be decoded.
    """

    def read(ids: Sequence[str]) -> list[list[np.ndarray]]:
        from PIL import Image, UnidentifiedImageError

        if not folder.is_dir():
            raise UserError(folder, "is not a folder", "correct --frames")
        there: dict[str, list[Path]] = {}
        for path in sorted(folder.iterdir()):
            inside = sorted(path.iterdir()) if path.is_dir() else [path]
            name = path.name if path.is_dir() else path.stem
            pictures = [file for file in inside if file.suffix.lower() in PICTURES]
            there.setdefault(name, []).extend(pictures)
        missing = [clip for clip in ids if not there.get(clip)]
        if missing:
            wrong = f"has no picture of {len(missing)} clips, such as {missing[0]}"
            raise UserError(folder, wrong, f"add {missing[0]}.png or a folder of that name")
        found = []
        for clip in ids:
            own = []
            for path in there[clip]:
                try:
                    with Image.open(path) as picture:
                        own.append(np.asarray(picture.convert("RGB")))
                except (OSError, UnidentifiedImageError) as error:
                    raise UserError(path, f"is not a picture ({error})", "write it again") from None
            found.append(own)
        return found

    return read
