"""Flow matching in few dimensions: noise moves to data along the velocities that a small network has learned."""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Generator, Tensor, nn

HIDDEN = 256
STEPS = 2000  # of training
BATCH = 128
LEARNING_RATE = 1e-3  # at the start; it falls to 0 along a cosine
EULER_STEPS = 100


def flow_samples(data: Float[Tensor, "point dimension"], num: int, generator: Generator) -> Float[Tensor, "new dimension"]:
    """New points like these, by conditional flow matching (Lipman et al. 2023) along straight lines from normal noise.

    DeepWeightFlow (Gupta et al. 2026) in small: there the points are aligned networks in principal directions. With few
    points a long training ends at these points: what comes out is judged as every rival is.
    """
    num_dimensions = data.shape[1]
    if num_dimensions == 0:
        return data.new_zeros(num, 0)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(int(torch.randint(2**31, (1,), generator=generator)))
        velocity = nn.Sequential(
            nn.Linear(num_dimensions + 1, HIDDEN), nn.SiLU(),
            nn.Linear(HIDDEN, HIDDEN), nn.SiLU(),
            nn.Linear(HIDDEN, num_dimensions),
        ).to(data)  # fmt: skip
    optimizer = torch.optim.Adam(velocity.parameters(), LEARNING_RATE)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, STEPS)
    for _ in range(STEPS):
        ends = data[torch.randint(len(data), (BATCH,), generator=generator).to(data.device)]
        starts = torch.randn(ends.shape, generator=generator).to(data)
        times = torch.rand(BATCH, 1, generator=generator).to(data)
        loss = F.mse_loss(velocity(torch.cat([torch.lerp(starts, ends, times), times], dim=1)), ends - starts)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    return _carried(velocity, torch.randn(num, num_dimensions, generator=generator).to(data))


@torch.no_grad()
def _carried(velocity: nn.Module, points: Float[Tensor, "new dimension"]) -> Float[Tensor, "new dimension"]:
    """Points at the end of their ways, in Euler's steps."""
    for step in range(EULER_STEPS):
        times = points.new_full((len(points), 1), step / EULER_STEPS)
        points = points + velocity(torch.cat([points, times], dim=1)) / EULER_STEPS
    return points
