"""Seconds and peak memory of the steps that hold a cohort, at the size of Wen 2018 with BLIP-2.

    python benchmarks/wen_size.py --scale 0.1
    python benchmarks/wen_size.py --step align --step decode

Writes noise with a little signal in the workflow's files: 23 films of 240 clips (15 train, 3
validation, 5 test), three people, two showings of a train clip and ten of a test clip, windows of 3
volumes of 26,000 voxels, 64 video tokens of 2,560 numbers. The LLM has the width and the words of
OPT-2.7b and one layer, with random weights, so its own time and weights are not what is measured.
At a scale below 1 there are fewer clips, voxels and numbers in a token. The files take 15 GB.
"""

import json
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import typer
from peak import peak
from throughput import CAPTION, OPT, TINY, TINY_PART, tokenizer
from transformers import (
    BertConfig,
    BertModel,
    BertTokenizerFast,
    Blip2Config,
    Blip2ForConditionalGeneration,
    Blip2Processor,
    BlipImageProcessor,
)

from llm4brain.brain import cohort
from llm4brain.brain.encoder import new_encoder
from llm4brain.brain.pretrain import save_encoder
from llm4brain.io import stream_arrays, write_table
from llm4brain.sections import (
    AdaptSettings,
    AlignSettings,
    ClipSettings,
    EncoderSettings,
    EvaluateSettings,
    FitSettings,
    TuneSettings,
    VideoLLMSettings,
)

SPLITS = ["train"] * 15 + ["validation"] * 3 + ["test"] * 5
SHOWN = {"train": 2, "validation": 2, "test": 10}
PEOPLE, VOLUMES, FRAMES, QUERIES, TR = ("01", "02", "03"), 3, 2, 32, 2.0
STEPS = ("align", "adapt", "tune", "decode", "reference", "score", "lag_sweep")
SIGNALS = 12  # components that tokens and BOLD share
FIT = FitSettings(epochs=1, batch_size=16, lr=1e-3)
LAG = 4.0


class Study:
    """The files of a cohort in a folder, and the options with which the workflow calls a step."""

    def __init__(self, root: Path, scale: float) -> None:
        self.root, self.rng = root, np.random.default_rng(0)
        each, self.voxels = max(4, round(240 * scale)), max(64, round(26000 * scale))
        self.width = max(32, round(2560 * scale / 32) * 32)
        rows = [
            (f"film-{f:02d}_{TR * i:06.1f}", f"film-{f:02d}.mp4", TR * i, TR, split)
            for f, split in enumerate(SPLITS)
            for i in range(each)
        ]
        columns = ["clip_id", "stim_file", "onset", "duration", "split"]
        self.clips = pd.DataFrame(rows, columns=columns)
        self.code = self.rng.standard_normal((len(rows), SIGNALS), dtype=np.float32)
        side = int(np.ceil(self.voxels ** (1 / 3)))
        self.grid = np.argwhere(np.ones((side, side, side)))[: self.voxels].astype(np.int16)
        self.affine = np.diag([4.0, 4, 4, 1])

    def write(self) -> None:
        root, clips = self.root, self.clips
        write_table(root / "clips.tsv", clips)
        words = np.array(CAPTION.split())
        for source, number in (("human", 5), ("generated", 1)):
            said = [
                (clip, " ".join(self.rng.choice(words, 9)), source)
                for clip in clips["clip_id"]
                for _ in range(number)
            ]
            columns = ["clip_id", "caption", "source"]
            write_table(root / f"{source}.tsv", pd.DataFrame(said, columns=columns))
        shape = (len(clips), FRAMES * QUERIES, self.width)
        parts = (("video_tokens", rows) for rows in self._noisy(self.code, shape[1:], np.float32))
        meta = {"clip_id": clips["clip_id"].tolist()}
        kinds = {"video_tokens": ("float32", shape)}
        stream_arrays(root / "video.safetensors", kinds, parts, meta)
        for person in PEOPLE:
            self._write_person(person)
        self._write_bold()
        self._write_models()

    def _noisy(self, code: np.ndarray, shape: tuple[int, ...], dtype: type) -> Iterator[np.ndarray]:
        """Rows of shape `shape` that hold the code, under noise that repeats every 64 rows."""
        size = int(np.prod(shape))
        mix = self.rng.standard_normal((SIGNALS, size), dtype=np.float32) / 3
        noise = self.rng.standard_normal((64, size), dtype=np.float32)
        for i in range(0, len(code), 64):
            part = code[i : i + 64] @ mix
            part += np.roll(noise, i * 31, axis=1)[: len(part)]
            yield part.reshape(len(part), *shape).astype(dtype)

    def _write_person(self, person: str) -> None:
        shown = [
            self.clips[self.clips["split"] == split].assign(run=f"{split}-{r}", repeat=r + 1)
            for split, number in SHOWN.items()
            for r in range(number)
        ]
        trials = pd.concat(shown)
        code = self.code[trials.index]
        trials = trials.reset_index(drop=True).assign(valid=1.0, trial=range(len(trials)))
        write_table(self.root / f"{person}_trials.tsv", trials.drop(columns="duration"))
        shape = (VOLUMES, self.voxels)
        parts = (("windows", rows) for rows in self._noisy(code, shape, np.float16))
        self._stream(f"{person}.safetensors", {"windows": ("float16", (len(code), *shape))}, parts)

    def _stream(self, name: str, shapes: dict, parts: Iterator, **meta: object) -> None:
        """Write arrays with the positions of the grid."""
        shapes |= {"voxels": ("int16", self.grid.shape)}

        def every() -> Iterator[tuple[str, np.ndarray]]:
            yield "voxels", self.grid
            yield from parts

        about = {"affine": self.affine.tolist(), "shape": [len(self.grid)] * 3, "provenance": {}}
        stream_arrays(self.root / name, shapes, every(), about | meta)

    def _write_bold(self) -> None:
        """The test runs of the first person: each film ten times."""
        films = self.clips[self.clips["split"] == "test"].groupby("stim_file")
        shapes, runs, lead = {}, {}, 12
        for number, (film, own) in enumerate([f for f in films for _ in range(SHOWN["test"])]):
            name, volumes = f"{number:02d}", len(own) + 2 * lead
            event = {"onset": lead * TR, "duration": TR * len(own), "stim_file": film}
            runs[name] = {"tr": TR, "start_time": 0.0, "events": [event]}
            shapes |= {f"run-{name}": ("float32", (volumes, self.voxels))}
            shapes |= {f"valid-{name}": ("bool", (volumes,))}
        noise = self.rng.standard_normal((volumes, self.voxels), dtype=np.float32)
        parts = (
            (name, noise if kind == "float32" else np.ones(shape, bool))
            for name, (kind, shape) in list(shapes.items())
        )
        self._stream("bold.safetensors", shapes, parts, runs=runs)

    def _write_models(self) -> None:
        encoder = EncoderSettings(**TINY)
        model = new_encoder(encoder, self.grid, self.affine, None, VOLUMES)
        files = [self.root / f"{PEOPLE[0]}{end}" for end in (".safetensors", "_trials.tsv")]
        windows = cohort.stored(PEOPLE[:1], files[:1], files[1:], ("validation",))
        save_encoder(self.root / "pretrain.safetensors", model, windows, {"provenance": {}})
        words = tokenizer()
        text = OPT | {"num_hidden_layers": 1, "hidden_size": self.width, "model_type": "opt"}
        text |= {"word_embed_proj_dim": self.width, "ffn_dim": 4 * self.width}
        text |= {"eos_token_id": 1, "pad_token_id": 0, "bos_token_id": 1}
        vision, query = TINY_PART | {"image_size": 28}, TINY_PART
        config = Blip2Config(vision_config=vision, qformer_config=query, text_config=text)
        config.num_query_tokens = QUERIES
        folder = self.root / "video_llm"
        Blip2ForConditionalGeneration(config).save_pretrained(folder)
        size = {"height": 28, "width": 28}
        Blip2Processor(BlipImageProcessor(size=size), words, QUERIES).save_pretrained(folder)
        self._write_sentence_model()

    def _write_sentence_model(self) -> None:
        from sentence_transformers import SentenceTransformer
        from sentence_transformers.models import Pooling, Transformer

        folder = self.root / "sentence"
        names = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *dict.fromkeys(CAPTION.split())]
        BertTokenizerFast(vocab={n: i for i, n in enumerate(names)}).save_pretrained(folder)
        shape = TINY_PART | {"vocab_size": len(names), "max_position_embeddings": 64}
        BertModel(BertConfig(**shape)).save_pretrained(folder)
        words = Transformer(str(folder))
        mean = Pooling(words.get_word_embedding_dimension(), "mean")
        made = SentenceTransformer(modules=[words, mean], device="cpu")
        made.save(str(folder), create_model_card=False)

    def options(self, step: str) -> list[str]:
        """What the workflow passes to a step."""
        at = self.root.joinpath
        first = {"features": at("01.safetensors"), "trials": at("01_trials.tsv")}
        every = [
            {"subject": p, "features": at(f"{p}.safetensors"), "trials": at(f"{p}_trials.tsv")}
            for p in PEOPLE
        ]
        seen = {"video": at("video.safetensors"), "clips": at("clips.tsv")}
        drawn = {"log": at(f"{step}.csv"), "plot": at(f"{step}.png")}
        adapted, llm = {"adapted": at("adapt.safetensors")}, {"video_llm": at("video_llm")}
        evaluate = EvaluateSettings(meteor=False, samples=100, permutations=100)
        how = VideoLLMSettings(max_new_tokens=2).model_dump_json()
        window = ClipSettings(lag=LAG, window=TR * VOLUMES, duration=TR).model_dump_json()
        machine = {"threads": 2, "precision": "fp32", "seed": 0, "code": "benchmark"}
        fitted = {"video": seen["video"], "out": at(f"{step}.safetensors")} | drawn | machine
        read = {"out": at(f"{step}.tsv"), "readings": at(f"{step}.readings.safetensors")}
        read |= {"subject": "01", "video_settings": how} | first | seen | llm | adapted | machine
        given = {
            "align": (AlignSettings(fit=FIT), {"pretrained": at("pretrain.safetensors")} | fitted),
            "adapt": (AdaptSettings(fit=FIT), {"aligned": at("align.safetensors")} | fitted),
            "tune": (
                TuneSettings(fit=FIT),
                fitted | adapted | llm | {"captions": at("human.tsv"), "video_settings": how}
                | {"out": at("tune/adapter_model.safetensors")},
            ),
            "decode": (
                evaluate,
                read | {"bold": at("bold.safetensors"), "clip_settings": window}
                | {"tuned": at("tune/adapter_model.safetensors")}
                | {"other_features": every[1]["features"], "other_trials": every[1]["trials"]},
            ),
            "reference": (
                evaluate, read | {"captions": at("human.tsv"), "generated": at("generated.tsv")},
            ),
            "score": (
                evaluate,
                machine | {"subject": "01", "source": "human", "captions": at("human.tsv")}
                | {"decoded": at("reference.tsv"), "sentence_model": at("sentence")}
                | {"readings": at("reference.readings.safetensors"), "out": at("metrics.json")}
                | {"predictions": at("predictions")},
            ),
            "lag_sweep": (
                evaluate,
                seen | adapted | {"subject": "01", "bold": at("bold.safetensors"), "seed": 0}
                | {"clip_settings": window, "out": at("lag.csv"), "plot": at("lag.png")}
                | {"title": "lags"},
            ),
        }  # fmt: skip
        settings, named = given[step]
        named["settings"] = settings.model_dump_json()
        rows = [named] if step not in ("align", "adapt") else [*every, named]
        return [
            text
            for row in rows
            for key, value in row.items()
            for text in (f"--{key.replace('_', '-')}", str(value))
        ]


def main(
    scale: float = 1.0,
    step: list[str] = list(STEPS),  # noqa: B006
    folder: Path | None = None,
) -> None:
    """Measure steps; with `folder`, its files are used again and stay."""
    with tempfile.TemporaryDirectory() as temporary:
        study = Study(folder or Path(temporary), scale)
        if not (study.root / "sentence").is_dir():
            study.write()
        size = {"clips": len(study.clips), "voxels": study.voxels, "width": study.width}
        print(json.dumps(size))
        print("| step | s | resident at the peak, GB | of it its own, GB | readings, MB |")
        print("|---|---|---|---|---|")
        for name in step:
            begin = time.perf_counter()
            own, resident = peak(name, *study.options(name))
            seconds = time.perf_counter() - begin
            made = study.root / f"{name}.readings.safetensors"
            written = f"{made.stat().st_size / 1e6:.1f}" if made.exists() else ""
            numbers = f"{seconds:.0f} | {resident / 1e3:.2f} | {own / 1e3:.2f}"
            print(f"| {name} | {numbers} | {written} |", flush=True)


if __name__ == "__main__":
    typer.run(main)
