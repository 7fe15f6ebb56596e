"""The training loop: the same bytes whether killed or not, the best epoch kept, no stale state."""

import json
import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from torch import nn

from llm4brain.checkpoint import Checkpoint, remove_checkpoint
from llm4brain.errors import UserError
from llm4brain.sections import FitSettings
from llm4brain.training import fit, make_accelerator, save_log, seed_everything, trainable

SETTINGS = FitSettings(epochs=5, batch_size=4, lr=0.05)


class Killed(BaseException):
    """What stands for a kill: nothing in the loop catches it."""


def train(folder, settings=SETTINGS, *, kill_at=None, losses=None, identity="a", seed=3):
    """Fit a small network with dropout and a frozen layer; `kill_at` counts loss calls."""
    seed_everything("data")
    x, y = torch.randn(18, 6), torch.randn(18, 2)
    seed_everything(seed, "init")
    model = nn.Sequential(nn.Linear(6, 6), nn.GELU(), nn.Dropout(0.3), nn.Linear(6, 2))
    model[0].requires_grad_(False)
    calls = {"loss": 0, "validate": 0}

    def loss(batch):
        calls["loss"] += 1
        if calls["loss"] == kill_at:
            raise Killed
        error = (model(x[batch]) - y[batch]).square().mean()
        return {"loss": error, "other_loss": error.detach() * 2}

    def validate():
        calls["validate"] += 1
        with torch.no_grad():
            value = float((model(x) - y).square().mean())
        return {"val_loss": value if losses is None else losses[calls["validate"] - 1]}

    log = fit(
        model,
        samples=18,
        loss=loss,
        validate=validate,
        settings=settings,
        seed=seed,
        name="toy",
        folder=folder,
        accelerator=Accelerator(cpu=True),
        identity=identity,
    )
    return model, log, calls


def weights(model):
    return {name: p.detach().numpy().tobytes() for name, p in model.named_parameters()}


@pytest.mark.parametrize("kill_at", [6, 7, 13, 24])
def test_a_killed_run_ends_in_the_same_bytes(tmp_path, kill_at):
    whole, log, calls = train(tmp_path / "whole")
    with pytest.raises(Killed):
        train(tmp_path / "killed", kill_at=kill_at)
    resumed, log_resumed, calls_resumed = train(tmp_path / "killed")
    assert weights(resumed) == weights(whole)
    assert log_resumed.to_csv() == log.to_csv()
    assert calls_resumed["loss"] < calls["loss"]


def test_a_run_killed_twice_ends_in_the_same_bytes(tmp_path):
    whole, log, _ = train(tmp_path / "whole")
    for _ in range(2):
        with pytest.raises(Killed):
            train(tmp_path / "killed", kill_at=8)
    resumed, log_resumed, _ = train(tmp_path / "killed")
    assert weights(resumed) == weights(whole)
    assert log_resumed.to_csv() == log.to_csv()


def test_a_real_kill_leaves_a_checkpoint_that_resumes(tmp_path):
    """SIGKILL in the middle of an epoch: no handler runs, and the bytes are the same."""
    script = textwrap.dedent(
        """
        import os, signal, sys
        from pathlib import Path
        sys.path.insert(0, sys.argv[1])
        import test_training as t
        from llm4brain import checkpoint
        if sys.argv[3] == "kill":
            save = checkpoint.Checkpoint.save
            def killing(self, epoch, state, log):
                save(self, epoch, state, log)
                if epoch == 2:
                    os.kill(os.getpid(), signal.SIGKILL)
            checkpoint.Checkpoint.save = killing
        model, log, _ = t.train(Path(sys.argv[2]))
        digest = __import__("hashlib").sha256(repr(sorted(t.weights(model).items())).encode())
        print(digest.hexdigest(), log.to_csv())
        """
    )

    def run(folder, how):
        command = [sys.executable, "-c", script, str(Path(__file__).parent), str(folder), how]
        return subprocess.run(command, capture_output=True, text=True)

    assert run(tmp_path / "killed", "kill").returncode == -signal.SIGKILL
    assert (tmp_path / "killed" / "index.json").exists()
    resumed, whole = run(tmp_path / "killed", "no"), run(tmp_path / "whole", "no")
    assert "resumed after epoch 2" in resumed.stderr
    assert resumed.stdout == whole.stdout != ""


def test_a_run_killed_after_its_last_epoch_trains_nothing_again(tmp_path):
    whole, log, _ = train(tmp_path / "killed")  # before its caller has written the model
    resumed, log_resumed, calls = train(tmp_path / "killed")
    assert calls["loss"] == 0
    assert weights(resumed) == weights(whole)
    assert log_resumed.to_csv() == log.to_csv()


def test_a_checkpoint_is_removed_and_only_it(tmp_path):
    folder = tmp_path / "here"
    folder.mkdir()
    (folder / "mine.txt").write_text("keep")
    train(folder)
    remove_checkpoint(folder)
    assert [p.name for p in folder.iterdir()] == ["mine.txt"]
    train(tmp_path / "fresh")
    remove_checkpoint(tmp_path / "fresh")
    assert not (tmp_path / "fresh").exists()


@pytest.mark.parametrize(
    "change",
    [
        {"settings": SETTINGS.model_copy(update={"lr": 0.01})},
        {"identity": "another data hash"},
        {"seed": 4},
    ],
)
def test_a_change_starts_afresh(tmp_path, change):
    with pytest.raises(Killed):
        train(tmp_path / "old", kill_at=13)
    changed, _, calls = train(tmp_path / "old", **change)
    fresh, _, calls_fresh = train(tmp_path / "new", **change)
    assert calls == calls_fresh
    assert weights(changed) == weights(fresh)


@pytest.mark.parametrize("damage", ["index.json", "epoch"])
def test_a_damaged_checkpoint_is_not_resumed(tmp_path, damage):
    with pytest.raises(Killed):
        train(tmp_path / "old", kill_at=13)
    for path in (tmp_path / "old").glob(f"{damage}*"):
        path.write_bytes(path.read_bytes()[:20])
    (tmp_path / "old" / ".partial-1-epoch-0009.safetensors").write_text("half")
    again, _, _ = train(tmp_path / "old")
    whole, _, _ = train(tmp_path / "whole")
    assert weights(again) == weights(whole)
    left = sorted(path.name for path in (tmp_path / "old").iterdir())
    assert left == sorted(path.name for path in (tmp_path / "whole").iterdir())


def test_a_kill_while_saving_leaves_the_epoch_before(tmp_path, monkeypatch):
    import llm4brain.checkpoint as checkpoint

    kept = checkpoint.write_json

    def dies(path, value):
        if value.get("epoch") == 3:
            raise Killed
        kept(path, value)

    monkeypatch.setattr(checkpoint, "write_json", dies)
    with pytest.raises(Killed):
        train(tmp_path / "killed")
    monkeypatch.undo()
    assert json.loads((tmp_path / "killed" / "index.json").read_text())["epoch"] == 2
    resumed, _, _ = train(tmp_path / "killed")
    whole, _, _ = train(tmp_path / "whole")
    assert weights(resumed) == weights(whole)


@pytest.mark.parametrize(
    ("losses", "best"),
    [
        ([5.0, 4, 3, 3.5, 3, 6], 2),  # the first of equals
        ([1.0, 2, 2, 2, 2, 2], 0),  # never below what it started from
        ([3.0, 2, float("nan"), 4, 5, 6], 1),
        ([1.0, 0.1234564, 0.1234562, 1, 1, 1], 2),  # equal when rounded for the log
    ],
)
def test_the_best_epoch_is_kept(tmp_path, losses, best):
    model, log, _ = train(tmp_path / "a", losses=losses)
    assert list(log.loc[log["best"], "epoch"]) == [best]
    # Resumed after epoch 3, the choice is the same (validation goes on where it stopped).
    with pytest.raises(Killed):
        train(tmp_path / "b", losses=losses, kill_at=17)
    resumed, log_resumed, _ = train(tmp_path / "b", losses=losses[4:])
    assert list(log_resumed.loc[log_resumed["best"], "epoch"]) == [best]
    assert weights(resumed) == weights(model)


def test_what_is_kept_are_the_weights_of_that_epoch(tmp_path):
    untrained, _, _ = train(tmp_path / "a", FitSettings(epochs=0, batch_size=4, lr=1.0))
    kept, _, _ = train(tmp_path / "b", losses=[0.0, 1, 1, 1, 1, 1])
    assert weights(kept) == weights(untrained)


def test_frozen_weights_stay_and_are_in_no_checkpoint(tmp_path):
    seed_everything(3, "init")
    before = nn.Linear(6, 6).weight.detach().numpy().tobytes()
    model, _, _ = train(tmp_path / "a")
    assert model[0].weight.detach().numpy().tobytes() == before
    assert set(trainable(model)) == {"3.weight", "3.bias"}
    with pytest.raises(Killed):
        train(tmp_path / "b", kill_at=13)
    state = Checkpoint(tmp_path / "b", None)
    names = json.loads((state.folder / "index.json").read_text())["file"]
    from safetensors import safe_open

    with safe_open(state.folder / names, "pt") as file:
        assert not [k for k in file.keys() if ".0." in k]  # noqa: SIM118


def test_no_finite_start_is_an_error(tmp_path):
    with pytest.raises(UserError, match="toy: has no finite validation loss"):
        train(tmp_path / "a", losses=[float("nan")])


def test_same_seed_same_bytes_other_seed_others(tmp_path):
    one, two, other = (train(tmp_path / n, seed=s)[0] for n, s in (("a", 3), ("b", 3), ("c", 5)))
    assert weights(one) == weights(two) != weights(other)


def test_seeding_covers_numpy_and_torch():
    draws = []
    for _ in range(2):
        seed_everything(1, "x", 2)
        draws.append((np.random.rand(), float(torch.rand(1))))
    assert draws[0] == draws[1]


def test_threads_are_clipped_to_the_machine():
    before = torch.get_num_threads()
    try:
        assert make_accelerator(4096, "fp32").mixed_precision == "no"
        assert torch.get_num_threads() <= (os.cpu_count() or 1)
    finally:
        torch.set_num_threads(before)
        torch.use_deterministic_algorithms(False)


def test_the_log_is_written_and_drawn(tmp_path):
    _, log, _ = train(tmp_path / "a")
    save_log(log, tmp_path / "log.csv", tmp_path / "log.png", "toy")
    assert (tmp_path / "log.csv").read_text().startswith("epoch,loss,other_loss,val_loss,best\n")
    first = (tmp_path / "log.png").read_bytes()
    save_log(log, tmp_path / "log.csv", tmp_path / "log.png", "toy")
    assert (tmp_path / "log.png").read_bytes() == first
