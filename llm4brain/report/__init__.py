"""The report page of a run: table 1, curves, and the decoded text of every test clip."""
