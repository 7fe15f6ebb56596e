"""The checks against the planted truth tell a map that found it from one that did not."""

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from conftest import jobs, snakemake
from sklearn.metrics import roc_auc_score

from llm4brain.errors import UserError
from llm4brain.evaluate.checks import (
    COLUMNS,
    auc,
    dice,
    gate_check,
    lag_checks,
    map_checks,
    moved,
    table,
)
from llm4brain.io import Arrays, read_json, read_table, write_arrays, write_table
from llm4brain.phantom.anatomy import template
from llm4brain.preprocess.grid import mni_grid
from llm4brain.sections import ClipSettings

GRID = mni_grid(8)
SPHERES = {"who": (40, -60, -10), "place": (-24, -48, -8)}  # mm
TR, PEAK = 2.0, 7.0


def sphere(mm, centre, radius):
    return np.linalg.norm(mm - np.array(centre), axis=-1) < radius


@pytest.fixture(scope="module")
def truth(tmp_path_factory):
    """As the phantom writes it, of two regions."""
    mm = template().coordinates()
    tuning = np.stack([sphere(mm, centre, 14) for centre in SPHERES.values()]).astype(np.float32)
    voxels = np.argwhere(tuning.any(axis=0))
    path = tmp_path_factory.mktemp("truth") / "sub-01.safetensors"
    arrays = {
        "regions": tuning.any(axis=0).astype(np.uint8),
        "tuning": tuning[:, *voxels.T].T,
        "tuning_voxels": voxels.astype(np.int16),
    }
    features = [[name, "one"] for name in SPHERES]
    meta = {"features": features, "best_lag": PEAK, "settings": {"tr": TR}}
    write_arrays(path, arrays, meta)
    return Arrays(path)


def checked(truth, centres):
    """The rows of a noisy map that is high at some centres."""
    mm = np.stack(np.indices(GRID.shape), -1) @ GRID.affine[:3, :3].T + GRID.affine[:3, 3]
    values = np.random.default_rng(0).normal(size=GRID.shape) * GRID.brain
    for centre in centres:
        values[sphere(mm, centre, 14) & GRID.brain] += 8
    made = nib.Nifti1Image(values.astype(np.float32), GRID.affine)
    rows = map_checks(made, made, {"threshold": 5.0}, truth)
    return {row["check"]: row for row in rows}


def test_a_map_of_the_planted_regions_holds(truth):
    rows = checked(truth, SPHERES.values())
    assert set(rows) == {"map_auc", "map_dice", "map_auc_who", "map_auc_place", "map_certain"}
    assert all(row["holds"] for row in rows.values())
    assert rows["map_auc"]["value"] > 0.95
    assert rows["map_dice"]["value"] > 0.8
    assert rows["map_certain"]["value"] == 1


def test_a_map_of_other_regions_does_not_hold(truth):
    rows = checked(truth, [(30, 30, 20), (-30, 40, 10)])
    assert not any(row["holds"] for row in rows.values())
    assert rows["map_certain"]["value"] == 0


def test_a_map_of_one_region_holds_for_that_one(truth):
    rows = checked(truth, [SPHERES["who"]])
    assert rows["map_auc_who"]["holds"]
    assert not rows["map_auc_place"]["holds"]


def test_a_map_of_noise_has_no_certain_voxel_and_does_not_hold(truth):
    rows = checked(truth, [])
    assert not any(row["holds"] for row in rows.values())
    assert np.isnan(rows["map_certain"]["value"])
    assert 0.3 < rows["map_auc"]["null_low"] < 0.5 < rows["map_auc"]["null_high"] < 0.7


def test_a_gate_is_checked_by_where_it_is_high(truth):
    mm = np.stack(np.indices(GRID.shape), -1) @ GRID.affine[:3, :3].T + GRID.affine[:3, 3]
    for centres, holds in ((SPHERES.values(), True), ([(30, 30, 20), (-30, 40, 10)], False)):
        values = np.random.default_rng(0).uniform(0, 0.1, GRID.shape) * GRID.brain
        for centre in centres:
            values[sphere(mm, centre, 14) & GRID.brain] += 0.4
        row = gate_check(nib.Nifti1Image(values.astype(np.float32), GRID.affine), truth)
        assert (row["check"], bool(row["holds"])) == ("gate_auc", holds)
    assert row["null_low"] < 0.5 < row["null_high"]


def test_a_map_off_the_grid_is_one_line(truth):
    made = nib.Nifti1Image(np.zeros(GRID.shape, np.float32), GRID.affine + np.eye(4))
    with pytest.raises(UserError, match="does not lie on the shared grid"):
        map_checks(made, made, {"threshold": 5.0}, truth)


def test_the_transform_sums_what_moving_by_hand_sums():
    rng = np.random.default_rng(0)
    shape = (7, 6, 5)
    brain = np.zeros(shape, bool)
    brain[1:-1, 1:-1, 1:-1] = True
    region = np.zeros(shape, bool)
    region[1:3, 2:4, 1:3] = True
    values = np.where(brain, rng.integers(1, 9, size=shape), 0)
    total, totals, sizes = moved(region, values, brain, 2)
    assert total == values[region].sum()
    expected = []
    steps = [range(1 - n, n) for n in shape]
    for shift in [(x, y, z) for x in steps[0] for y in steps[1] for z in steps[2]]:
        place = np.argwhere(region) + shift
        place = place[((place >= 0) & (place < shape)).all(axis=1)]
        inside = place[brain[tuple(place.T)]]
        if np.abs(shift).max() >= 2 and len(inside) >= region.sum() / 2:
            expected.append((values[tuple(inside.T)].sum(), len(inside)))
    assert expected == list(zip(totals, sizes, strict=True))


def test_the_area_is_that_of_the_roc_curve():
    rng = np.random.default_rng(0)
    brain, region = np.ones((6, 6, 6), bool), np.zeros((6, 6, 6), bool)
    region[:2, :3] = True
    values = rng.normal(size=brain.shape).round(1) + region  # ties among them
    area, others = auc(values, region, brain, 2)
    assert area == pytest.approx(roc_auc_score(region.ravel(), values.ravel()))
    assert ((others >= 0) & (others <= 1)).all()
    assert dice(region * 1.0, region, brain, 2)[0] == 1


def swept(best):
    """A sweep with its peak at a lag, and another one before the clip if that is negative."""
    lags = np.arange(-20, 21, 2)
    match = np.exp(-(((lags - best) / 3.0) ** 2))
    low = np.where(match > 0.3, 20.0, 0.0)
    return pd.DataFrame({"lag": lags, "match": match, "top1_low": low, "chance": 1.0})


def test_the_lag_is_compared_with_the_middle_of_the_window(truth):
    """Two volumes, the second 2 s behind the first: 6 s is best where the response peaks at 7."""
    for best, holds in ((6, True), (8, True), (4, True), (10, False), (2, False)):
        peak, before = lag_checks(swept(best), truth, ClipSettings(window=4.0))
        assert peak["value"] == best
        assert peak["expected"] == "6.0 +- 2"
        assert peak["holds"] is holds
        assert before["holds"]
    peak, before = lag_checks(swept(-10), truth, ClipSettings(window=4.0))
    assert not peak["holds"]
    assert not before["holds"]


def test_the_table_is_by_check_then_subject(truth):
    rows = [*checked(truth, []).values(), *lag_checks(swept(6), truth, ClipSettings(window=4.0))]
    found = table({"02": rows, "01": rows})
    assert tuple(found) == COLUMNS
    assert list(found["subject"][:4]) == ["02", "01", "02", "01"]
    assert list(found["check"][:2]) == ["map_auc"] * 2
    assert set(found["holds"]) == {"yes", "no"}
    assert set(found["data"]) == {"simulated"}


def test_the_tiny_cohort_is_mapped_and_checked(tiny_run, tiny_settings):
    """All rules of rules/maps.smk; what is found in so small a cohort means nothing."""
    own = [f"results/full/all/sub-{s}" for s in ("01", "02")]
    made = ("checks.csv", "full/all/gate*")
    made += tuple(f"full/all/sub-0[12]/{name}*" for name in ("map", "lag"))

    def make(*targets):
        done = snakemake(tiny_run, *targets, "--configfile", tiny_settings)
        assert done.returncode == 0, done.stdout + done.stderr

    try:
        make(*(f"{folder}/map.nii.gz" for folder in own))
        for folder in own:  # its film of 40 s is too short for a sweep
            write_table(tiny_run / folder / "lag.csv", swept(6))
            (tiny_run / folder / "lag.png").touch()
        make("results/checks.csv", "--rerun-triggers", "mtime")
        found = read_table(tiny_run / "results" / "checks.csv")
        assert tuple(found) == COLUMNS
        assert set(found["data"]) == {"simulated"}
        assert found.groupby("check")["subject"].agg(list).map(lambda s: s == ["01", "02"]).all()
        checks = {"map_auc", "map_dice", "map_auc_who", "map_certain", "lag_peak", "lag_before"}
        checks |= {"gate_auc"}
        gate = nib.load(tiny_run / "results/full/all/gate.nii.gz").get_fdata()
        assert gate.min() >= 0
        assert gate.any()
        assert (tiny_run / "results/full/all/gate.png").stat().st_size > 10_000
        assert checks <= set(found["check"])
        folder = tiny_run / "results" / "full" / "all" / "sub-01"
        about = read_json(folder / "map.json")
        assert about["data"] == "simulated"
        assert about["total"] == pytest.approx(about["match"], abs=0.02)
        contribution, z = (nib.load(folder / f"map{end}.nii.gz") for end in ("", "_z"))
        assert contribution.get_sform(coded=True)[1] == 4
        assert b"simulated" in bytes(contribution.header["descrip"])
        assert contribution.get_fdata().sum() == pytest.approx(about["total"], abs=1e-4)
        assert np.count_nonzero(z.get_fdata()) <= about["n_voxels"] == GRID.brain.sum()
        assert (folder / "map.png").stat().st_size > 50_000
        # what `dvc repro` asks for then holds them as well
        again = ("refresh", "--configfile", tiny_settings, "-R", "brain_map")
        assert {"brain_map": 2, "checks": 1}.items() <= jobs(tiny_run, *again).items()
    finally:
        # no more than this: other tests make results here at the same time
        for path in [p for name in made for p in (tiny_run / "results").glob(name)]:
            path.unlink()
