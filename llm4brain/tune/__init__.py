"""Instruction tuning of the LLM on fMRI tokens, and decoding with the tuned LLM."""
