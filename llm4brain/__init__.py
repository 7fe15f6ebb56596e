"""LLM4Brain: from the fMRI of people watching videos to text, with an LLM.

What is imported from here is loaded when it is first used, so that `import llm4brain` is fast.
"""

from importlib import import_module

__version__ = "0.1.0"

_WHERE = {
    "BrainDecoder": "release.decoder",
    "SCMBM": "brain.sc_mbm",
    "MaskedBrainModel": "brain.estimator",
    "MaskedLinearModel": "brain.masked_linear",
    "AgreementGate": "align.gate",
    "SharedResponse": "align.functional",
    "Readout": "align.estimator",
    "score_captions": "evaluate.tool",
}
__all__ = ["__version__", *_WHERE]


def __getattr__(name: str):
    if name not in _WHERE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_WHERE[name]}"), name)


def __dir__() -> list[str]:
    return __all__
