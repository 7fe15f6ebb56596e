"""Write a small simulated BIDS data set whose events are those of a public one."""

from pathlib import Path

from llm4brain import steps
from llm4brain.phantom.example import Like, write_example


def main(out_dir: Path, like: Like = "bold-moments", seed: int = 0) -> None:
    write_example(out_dir, like, seed)


if __name__ == "__main__":
    steps.run(main)
