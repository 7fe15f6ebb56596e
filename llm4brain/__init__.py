"""LLM4Brain: from the fMRI of people watching videos to text, with an LLM."""

__version__ = "0.1.0"
