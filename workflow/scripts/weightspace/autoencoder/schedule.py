"""How fast an autoencoder learns at each step."""

from math import cos, pi

from weightspace.autoencoder.settings import AutoencoderSettings


def learning_rate(config: AutoencoderSettings, step: int, flat_at: int | None = None) -> float:
    """Rate at a step: constant, or one cycle (Smith and Topin 2019) equal to torch's OneCycleLR.

    Cosine from peak / 25 up over the first 30 % of the steps, then down to peak / 250,000. With `until_flat` it is constant
    until the step `flat_at`, and then falls to 0.
    """
    if config.until_flat:
        return config.until_flat.rate(config.learning_rate, step, flat_at)
    if config.schedule == "constant":
        return config.learning_rate
    peak = config.learning_rate
    return one_cycle(config.steps, step, peak / 25, peak, peak / 25e4)


def momentum(config: AutoencoderSettings, step: int) -> float:
    """AdamW's beta1 at a step: 0.9, or, as OneCycleLR does where nobody tells it not to, from 0.95 to 0.85 and back."""
    return one_cycle(config.steps, step, 0.95, 0.85, 0.95) if config.schedule == "one_cycle_momentum" else 0.9


def one_cycle(steps: int, step: int, start: float, peak: float, end: float) -> float:
    """Value at a step of one cycle: by a cosine to the peak over the first 30 % of the steps, by another to the end."""
    warm, last_step = 0.3 * steps - 1, steps - 1
    if step < warm:
        first, last, share = start, peak, step / warm
    else:
        first, last, share = peak, end, (step - warm) / (last_step - warm)
    return last + (first - last) * (1 + cos(pi * share)) / 2
