"""A simulated cohort whose truth is known: films, captions and BOLD with planted tuning."""
