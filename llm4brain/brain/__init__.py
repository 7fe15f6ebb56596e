"""The fMRI side: 3D CNN tokenizer, SC-MBM, adaptors."""
