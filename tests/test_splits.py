"""Splits by name, by pattern and by table: whole stimuli, each in one place."""

import pytest

from llm4brain.errors import UserError
from llm4brain.io import write_table
from llm4brain.sections import Splits
from llm4brain.splits import resolve

NAMES = ["train/b 1.mp4", "train/a.mp4", "val/[x].mp4", "test/deep/t.mp4", "test/t.mp4"]


@pytest.fixture
def stimuli(tmp_path):
    folder = tmp_path / "my data" / "stimuli"
    for name in (*NAMES, "train/a_captions.tsv", "test/t_captions.tsv"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    return folder


def test_names_stay_as_they_are_and_need_no_files(tmp_path):
    splits = Splits(train=["b.mp4", "a.mp4"], validation=["c.mp4"], test=["d.mp4"])
    assert resolve(splits, tmp_path / "nowhere") is not None
    assert resolve(splits, tmp_path) == splits
    # what reads the splits is not made again because a table could have been named
    assert '"table"' not in splits.model_dump_json()


def test_patterns_name_files_and_never_captions(stimuli):
    found = resolve(
        Splits(train=["train/*"], validation=["val/[x].mp4"], test=["test/**/*.mp4"]), stimuli
    )
    assert found.train == ["train/a.mp4", "train/b 1.mp4"]
    assert found.validation == ["val/[x].mp4"]
    assert found.test == ["test/deep/t.mp4", "test/t.mp4"]


def test_a_table_takes_the_place_of_lists(tmp_path, stimuli):
    import pandas as pd

    table = pd.DataFrame(
        {"stim_file": NAMES, "split": ["train", "train", "validation", None, "test"]}
    )
    write_table(tmp_path / "splits.tsv", table)
    splits = Splits(table=str(tmp_path / "splits.tsv"), train=["film-01.mp4"])  # config.yaml's
    found = resolve(splits, stimuli)
    assert found.train == NAMES[:2]  # in the table's order
    assert found.test == ["test/t.mp4"]  # n/a is in none
    # what was made of them serves where the stimuli are not here: a row a clip
    write_table(tmp_path / "clips.tsv", pd.concat([table] * 3))
    assert resolve(splits, tmp_path / "nowhere", tmp_path / "clips.tsv") == found


@pytest.mark.parametrize(
    ("splits", "said"),
    [
        ({"train": ["trian/*"]}, r"splits.train: no file of .* is like trian/\*"),
        ({"train": ["/etc/*"]}, r"splits.train: no file of .* is like /etc/\*"),
        ({"train": ["*/*.mp4"]}, r"splits: in more than one place: test/t.mp4, val/\[x\].mp4"),
        ({"train": ["train/a*"]}, "splits: train: is one stimulus; cross-fitting needs two"),
    ],
)
@pytest.mark.bad_input("splits", "`{splits}`")
def test_wrong_patterns_are_one_line(stimuli, splits, said):
    chosen = {"validation": ["val/[x].mp4"], "test": ["test/*.mp4"]} | splits
    with pytest.raises(UserError, match=said) as error:
        resolve(Splits(**chosen), stimuli)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ("a.mp4\ttrain\nb.mp4\ttrian\n", "splits.tsv: holds the split trian; write one of train"),
        (
            "a.mp4\ttrain\nb.mp4\ttrain\na.mp4\ttest\nc.mp4\tvalidation\n",
            "in more than one place: a.mp4",
        ),
        ("a.mp4\ttrain\nb.mp4\ttrain\nc.mp4\ttest\n", "splits.tsv: validation names no stimulus"),
        ("", "splits.tsv: train names no stimulus"),
    ],
)
@pytest.mark.bad_input("splits", "a table of the rows `{rows!r}`")
def test_wrong_tables_are_one_line(tmp_path, rows, said):
    (tmp_path / "splits.tsv").write_text("stim_file\tsplit\n" + rows)
    with pytest.raises(UserError, match=said) as error:
        resolve(Splits(table=str(tmp_path / "splits.tsv")), tmp_path)
    assert "\n" not in str(error.value)


@pytest.mark.bad_input("splits", "a table that is not there", "a column is missing")
def test_a_table_that_is_none_is_one_line(tmp_path):
    with pytest.raises(UserError, match=r"none.tsv: does not exist"):
        resolve(Splits(table=str(tmp_path / "none.tsv")), tmp_path)
    (tmp_path / "t.tsv").write_text("film\tsplit\n")
    with pytest.raises(UserError, match="has no column stim_file"):
        resolve(Splits(table=str(tmp_path / "t.tsv")), tmp_path)
