"""benchmarks/throughput.py counts and measures; at a tiny size here, at full size on a GPU."""

import pytest
from conftest import ROOT


@pytest.fixture
def throughput(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    import throughput

    return throughput


def test_parameters_and_flops_are_counted_on_no_device(throughput, capsys):
    throughput.counted(tiny=True)
    said = capsys.readouterr().out
    assert said.count("GFLOP a sample's step") == 2
    assert "BLIP-2: vision_model" in said


@pytest.mark.parametrize("step", ["pretrain", "tune"])
def test_steps_of_fit_are_timed(throughput, step):
    found = throughput.measured(
        step, tiny=True, batch=2, steps=4, precision="fp32", again=step == "tune"
    )
    assert found["samples_a_second"] > 0
    assert found["samples_a_second"] == pytest.approx(2 / found["seconds_a_step"], rel=0.05)
