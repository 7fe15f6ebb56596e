"""A simulated cohort with known ground truth: films, captions and BOLD with planted tuning."""
