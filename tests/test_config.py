"""Settings: every wrong key is named on one line, and no job starts."""

from pathlib import Path

import pytest
import yaml
from pydantic import BaseModel

from llm4brain import config
from llm4brain.errors import UserError

ROOT = Path(__file__).parent.parent
SHIPPED = sorted((ROOT / "configs").glob("*.yaml"))


def default():
    return yaml.safe_load((ROOT / "config.yaml").read_text())


def wen2018(**bold):
    return {"dataset": "wen2018", "wen2018": {"roots": ["d"]}, "bold": bold}


def said(raw):
    with pytest.raises(UserError) as error:
        config.check(raw)
    message = str(error.value)
    assert "\n" not in message
    return message


def test_the_default_holds():
    settings = config.load(ROOT / "config.yaml")
    assert settings.subjects == ["01", "02", "03"]
    assert set(settings.arms) >= {"full"}


@pytest.mark.parametrize("path", SHIPPED, ids=lambda p: p.stem)
def test_every_shipped_file_holds_over_the_default(path):
    config.load(ROOT / "config.yaml", path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"sede": 3}, "sede: there is no such key"),
        ({"encoder": {"width": 48}}, "encoder.width: is now called embed_dim"),
        ({"tune": {"fit": {"clip": 1}}}, "tune.fit.clip: is now called max_grad_norm"),
        ({"arms": {"x": {"align": {"rank": 4}}}}, "x.align.rank: is now called n_components"),
        ({"encoder": {"widht": 3}}, "encoder.widht"),
        ({"encoder": None}, "encoder"),
        ({"seed": "banana"}, "seed"),
        ({"subjects": []}, "subjects"),
        ({"subjects": ["01", "01"]}, "subjects: one is named twice"),
        ({"subjects": [1]}, "subjects.0"),
        ({"subjects": ["sub-01"]}, "subjects.0"),
        (
            {"splits": {"train": ["a"], "validation": ["b"], "test": ["a"]}},
            "more than one place: a",
        ),
        ({"splits": {"train": ["a"], "validation": [], "test": ["c"]}}, "validation names no"),
        ({"video_llm": {"source": "somewhere"}}, "video_llm.source"),
        ({"arms": {"x": {"clips": {"lag": 3}}}}, "arms.x.clips"),
        ({"align": {"gain": 0.5}}, "align.gain: there is no such key"),
        ({"align": {"alpha": 1.2}}, "align.alpha"),
        ({"adapt": {"member": "coral"}}, "adapt.member: there is no such key"),
        ({"adapt": {"methods": ["dann"]}}, "adapt.methods"),
        ({"adapt": {"power": -1}}, "adapt.power"),
        ({"encoder": {"n_components": -1}}, "encoder.n_components"),
        ({"encoder": {"noise": 0}}, "encoder.noise"),
        ({"arms": {"x": {"encoder": {"widht": 3}}}}, "arms.x.encoder.widht: there is no such key"),
        ({"arms": {"x": None}}, "arms.x"),
        ({"arms": {"x": {"encoder": None}}}, "arms.x.encoder"),
        ({"arms": {"reference": {}}}, "arms.reference"),
        (
            {"arms": {"x": {"encoder": {"embed_dim": 50, "num_heads": 4}}}},
            "multiple of encoder.num_heads",
        ),
        ({"dataset": "bids"}, "bids_dir: is needed"),
        ({"dataset": "wen2018"}, "wen2018.roots: is needed"),
        (wen2018(), "bold.space: is MNI152NLin6Asym for wen2018.kind: mni"),
        (wen2018(space="MNI152NLin6Asym"), "bold.confounds: Wen 2018 is published without"),
        (wen2018() | {"subjects": ["04"]}, "subjects: 04: Wen 2018 has 01, 02 and 03"),
        (wen2018() | {"subjects": ["1", "01"]}, "subjects: one is named twice"),
        (wen2018() | {"derivatives": "d"}, "derivatives: are made of Wen 2018's own"),
        ({"wen2018": {"leave_out": ["seg3_2"]}}, "wen2018.leave_out.0"),
    ],
)
@pytest.mark.bad_input("settings", "`{change}`")
def test_what_is_wrong_is_named(change, message):
    assert message in said(default() | change)


def test_all_wrong_keys_are_named_at_once():
    message = said(default() | {"sede": 1, "tune": {"lr": 3}})
    assert "sede" in message
    assert "tune.lr" in message


@pytest.mark.parametrize("text", ["- a list", "a: [", "just words"])
@pytest.mark.bad_input("settings", "`{text}`")
def test_what_is_no_mapping_is_one_line(tmp_path, text):
    path = tmp_path / "wrong.yaml"
    path.write_text(text)
    with pytest.raises(UserError, match="wrong"):
        config.load(path)


@pytest.mark.bad_input("settings", "a file that is not there")
def test_a_missing_file_is_one_line(tmp_path):
    with pytest.raises(UserError, match="does not exist"):
        config.load(tmp_path / "none.yaml")


def test_an_arm_lays_its_own_settings_over_the_shared():
    raw = default() | {
        "arms": {"full": {}, "small": {"encoder": {"embed_dim": 48, "fit": {"lr": 0.5}}}}
    }
    settings = config.check(raw)
    small = settings.arm("small")
    assert (small.encoder.embed_dim, small.encoder.fit.lr) == (48, 0.5)
    assert small.encoder.depth == settings.encoder.depth
    assert small.encoder.fit.epochs == settings.encoder.fit.epochs
    assert small.tune == settings.tune
    assert settings.arm("full").encoder == settings.encoder


def test_later_files_lie_over_earlier_ones(tmp_path):
    path = tmp_path / "over.yaml"
    path.write_text("encoder: {embed_dim: 48}\n")
    settings = config.load(ROOT / "config.yaml", path)
    assert settings.encoder.embed_dim == 48
    assert settings.encoder.num_heads == config.load(ROOT / "config.yaml").encoder.num_heads


def test_every_section_is_frozen_and_knows_its_keys():
    def sections(model):
        yield model
        for field in model.model_fields.values():
            if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
                yield from sections(field.annotation)

    for section in sections(config.Config):
        assert section.model_config["frozen"], section
        assert section.model_config["extra"] == "forbid", section


@pytest.mark.bad_input("settings", "a section twice", "a key twice")
def test_a_key_that_is_written_twice_is_told_and_not_the_last_one_taken(tmp_path):
    path = tmp_path / "my.yaml"
    path.write_text("clips: {lag: 4}\nseed: 1\nclips: {frames: 2}\n")
    with pytest.raises(UserError, match=r"my.yaml: clips is written twice, in lines 1 and 3"):
        config.load(ROOT / "config.yaml", path)
    path.write_text("phantom:\n  snr: 1\n  snr: 2\n")
    with pytest.raises(UserError, match="snr is written twice"):
        config.load(ROOT / "config.yaml", path)


def test_a_source_without_its_kind_is_told_which_kinds_there_are():
    over = {"video_llm": {"source": "Salesforce/blip2-opt-2.7b"}}
    assert "'Salesforce/blip2-opt-2.7b' is no hub:org/name@commit" in said(default() | over)
