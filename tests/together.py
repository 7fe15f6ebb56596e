"""What `torchrun` runs in tests: stages of the chain in several processes, one of them killed.

torchrun ... together.py STUDY MODELS OUT whole|killed|resumed
"""

import os
import signal
import sys
from pathlib import Path

import torch.distributed
from accelerate import Accelerator
from leak_data import run

from llm4brain.checkpoint import Checkpoint

study, models, out = map(Path, sys.argv[1:4])
how = sys.argv[4]
Accelerator.end_training = lambda self: None  # both stages in one go
save = Checkpoint.save


def killing(self, epoch, state, log):
    save(self, epoch, state, log)
    if self.writes and epoch == 1:
        os.kill(os.getpid(), signal.SIGKILL)


if how == "killed":
    Checkpoint.save = killing
for stage in ("pretrain",) if how != "whole" else ("pretrain", "tune"):
    run(stage, study, models, out)
torch.distributed.destroy_process_group()
