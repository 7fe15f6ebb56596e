"""What `align` and `adapt` share: the data of a stage, and the file it leaves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from llm4brain.align.aligner import Aligner, Stage, VideoSide
from llm4brain.align.reader import BrainReader
from llm4brain.align.readout import Basis
from llm4brain.brain import cohort
from llm4brain.brain.adaptor import freeze, insert
from llm4brain.brain.cohort import Cohort, rows_of
from llm4brain.brain.pretrain import load_encoder
from llm4brain.io import Arrays
from llm4brain.sections import DomainMember
from llm4brain.video.videollm import VideoLLM


@dataclass(frozen=True)
class StageData:
    """Train and validation samples and the video tokens of all clips; no test sample."""

    train: Cohort
    validation: Cohort
    video: Arrays

    @classmethod
    def load(
        cls,
        subjects: Sequence[str],
        features: Sequence[Path],
        trials: Sequence[Path],
        video: Path,
        labelled: Mapping[str, int] | None = None,
    ) -> StageData:
        """See `cohort.load`."""
        paths = (subjects, features, trials)
        train = cohort.load(*paths, ("train",), labelled=labelled)
        validation = cohort.load(*paths, ("validation",), labelled=labelled)
        return cls(train, validation, Arrays(video))

    def clips(self, samples: Cohort) -> np.ndarray:
        """(n,) row of each sample's clip in the video features."""
        return rows_of(self.video.meta["clip_id"], list(samples.column("clip_id")))

    def video_tokens(self, samples: Cohort) -> np.ndarray:
        """z_v of each sample's clip, (n, K, d)."""
        return self.video["video_tokens"][self.clips(samples)]

    def basis(self, rank: int) -> Basis:
        """Components of the video tokens of train clips, each clip once."""
        clips = np.unique(self.clips(self.train))
        tokens = self.video["video_tokens"][clips]
        return Basis.fit(tokens.reshape(len(tokens), -1), rank)

    @property
    def shape(self) -> tuple[int, int]:
        return self.video.shape("video_tokens")[1:]


def new_reader(data: StageData, pretrained: Path, adaptor_width: int, rank: int) -> BrainReader:
    """A reader on a pretrained SC-MBM, its adaptors still no change."""
    encoder = load_encoder(Arrays(pretrained))
    return BrainReader(encoder, adaptor_width, data.basis(rank), data.shape)


def build(
    data: StageData,
    reader: BrainReader,
    llm: VideoLLM,
    folds: int,
    domain: DomainMember,
    qformer_adaptors: dict[str, torch.Tensor] | None = None,
) -> Aligner:
    """Put both sides together; `qformer_adaptors` goes on from an earlier stage."""
    freeze(llm)
    layers = llm.model.qformer.encoder.layer
    width = llm.model.config.qformer_config.hidden_size
    bottleneck = reader.adaptor_width
    adaptors = insert(layers, width, bottleneck) if bottleneck else nn.ModuleList()
    if qformer_adaptors:
        adaptors.load_state_dict(qformer_adaptors)
    side = VideoSide(llm.video_tokens, adaptors, data.video.mapped("vit_tokens"))

    def components(samples: Cohort) -> np.ndarray:
        tokens = data.video_tokens(samples)
        return reader.basis.read(tokens.reshape(len(tokens), -1)).astype(np.float32)

    return Aligner(
        reader,
        side,
        data.train,
        data.validation,
        (components(data.train), components(data.validation)),
        data.clips(data.train),
        folds,
        domain,
    )


def save(
    path: Path, aligner: Aligner, stage: Stage, source: Path, data: StageData, meta: dict[str, Any]
) -> None:
    """Write the reader, the Q-Former's adaptors, and what later stages train on.

    `train.out_of_fold` and `validation.read` are components by sample, in the order of
    `train_clips`/`train_subjects` in meta.
    """
    reader = aligner.reader
    extra = {
        f"qformer.{k}": v.cpu().numpy() for k, v in aligner.video.adaptors.state_dict().items()
    }
    validation = reader.components(data.validation.windows, aligner.val_subjects)
    extra |= {
        "train.out_of_fold": stage.readout.out_of_fold.astype(np.float32),
        "validation.read": validation,
    }
    meta = meta | {
        "train_clips": data.train.column("clip_id").tolist(),
        "train_subjects": data.train.column("subject").tolist(),
        "validation_clips": data.validation.column("clip_id").tolist(),
        "validation_subjects": data.validation.column("subject").tolist(),
        "coupling": stage.readout.coupling,
        "penalty": stage.readout.penalty,
        "validation_agreement": stage.readout.validation,
    }
    reader.save(path, Arrays(source), extra, meta)


def qformer_state(arrays: Arrays) -> dict[str, torch.Tensor]:
    """The Q-Former's adaptors of a saved stage."""
    return {
        n.removeprefix("qformer."): torch.from_numpy(arrays[n])
        for n in arrays.names
        if n.startswith("qformer.")
    }
