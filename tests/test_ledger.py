"""A file that changed under an old date is found, and not touched."""

import base64
import json
import os
import time
from pathlib import Path

import pytest

from llm4brain import ledger
from llm4brain.provenance import sha256
from llm4brain.sections import EvaluateSettings


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A folder in which `out` was made from `in`, as Snakemake notes it."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "in").write_text("one")
    time.sleep(0.02)
    (tmp_path / "out").write_text("made")
    record = {
        "endtime": time.time(),
        "input_checksums": {"in": f"sha256:{sha256(tmp_path / 'in')}"},
        "params": ["'{\"block_seconds\":20.0}'"],
    }
    name = base64.urlsafe_b64encode(b"out").decode()
    path = tmp_path / ledger.LEDGER / f"@{name[:2]}" / name[2:]  # as a long name is cut
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps(record))
    (tmp_path / ledger.LEDGER / "half").write_text("{")
    time.sleep(0.02)
    return tmp_path


def test_what_is_as_it_was_is_not_named(place):
    assert ledger.changed_unnoticed() == []
    os.utime(place / "in", (0, 0))  # touched, with the same content
    assert ledger.changed_unnoticed() == []
    assert (place / "in").stat().st_mtime == 0


def test_other_content_under_an_old_date_is_named_and_keeps_its_date(place):
    (place / "in").write_text("two")
    os.utime(place / "in", (0, 0))
    assert ledger.changed_unnoticed() == [(Path("in"), Path("out"))]
    assert (place / "in").stat().st_mtime == 0
    (place / "out").unlink()  # to be made anew
    assert ledger.changed_unnoticed() == []


def test_an_output_that_is_a_link_to_its_input_has_a_date_of_its_own(place):
    (place / "out").unlink()
    (place / "out").symlink_to("in")
    time.sleep(0.02)
    (place / "in").write_text("two")  # later than the link: Snakemake notices
    assert ledger.changed_unnoticed() == []


def test_what_was_hashed_is_not_hashed_again(place, monkeypatch):
    os.utime(place / "in", (0, 0))
    ledger.changed_unnoticed()
    monkeypatch.setattr(ledger, "sha256", None)
    assert ledger.changed_unnoticed() == []


def test_params_of_a_record(place):
    assert ledger.made_with("out", '{"block_seconds":20.0}')
    assert not ledger.made_with("out", '{"block_seconds":21.0}')
    assert ledger.made_with("unknown", '{"block_seconds":21.0}')


def test_a_setting_that_was_not_given_cannot_be_read():
    part = EvaluateSettings.given('{"block_seconds": 8}', '{"n_bootstrap": 3}')
    assert (part.block_seconds, part.n_bootstrap) == (8.0, 3)
    assert part.model_dump() == {"block_seconds": 8.0, "n_bootstrap": 3}
    with pytest.raises(AttributeError, match="shift_seconds"):
        part.shift_seconds  # noqa: B018
    assert EvaluateSettings().shift_seconds == 20.0
