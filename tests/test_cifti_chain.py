"""From dtseries to the map of what is read: the chain's own scripts on a small CIFTI study.

The data are simulated: the tokens of each clip stand in the BOLD of V1, `LAG` s after its onset.
"""

import json

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from cifti_data import area_of, axis, write_atlas, write_mesh, write_run
from leak_data import CLIPS, LAG, LEAD, SPLITS, TAIL, TR, WINDOW, step
from matplotlib.figure import Figure
from safetensors.torch import save_file
from test_mindvis import CELLS, SIZES, tensors, their_state

from llm4brain.evaluate.grayordinates import draw_areas, scalars, sums
from llm4brain.io import Arrays, read_json, write_arrays, write_table
from llm4brain.sections import AlignSettings, BoldSettings, EncoderSettings, FitSettings

K, D = 4, 32  # of the tiny video-LLM at two frames
FIT = {"epochs": 1, "batch_size": 16, "lr": 1e-3}
ENCODER = EncoderSettings(**SIZES, mask_ratio=0.5, fit=FIT)
ALIGN = AlignSettings(n_components=4, folds=3, adaptor_width=4, fit=FIT | {"epochs": 0})
BOLD = {"space": "fsLR", "confounds": "none", "rois": ["V1", "MT", "thalamus"]}
MACHINE = {"seed": 0, "threads": 1, "precision": "fp32", "code": ""}
HERE = np.flatnonzero((area_of(axis()) > 0) | ~axis().surface_mask)


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """A folder with features of one subject, made from dtseries files."""
    root = tmp_path_factory.mktemp("cifti")
    rng, films = np.random.default_rng(0), list(SPLITS)
    rows = [
        (f"film-{f}_{4 * i:06.1f}", f"film-{f}.mp4", 4.0 * i, 4.0, split)
        for f, split in SPLITS.items()
        for i in range(CLIPS)
    ]
    columns = ["clip_id", "stim_file", "onset", "duration", "split"]
    clips = pd.DataFrame(rows, columns=columns)
    write_table(root / "clips.tsv", clips)
    code = rng.normal(size=(len(clips), 4))
    tokens = (code @ rng.normal(size=(4, K * D))).astype(np.float32)
    vit = rng.normal(size=(len(clips), 2, 5, 16)).astype(np.float16)
    video = {"video_tokens": tokens.reshape(-1, K, D), "vit_tokens": vit}
    write_arrays(root / "video.safetensors", video, {"clip_id": list(clips["clip_id"])})
    v1 = np.flatnonzero(area_of(axis()) == 1)
    for film in films:
        bold = rng.normal(size=(LEAD + 2 * CLIPS + TAIL, len(axis())))
        first = LEAD + int(LAG / TR)
        for i, row in enumerate(np.flatnonzero(clips["stim_file"] == f"film-{film}.mp4")):
            planted = code[row] @ np.random.default_rng(1).normal(size=(4, len(v1)))
            bold[first + 2 * i : first + 2 * i + 2, v1] += 2 * planted
        event = f"onset\tduration\tstim_file\n{LEAD * TR}\t{4.0 * CLIPS}\tfilm-{film}.mp4\n"
        stem = f"sub-01_task-film_run-{int(film):02d}"
        write_run(root / "raw", root / "out", stem, 1000 + bold, event)
    atlas = write_atlas(root / "a.dlabel.nii")
    meshes = [write_mesh(root / f"{name}.surf.gii", k) for name, k in (("l", -1), ("r", 1))]
    settings = BoldSettings(**BOLD, atlas=atlas, surfaces=meshes)
    bold = root / "bold.safetensors"
    step("bold")(
        bids=root / "raw",
        derivatives=root / "out",
        subject="01",
        out=bold,
        settings=settings.model_dump_json(),
    )
    step("bold_features")(
        bold=bold,
        clips=root / "clips.tsv",
        out=root / "features.safetensors",
        trials=root / "trials.tsv",
        settings=json.dumps({"lag": LAG, "window": WINDOW}),
    )
    return root


def fitted(study, folder, encoder):
    """Masked pretraining and alignment; the file that reads."""
    cohort = {"subject": ["01"], "features": [study / "features.safetensors"]}
    cohort |= {"trials": [study / "trials.tsv"]}

    def files(name):
        ends = (("out", "safetensors"), ("log", "csv"), ("plot", "png"))
        return {key: folder / f"{name}.{end}" for key, end in ends}

    step("pretrain")(**cohort, **files("pretrain"), settings=encoder.model_dump_json(), **MACHINE)
    step("align")(
        **cohort,
        **files("align"),
        video=study / "video.safetensors",
        pretrained=folder / "pretrain.safetensors",
        settings=ALIGN.model_dump_json(),
        **MACHINE,
    )
    return folder / "align.safetensors"


def mapped(study, folder, aligned, **more):
    step("brain_map")(
        subject="01",
        features=study / "features.safetensors",
        trials=study / "trials.tsv",
        video=study / "video.safetensors",
        adapted=aligned,
        out=folder / "map.dscalar.nii",
        z_out=folder / "map_z.dscalar.nii",
        about=folder / "map.json",
        plot=folder / "map.png",
        title="sub-01: simulated",
        settings=json.dumps({"repeats": "average", "block_seconds": 8.0}),
        seed=0,
        simulated=True,
        **more,
    )
    return read_json(folder / "map.json")


def test_what_was_planted_in_v1_is_read_there(study, tmp_path):
    """Patches of neighbours; the map is a CIFTI file of the areas that were read."""
    aligned = fitted(study, tmp_path, ENCODER)
    meta = Arrays(aligned).meta
    assert meta["validation_agreement"] > 0.7  # the planted code is read
    meshes = [study / "l.surf.gii", study / "r.surf.gii"]
    about = mapped(study, tmp_path, aligned, surfaces=meshes)
    assert (about["n_voxels"], about["data"]) == (len(HERE), "simulated")
    areas = about["areas"]
    assert areas["V1"] > 3 * max(abs(areas["MT"]), abs(areas["thalamus"]))
    image = nib.load(tmp_path / "map.dscalar.nii")
    assert image.header.get_axis(1) == axis()[HERE]  # whatever the order of the areas
    values = image.get_fdata()[0]
    assert values[area_of(axis())[HERE] == 1].sum() == pytest.approx(areas["V1"], rel=1e-4)
    assert image.header.get_axis(0).name[0].startswith("simulated data")
    assert nib.load(tmp_path / "map_z.dscalar.nii").shape == image.shape
    assert (tmp_path / "map.png").stat().st_size > 5000
    first = (tmp_path / "map.dscalar.nii").read_bytes()
    mapped(study, tmp_path, aligned)  # without meshes: area by area
    assert (tmp_path / "map.dscalar.nii").read_bytes() == first


def test_a_whole_mind_vis_encoder_on_grayordinates(study, tmp_path):
    state = their_state(np.random.default_rng(0), patches=len(HERE) // CELLS + 1)
    save_file(tensors(state), tmp_path / "mind-vis.safetensors")
    theirs = {"tokenizer": "patch1d", "weights": f"path:{tmp_path / 'mind-vis.safetensors'}"}
    theirs["fit"] = FitSettings(**FIT | {"epochs": 0})
    aligned = fitted(study, tmp_path, ENCODER.model_copy(update=theirs))
    pretrained = Arrays(tmp_path / "pretrain.safetensors")
    assert pretrained.meta["weights"]["taken"] == "encoder and decoder"
    assert len(pretrained.meta["weights"]["sha256"]) == 64
    kept = Arrays(aligned)  # frozen, bit for bit, through alignment
    assert np.array_equal(kept["scmbm.blocks.2.attn.qkv.weight"], state["blocks.2.attn.qkv.weight"])
    assert np.array_equal(kept["scmbm.pos"], state["pos_embed"][0, 1:])
    assert kept.meta["validation_agreement"] > 0.7


def test_maps_of_areas():
    areas, values = [["V1", 2], ["MT", 3]], np.array([1.0, 2, -1, -1, 4])
    assert sums(values, areas) == {"V1": 3.0, "MT": 2.0}
    assert isinstance(draw_areas(values, values, areas, 1.5, "sub-01"), Figure)
    voxels = np.array([[1, 5, -1, -1], [0, 7, -1, -1], [0, 3, -1, -1]])
    structures = [["CIFTI_STRUCTURE_CORTEX_LEFT", 9], ["CIFTI_STRUCTURE_CORTEX_RIGHT", 9]]
    meta = {"cifti": {"structures": structures}, "affine": np.eye(4).tolist(), "shape": []}
    made = scalars(np.array([1.0, 2, 3]), voxels, meta, "simulated")
    assert made.get_fdata().tolist() == [[3.0, 2.0, 1.0]]
    assert made.header.get_axis(1).vertex.tolist() == [3, 7, 5]
