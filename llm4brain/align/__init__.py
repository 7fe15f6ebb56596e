"""fMRI tokens to video tokens: closed-form readout, CLIP loss, domain adaptation."""
