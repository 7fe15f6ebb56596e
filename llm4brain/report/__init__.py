"""One page of a whole run: table 1, curves, and every test clip with what was decoded of it."""
