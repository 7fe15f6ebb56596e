"""Losses of LLM tuning: the caption loss and the understanding gap.

    L_ce  = next-token loss on the caption, answer tokens only               (equation 5)
    L_gap = KL(p_LLM(y_t | z_v, prompt, y_<t) || p_LLM(y_t | z_f, prompt, y_<t))  (equation 6)

The teacher is the same LLM with its LoRA switched off and the tokens of the true video as input.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def caption_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """logits: (answer tokens, vocabulary); labels: (answer tokens,)."""
    return F.cross_entropy(logits.float(), labels)


def understanding_gap(student: Tensor, teacher: Tensor) -> Tensor:
    """Mean over answer tokens of KL(teacher || student), in nats.

    student, teacher: (answer tokens, vocabulary) logits of the same answers.
    """
    log_student = F.log_softmax(student.float(), dim=-1)
    with torch.no_grad():
        log_teacher = F.log_softmax(teacher.float(), dim=-1)
    return F.kl_div(log_student, log_teacher, reduction="batchmean", log_target=True)
