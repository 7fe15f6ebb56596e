"""A user's error is one line and status 1; ours keeps its traceback."""

import pytest

from llm4brain.errors import UserError, one_line_errors


def test_a_user_error_is_one_line_and_status_1(capsys):
    with pytest.raises(SystemExit) as stop, one_line_errors():
        raise UserError("a/file.tsv", "has no column\nclip_id", "add it")
    assert stop.value.code == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert err == "error: a/file.tsv: has no column clip_id; add it\n"


def test_other_errors_pass():
    with pytest.raises(ZeroDivisionError), one_line_errors():
        _ = 1 / 0


def test_it_says_file_fault_and_remedy():
    error = UserError("file", "is wrong", "mend it")
    assert (error.where, error.wrong, error.todo) == ("file", "is wrong", "mend it")
