"""From fMRI tokens to video tokens: closed-form readout, CLIP loss and domain adaptation."""
