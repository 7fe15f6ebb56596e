"""Several captions a clip by drawing, and captions of a table of the user's."""

import pandas as pd
import pytest
import torch
from conftest import ROOT, jobs
from pydantic import ValidationError
from tiny_films import grey_films, some_clips
from tiny_models import blip2

from llm4brain.clips import clip_table
from llm4brain.config import load
from llm4brain.errors import UserError
from llm4brain.ready import require_captions
from llm4brain.sections import CaptionSettings, Splits
from llm4brain.video.captions import generated_captions
from llm4brain.video.reference_captions import file_captions
from llm4brain.video.sampled import distinct, drawing, seed_of
from llm4brain.video.videollm import VideoLLM

HOT = CaptionSettings(samples=4, temperature=2.0, top_p=1.0)


@pytest.fixture(scope="module")
def films(tmp_path_factory):
    return grey_films(tmp_path_factory.mktemp("films"))


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return VideoLLM.load(blip2(tmp_path_factory.mktemp("model") / "blip2", "llama"))


def test_draws_follow_the_scores():
    scores = torch.log(torch.tensor([[0.5, 0.3, 0.2]])).expand(4000, -1)
    seeds = [seed_of(0, "film-01_0004.0", k) for k in range(4000)]
    rows = torch.zeros(4000, 1, dtype=torch.long)

    def shares(temperature, top_p):
        drawn = drawing(seeds, temperature, top_p)(rows, scores).argmax(-1)
        return torch.bincount(drawn, minlength=3) / 4000

    torch.testing.assert_close(shares(1.0, 1.0), torch.tensor([0.5, 0.3, 0.2]), atol=0.03, rtol=0)
    cut = shares(1.0, 0.7)
    torch.testing.assert_close(cut, torch.tensor([0.625, 0.375, 0.0]), atol=0.03, rtol=0)
    assert shares(0.01, 1.0)[0] == 1


def test_what_says_the_same_is_there_once():
    said = ["A dog runs.", "a dog, runs", "A dog  RUNS!", "a dog ran"]
    assert distinct(said) == ["A dog runs.", "a dog ran"]
    assert distinct(["", "."]) == [""]


def test_the_greedy_caption_comes_first_and_alone_by_default(films, model):
    clips = some_clips()
    one = generated_captions(model, clips, films, 2, 6, "hash")
    assert one["clip_id"].tolist() == clips["clip_id"].tolist()
    pd.testing.assert_frame_equal(
        generated_captions(model, clips, films, 2, 6, "hash", CaptionSettings(), 3), one
    )
    several = generated_captions(model, clips, films, 2, 6, "hash", HOT)
    assert several.drop_duplicates("clip_id")["caption"].tolist() == one["caption"].tolist()
    assert len(several) > len(one)
    assert several["clip_id"].drop_duplicates().tolist() == clips["clip_id"].tolist()


def test_what_is_drawn_of_a_clip_rests_on_that_clip_alone(films, model):
    clips = some_clips()
    every = generated_captions(model, clips, films, 2, 6, "hash", HOT)
    some = generated_captions(model, clips[2:], films, 2, 6, "hash", HOT)
    kept = every[every["clip_id"].isin(clips["clip_id"][2:])].reset_index(drop=True)
    pd.testing.assert_frame_equal(some, kept)
    fewer = generated_captions(
        model, clips, films, 2, 6, "hash", HOT.model_copy(update={"samples": 3})
    )
    assert set(zip(fewer["clip_id"], fewer["caption"], strict=True)) <= set(
        zip(every["clip_id"], every["caption"], strict=True)
    )
    other = generated_captions(model, clips, films, 2, 6, "hash", HOT, seed=1)
    assert not other.equals(every)


def table(path, **columns):
    pd.DataFrame(columns).to_csv(path, sep="\t", index=False)
    return path


def test_a_table_joins_by_clip_or_by_film_and_onset(tmp_path):
    clips = some_clips()
    names, films = clips["clip_id"].tolist(), clips["stim_file"].tolist()
    said = [f"caption {i}" for i in range(4)]
    by_name = table(tmp_path / "a.tsv", clip_id=[*names, names[0]], caption=[*said, "another"])
    found, others = file_captions(clips, by_name)
    assert found["caption"].tolist() == ["caption 0", "another", *said[1:]]
    assert others == []
    assert found["source"].nunique() == 1
    assert found["source"][0].startswith("a.tsv ")
    by_onset = table(
        tmp_path / "b.tsv",
        stim_file=[*films[::-1], "film-9.mp4"],
        onset=[*clips["onset"][::-1], 0.0],
        caption=[*said, "of a film of no split"],
    )
    found, others = file_captions(clips, by_onset)
    assert found["caption"].tolist() == said[::-1]
    assert found["clip_id"].tolist() == names
    assert others == ["film-9.mp4"]


@pytest.mark.bad_input(
    "captions of a file",
    "clips without a caption",
    "a caption of no clip, by `clip_id`",
    "a caption of no clip, by `stim_file` and `onset`",
    "an empty caption",
    "no column that names the clip",
    "not there",
)
def test_what_is_wrong_with_a_table_is_one_line(tmp_path):
    clips = some_clips()
    names = clips["clip_id"].tolist()

    def wrong(words, **columns):
        with pytest.raises(UserError, match=words):
            file_captions(clips, table(tmp_path / "my.tsv", **columns))

    wrong(
        r"has no caption of film-2_2\.0, film-0_6\.0, film-0_2\.0", clip_id=names[:1], caption=["a"]
    )
    more = [*names, "film-0_3.5"]
    wrong(r"captions for clips that do not exist: film-0_3\.5", clip_id=more, caption=["a"] * 5)
    rows = {"stim_file": clips["stim_file"], "onset": clips["onset"]}
    extra = {"stim_file": ["film-0.mp4"], "onset": [3.5]}
    both = {key: [*rows[key], *extra[key]] for key in rows}
    wrong(r"do not exist: film-0\.mp4 at 3\.5 s", **both, caption=["a"] * 5)
    wrong(r"row 3", clip_id=names, caption=["a", " ", "b", "c"])
    wrong(r"no column clip_id", caption=["a"])
    with pytest.raises(UserError, match="does not exist"):
        file_captions(clips, tmp_path / "none.tsv")


def test_a_file_that_is_chosen_has_to_be_named():
    with pytest.raises(ValidationError, match="file: is needed"):
        CaptionSettings(train="file")
    CaptionSettings.given('{"samples": 2, "temperature": 1.0, "top_p": 1.0}')  # a job's part


@pytest.fixture
def captioned(tmp_path):
    """The tiny cohort, scored and trained on a table of captions."""
    settings = load(ROOT / "config.yaml", ROOT / "configs" / "tiny.yaml")
    films = [f"film-{i:02d}.mp4" for i in range(1, 7)]
    splits = Splits(train=films[:4], validation=films[4:5], test=films[5:])
    clips, _ = clip_table(dict.fromkeys(films, 40.0), splits, 4.0)
    table(tmp_path / "my.tsv", clip_id=clips["clip_id"], caption=[f"no. {i}" for i in clips.index])
    own = f"captions: {{train: file, score: file, file: {tmp_path / 'my.tsv'}}}\n"
    (tmp_path / "own.yaml").write_text(own)
    return settings, tmp_path


def test_a_table_is_checked_before_the_first_job(captioned):
    settings, folder = captioned
    require_captions(settings)  # none is wanted
    chosen = load(ROOT / "config.yaml", ROOT / "configs" / "tiny.yaml", folder / "own.yaml")
    require_captions(chosen)
    lines = (folder / "my.tsv").read_text().splitlines()
    (folder / "my.tsv").write_text("\n".join(lines[:-2]))
    with pytest.raises(
        UserError, match=r"my\.tsv: has no caption of film-06_0032\.0, film-06_0036"
    ):
        require_captions(chosen)


def test_the_workflow_trains_and_scores_on_the_table(captioned):
    _, folder = captioned
    files = [ROOT / "configs" / "tiny.yaml", folder / "own.yaml"]
    planned = jobs(folder, "--configfile", *files)
    assert planned["captions_file"] == 1
    assert "captions_human" not in planned
