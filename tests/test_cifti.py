"""CIFTI runs: the same contract as volumes, areas by name, patches of neighbours."""

import struct

import nibabel as nib
import numpy as np
import pytest
from cifti_data import MEDIAL, VERTICES, area_of, axis, sphere, write_atlas, write_mesh, write_run
from nibabel.cifti2 import BrainModelAxis

from llm4brain.brain.positions import gather
from llm4brain.config import check
from llm4brain.errors import UserError
from llm4brain.io import Arrays, stream_arrays
from llm4brain.preprocess import cifti
from llm4brain.preprocess.bold import subject_bold
from llm4brain.sections import BoldSettings

STEM = "sub-01_task-film_run-01"
CORTEX = 2 * (VERTICES - MEDIAL)


class Study:
    def __init__(self, root):
        self.raw, self.out, self.root = root / "raw", root / "out", root
        rng = np.random.default_rng(0)
        self.bold = 1000 + rng.standard_normal((40, len(axis())))

    def add(self, stem=STEM, **more):
        return write_run(self.raw, self.out, stem, **({"bold": self.bold} | more))

    def read(self, **settings):
        chosen = BoldSettings(space="fsLR", confounds="none", **settings)
        return subject_bold(self.raw, self.out, "01", chosen)

    def grid(self, **settings):
        """What of the files is read, without a look at anything else."""
        path = next(self.out.rglob("*.dtseries.nii"))
        return cifti.grayordinates(path, BoldSettings(space="fsLR", **settings))


@pytest.fixture
def study(tmp_path):
    return Study(tmp_path)


def test_the_file_is_as_the_architecture_says(study, tmp_path):
    study.add()
    study.add("sub-01_task-film_run-02")
    made = study.read()
    stream_arrays(tmp_path / "sub-01.safetensors", made.shapes, made.arrays(), made.meta)
    stored = Arrays(tmp_path / "sub-01.safetensors")
    names = ["coordinates", "run-01", "run-02", "valid-01", "valid-02", "voxels"]
    assert stored.names == names
    assert stored["run-01"].shape == (40, CORTEX)
    assert stored["run-01"].dtype == np.float32
    np.testing.assert_allclose(stored["run-01"].mean(0), 0, atol=1e-5)
    np.testing.assert_allclose(stored["run-01"].std(0, ddof=1), 1, atol=1e-4)
    assert stored["voxels"].dtype == np.int32
    assert stored["voxels"][0].tolist() == [0, MEDIAL, -1, -1]
    assert stored["voxels"][-1].tolist() == [1, VERTICES - 1, -1, -1]
    assert np.isnan(stored["coordinates"]).all()  # no mesh was given
    assert stored.meta["cifti"]["structures"][2] == ["CIFTI_STRUCTURE_THALAMUS_LEFT", None]
    assert stored.meta["cifti"]["areas"] == [
        ["CORTEX_LEFT", CORTEX // 2],
        ["CORTEX_RIGHT", CORTEX // 2],
    ]
    run = stored.meta["runs"]["01"]
    assert (run["tr"], run["volumes"]) == (2.0, 40)
    assert run["source"] == f"{STEM}_space-fsLR_den-91k_bold.dtseries.nii"
    again = cifti.axis_of(stored["voxels"], stored.meta)
    assert again == axis()[:CORTEX]


def test_columns_are_read_area_after_area(study, tmp_path):
    study.add()
    made = study.read(rois=["MT", "V1"], atlas=write_atlas(tmp_path / "a.dlabel.nii"))
    kept = dict(made.arrays())["run-01"]
    every = (study.bold - study.bold.mean(0)) / study.bold.std(0)
    by_signal = (every.T @ kept).argmax(axis=0)  # which column each is, by its signal alone
    assert np.array_equal(by_signal, made.grid.columns)
    assert (area_of(axis())[by_signal] == np.repeat([2, 1], [n for _, n in made.grid.areas])).all()


@pytest.mark.parametrize("turned", [False, True])
@pytest.mark.parametrize(
    "spelt", ["{side}_{area}_ROI", "{area}_{side}", "{side}h.{area}", "{area}"]
)
def test_areas_are_found_by_name_however_spelt_and_numbered(study, tmp_path, spelt, turned):
    study.add()
    atlas = write_atlas(tmp_path / "a.dlabel.nii", spelt, turned)
    area, left = area_of(axis()), axis().name == "CIFTI_STRUCTURE_CORTEX_LEFT"
    mt, v1 = np.flatnonzero(area == 2), np.flatnonzero(area == 1)
    # in the order in which they are asked for
    assert np.array_equal(study.grid(rois=["MT", "v1"], atlas=atlas).columns, [*mt, *v1])
    for name in ("L_V1_ROI", "lh.V1", "V1-left"):
        found = study.grid(rois=[name], atlas=atlas).columns
        assert np.array_equal(found, np.flatnonzero((area == 1) & left))
    # one asked for twice is read once
    made = study.grid(rois=["L_V1", "V1"], atlas=atlas)
    assert dict(made.areas) == {"L_V1": len(found), "V1": len(v1) - len(found)}


def test_structures_of_the_file_have_names_too(study):
    study.add()
    made = study.grid(rois=["thalamus", "CORTEX_RIGHT"])
    assert dict(made.areas) == {"thalamus": 8, "CORTEX_RIGHT": CORTEX // 2}
    assert made.voxels[:8, 1:].tolist() == axis().voxel[-8:].tolist()
    np.testing.assert_allclose(made.coordinates[:8], 2.0 * axis().voxel[-8:])
    assert cifti.axis_of(made.voxels, made.meta) == axis()[made.columns]


@pytest.mark.bad_input(
    "grayordinates",
    "areas that the atlas lacks",
    "an area without `bold.atlas`",
    "an area that the data leave out",
)
def test_unknown_areas_are_one_error_with_near_matches(study, tmp_path):
    study.add()
    atlas = write_atlas(tmp_path / "a.dlabel.nii")
    with pytest.raises(UserError, match=r"no area V11 \(near: V1\), FFC; .*bold.rois") as told:
        study.grid(rois=["V11", "MT", "FFC"], atlas=atlas)
    assert "a.dlabel.nii" in str(told.value)
    with pytest.raises(UserError, match=r"no area V1; .*bold\.atlas"):
        study.grid(rois=["V1"])
    known = [cifti.Area("hippocampus_right", np.zeros(0, int))]
    with pytest.raises(UserError, match="names hippocampus_right, of which the data hold no"):
        cifti.choose(["hippocampus_right"], known, {}, "a.dlabel.nii")


@pytest.mark.bad_input("grayordinates", "an atlas of another density")
def test_an_atlas_of_another_density_is_told(study, tmp_path):
    fine = BrainModelAxis.from_surface(np.arange(300), 400, name="CortexLeft")
    study.add(bold=np.ones((9, 300)), brain=fine)
    with pytest.raises(UserError, match=r"200 vertices in .*LEFT, and the data have 400"):
        study.grid(rois=["V1"], atlas=write_atlas(tmp_path / "a.dlabel.nii"))


@pytest.fixture
def meshes(tmp_path):
    return [write_mesh(tmp_path / f"{name}.surf.gii", k) for name, k in (("l", -1), ("r", 1))]


def test_meshes_say_where_vertices_lie(study, meshes, tmp_path):
    study.add()
    found = study.grid(surfaces=meshes).coordinates
    expected = np.concatenate([sphere(side)[0][MEDIAL:] for side in (-1, 1)])
    np.testing.assert_allclose(found, expected, atol=1e-4)
    (tmp_path / "text.gii").write_text("no mesh")
    with pytest.raises(UserError, match=r"text\.gii: is no GIFTI surface"):
        study.grid(surfaces=[meshes[0], str(tmp_path / "text.gii")])


def test_patches_are_neighbours_of_one_hemisphere(study, meshes):
    study.add()
    grid = study.grid(surfaces=meshes)
    patches = gather(grid.voxels[:, 0], grid.coordinates, 16)
    held = np.sort(patches.index[patches.inside])
    assert np.array_equal(held, np.arange(CORTEX))
    assert len(patches.index) == 2 * -(-CORTEX // 2 // 16)  # as few as there can be
    for cells, centre in zip(patches.index, patches.centre, strict=True):
        own = cells[cells >= 0]
        assert len(set(grid.voxels[own, 0])) == 1
        mm = grid.coordinates[own]
        np.testing.assert_allclose(centre, mm.mean(0), atol=1e-4)
        assert np.linalg.norm(mm - centre, axis=1).max() < 35  # of spheres 70 mm across
    spread = [np.linalg.norm(np.ptp(grid.coordinates[c[c >= 0]], axis=0)) for c in patches.index]
    assert np.median(spread) < 60  # 120 of a whole sphere
    again = gather(grid.voxels[:, 0], grid.coordinates, 16)
    assert np.array_equal(again.index, patches.index)


def test_without_meshes_patches_are_runs_of_the_file(study):
    study.add()
    grid = study.grid()
    patches = gather(grid.voxels[:, 0], grid.coordinates, 16)
    assert patches.centre is None
    assert np.array_equal(patches.index[0], np.arange(16))
    assert np.array_equal(patches.index[patches.index >= 0], np.arange(CORTEX))
    codes = patches.codes(48)
    assert codes.shape == (len(patches.index), 48)
    assert len(np.unique(codes, axis=0)) == len(codes)


@pytest.mark.bad_input(
    "grayordinates",
    "no confounds",
    "runs of different grayordinates",
    "NaN in a volume",
    "a negative slope in the header",
    "a truncated file",
    "NIfTI-1 under the name of CIFTI-2",
    "no CIFTI file of a run",
)
def test_bad_files_are_told_in_a_line(study, tmp_path):
    path = study.add()
    confounds = next(study.out.rglob("*confounds_timeseries.tsv"))
    confounds.rename(tmp_path / "away")
    with pytest.raises(UserError, match=r"confounds_timeseries\.tsv: is missing"):
        study.read()
    (tmp_path / "away").rename(confounds)
    study.add("sub-01_task-film_run-02", bold=study.bold[:, :-8], brain=axis(below=False))
    with pytest.raises(UserError, match=r"run-02.*has other grayordinates \(360\)"):
        list(study.read().arrays())
    holes = np.where(np.arange(40)[:, None] == 3, np.nan, study.bold)
    study.add("sub-01_task-film_run-02", bold=holes)
    with pytest.raises(UserError, match=r"run-02.*holds NaN .* in 1 of 40 volumes"):
        list(study.read().arrays())
    turned = bytearray(path.read_bytes())
    turned[176:192] = struct.pack("<dd", -1, 0)  # scl_slope and scl_inter of NIfTI-2
    path.write_bytes(turned)
    with pytest.raises(UserError, match=r"run-01.*has a scl_slope of -1 in its header"):
        study.read()
    path.write_bytes(path.read_bytes()[:2000])
    with pytest.raises(UserError, match=r"run-01.*is not a whole CIFTI file"):
        study.read()
    nib.save(nib.Nifti1Image(np.zeros((2, 2, 2, 4)), np.eye(4)), path)
    with pytest.raises(UserError, match=r"run-01.*is no CIFTI-2 file"):
        study.read()
    for old in study.out.rglob("*.dtseries.nii"):
        old.unlink()
    with pytest.raises(UserError, match=r"holds no .*dtseries.nii; .*preprocess\.cifti: true"):
        study.read()


def test_settings_that_do_not_go_together():
    own = {"dataset": "bids", "bids_dir": "d", "subjects": ["01"], "derivatives": "e"}
    own["splits"] = {"train": ["a", "b"], "validation": ["c"], "test": ["d"]}
    check(own | {"bold": {"space": "fsLR", "rois": ["V1"]}})
    with pytest.raises(UserError, match=r"bold\.rois: is for bold\.space: fsLR"):
        check(own | {"bold": {"rois": ["V1"]}})
    with pytest.raises(UserError, match="the phantom has volumes alone"):
        check(own | {"dataset": "phantom", "bold": {"space": "fsLR"}})
    with pytest.raises(UserError, match=r"fsLR needs derivatives, or preprocess: backend"):
        check(own | {"derivatives": None, "bold": {"space": "fsLR"}})
    with pytest.raises(UserError, match=r"encoder\.temporal: is for encoder\.tokenizer: patch1d"):
        check(own | {"encoder": {"temporal": True}})
