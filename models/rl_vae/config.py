"""Settings of RL-VAE; no torch here, so that a command line can read them for nothing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from wheeltapper.schemas.errors import InputError

Score = Literal["both", "vae", "q"]


@dataclass(frozen=True, slots=True)
class RlVaeConfig:
    """The detector's own settings; how the VAE is trained is `wheeltapper.training.fitting.trainer.TrainerOptions`.

    Attributes:
        window: W, rows.
        latent, hidden: of the VAE: latent width, and width of its three encoder layers and its decoder layer.
        q_hidden: width of the Q-network's LSTM.
        input_clip: z-scores are cut there, so that no finite reading overflows float32.
        network_clip: z-scores are cut there on their way into both networks, which know nothing of larger ones; the error is
            taken against the uncut values.
        score: 'both': log score = log(VAE error) + z(Q1 - Q0) / beta; 'vae' and 'q' are its ablations.
        beta: weight of the VAE's error against the Q-network; None chooses it by cross-checking the labels that were bought,
            and leaves the VAE alone where they do not help (see `wheeltapper.training.detectors.rl_vae.evidence`).
        trust: 'labels' takes a channel's error as far as labelled normal windows trust it (see
            `wheeltapper.training.detectors.rl_vae.channel_trust`); 'all' takes every channel as it is.
        advantage_clip: z(Q1 - Q0) is cut to +- that many deviations, so that no wild extrapolation of the Q-network can hide
            a window that the VAE finds gross: the factor is exp(+-advantage_clip / beta) at most.
        label_budget: labels that may be bought in all, from whatever oracle there is; None is 1 % of the pool.
        gamma: discount. Windows follow each other whatever the agent does, so little is gained by looking ahead.
        episodes: passes over the labelled windows; with each, labels are bought and `gradient_steps` steps are made.
        gradient_steps: per episode.
        walk: rows that each walker takes per episode.
        walkers: windows that an episode starts at, besides the labelled ones.
        q_batch, q_learning_rate: of Adam on the Q-network.
        target_every: gradient steps between copies to the target network.
        replay: transitions that are kept.
        epsilon_start, epsilon_end: share of random actions, linear over the first four fifths of the run.
        flag_dropout: share of training windows whose flag column is all 0, as it always is in the stream.
        reward_anomaly: of an anomaly found, and with a minus of one missed; a normal window is worth 1.
        lambda_start, lambda_least, lambda_most, lambda_rate: of the intrinsic reward's weight.
        reward_target: share of the largest mean reward at which the intrinsic reward starts to lose weight.
        spread: windows that LabelSpreading may label in a round; 0 leaves it out.
        spread_worth: reward of such a label, as share of that of a bought one.
        neighbours: k of its graph.
        pool_limit: windows that isolation forest and LabelSpreading look at.
        scale: 'train' standardises by the train part, 'given' takes values as they come (see `wheeltapper.training.fitting.prepared`).

    Raises:
        InputError: a setting out of its range.
    """

    window: int = 25
    latent: int = 10
    hidden: int = 64
    q_hidden: int = 32
    input_clip: float = 1000.0
    network_clip: float = 10.0
    score: Score = "both"
    beta: float | None = None
    trust: Literal["labels", "all"] = "labels"
    advantage_clip: float = 6.0
    label_budget: int | None = None
    gamma: float = 0.5
    episodes: int = 25
    gradient_steps: int = 20
    walk: int = 2
    walkers: int = 256
    q_batch: int = 64
    q_learning_rate: float = 1e-3
    target_every: int = 20
    replay: int = 50_000
    epsilon_start: float = 1.0
    epsilon_end: float = 0.1
    flag_dropout: float = 0.5
    reward_anomaly: float = 5.0
    lambda_start: float = 0.5
    lambda_least: float = 0.05
    lambda_most: float = 0.5
    lambda_rate: float = 0.05
    reward_target: float = 0.8
    spread: int = 100
    spread_worth: float = 0.25
    neighbours: int = 10
    pool_limit: int = 5000
    scale: Literal["train", "given"] = "train"

    def __post_init__(self) -> None:
        for name, least in (
            ("window", 2),
            ("latent", 1),
            ("hidden", 1),
            ("q_hidden", 1),
            ("episodes", 1),
            ("gradient_steps", 1),
            ("walk", 1),
            ("walkers", 1),
            ("q_batch", 2),
            ("target_every", 1),
            ("replay", 100),
            ("spread", 0),
            ("neighbours", 1),
            ("pool_limit", 20),
        ):
            if getattr(self, name) < least:
                raise InputError(f"RL-VAE's {name} is {getattr(self, name)}, expected at least {least}")
        for name in ("gamma", "flag_dropout", "epsilon_start", "epsilon_end", "reward_target", "spread_worth"):
            if not 0 <= getattr(self, name) <= 1:
                raise InputError(f"RL-VAE's {name} is {getattr(self, name)}, expected 0 to 1")
        if self.gamma == 1:
            raise InputError("RL-VAE's gamma is 1, expected below 1: a run of windows has no end to sum up to")
        for name in ("input_clip", "network_clip", "advantage_clip", "q_learning_rate", "reward_anomaly"):
            if not getattr(self, name) > 0:
                raise InputError(f"RL-VAE's {name} is {getattr(self, name)}, expected above 0")
        if self.beta is not None and not self.beta > 0:
            raise InputError(f"RL-VAE's beta is {self.beta}, expected above 0 or none")
        if self.label_budget is not None and self.label_budget < 2:
            raise InputError(f"RL-VAE's label_budget is {self.label_budget}, expected at least 2 or none")
        if self.epsilon_end > self.epsilon_start:
            raise InputError(
                f"RL-VAE's epsilon goes from {self.epsilon_start} to {self.epsilon_end}, expected that it falls"
            )
        if not 0 <= self.lambda_least <= self.lambda_start <= self.lambda_most or self.lambda_rate < 0:
            raise InputError(
                f"RL-VAE's lambda starts at {self.lambda_start} within {self.lambda_least} to {self.lambda_most} and moves "
                f"by {self.lambda_rate}, expected least <= start <= most and a rate of 0 or more"
            )
