"""The penalty of DPOC, as pure functions of log-ratios r = log π_θ(y|x) - log π_ref(y|x), summed over tokens."""

import torch
import torch.nn.functional as F
from torch import Tensor


def dpoc_penalty(chosen: Tensor, criterion: Tensor, rejected: Tensor, penalty: float = 2.0) -> Tensor:
    """Return what each row adds to L_DPO: λ max(0, r_crt - r_cho) + λ max(0, r_rej - r_crt) (paper Eq. 5 and 6).

    chosen, criterion, rejected: log-ratios of shape (B,). penalty: λ. Returns shape (B,), never negative.
    Eq. 11 prints the opposite sign, which would reward violations; Eq. 5, 6 and the text agree with this.
    Policy and reference are equal at step 0, exactly on the kink; relu has slope 0 there, so without a violation there
    is no push.
    """
    return penalty * (F.relu(criterion - chosen) + F.relu(rejected - criterion))


def released_penalty(
    chosen: Tensor, criterion: Tensor, rejected: Tensor, penalty: float = 0.5, beta: float = 0.1
) -> Tensor:
    """Return what the authors' code adds to L_DPO: -log σ(β(Δ + P)) + log σ(βΔ), shape (B,).

    Δ = r_cho - r_rej and P = λ min(0, r_cho - r_crt) + λ min(0, r_crt - r_rej). `clamp` as in that code has full slope
    on the kink.
    """
    difference = chosen - rejected
    violation = torch.clamp(chosen - criterion, max=0) + torch.clamp(criterion - rejected, max=0)
    return F.logsigmoid(beta * difference) - F.logsigmoid(beta * (difference + penalty * violation))
