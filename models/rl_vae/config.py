"""Settings of RL-VAE; no torch here, so that a command line can read them for nothing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from wheeltapper.models.settings import DetectorSettings

Score = Literal["both", "vae", "q"]


@dataclass(frozen=True)
class RlVaeConfig(DetectorSettings):
    """The detector's own settings; how the VAE is trained is `wheeltapper.training.fitting.trainer_options.TrainerOptions`."""

    DETECTOR: ClassVar[str] = "rl-vae"

    window: Annotated[int, Field(ge=2, description="rows")] = 25
    latent: Annotated[int, Field(ge=1, description="latent width of the VAE")] = 10
    hidden: Annotated[
        int, Field(ge=1, description="width of the VAE's three encoder layers and of its decoder layer")
    ] = 64
    q_hidden: Annotated[int, Field(ge=1, description="width of the Q-network's LSTM")] = 32
    input_clip: Annotated[
        float, Field(gt=0, description="standard deviations beyond which a value counts no further")
    ] = 1000.0
    network_clip: Annotated[
        float,
        Field(
            gt=0,
            description="standard deviations at which values are cut on their way into both networks; the error is taken against the uncut ones",
        ),
    ] = 10.0
    score: Annotated[
        Score,
        Field(description="`both`: log score = log(VAE error) + z(Q1 - Q0) / beta; `vae` and `q` are its ablations"),
    ] = "both"
    beta: Annotated[
        float | None,
        Field(
            gt=0,
            description="weight of the VAE's error against the Q-network; none chooses it by cross-checking the labels that were bought, and leaves the VAE alone where they do not help",
        ),
    ] = None
    trust: Annotated[
        Literal["labels", "all"],
        Field(
            description="`labels` takes a channel's error as far as labelled normal windows trust it; `all` takes every channel as it is"
        ),
    ] = "labels"
    advantage_clip: Annotated[
        float,
        Field(
            gt=0,
            description="deviations at which z(Q1 - Q0) is cut, so that the Q-network cannot hide a window that the VAE finds gross",
        ),
    ] = 6.0
    label_budget: Annotated[
        int | None,
        Field(
            ge=2,
            description="labels that may be bought in all; none is 1 % of what is for sale, a quarter of a pool made of disturbed windows",
        ),
    ] = None
    # A run of windows has no end to sum up to: the discount is below 1.
    gamma: Annotated[
        float,
        Field(
            ge=0,
            lt=1,
            description="discount; windows follow each other whatever the agent does, so little is gained by looking ahead",
        ),
    ] = 0.5
    episodes: Annotated[
        int,
        Field(
            ge=1,
            description="passes over the labelled windows; with each, labels are bought and `gradient_steps` steps are made",
        ),
    ] = 25
    gradient_steps: Annotated[int, Field(ge=1, description="per episode")] = 20
    walk: Annotated[int, Field(ge=1, description="rows that each walker takes per episode")] = 2
    walkers: Annotated[int, Field(ge=1, description="windows that an episode starts at, besides the labelled ones")] = (
        256
    )
    q_batch: Annotated[int, Field(ge=2, description="transitions a step of the Q-network")] = 64
    q_learning_rate: Annotated[float, Field(gt=0, description="of Adam on the Q-network")] = 1e-3
    target_every: Annotated[int, Field(ge=1, description="gradient steps between copies to the target network")] = 20
    replay: Annotated[int, Field(ge=100, description="transitions that are kept")] = 50_000
    epsilon_start: Annotated[
        float,
        Field(
            ge=0,
            le=1,
            description="share of random actions at the start; it falls linearly over the first four fifths of the run",
        ),
    ] = 1.0
    epsilon_end: Annotated[float, Field(ge=0, le=1, description="share of random actions at the end")] = 0.1
    flag_dropout: Annotated[
        float,
        Field(
            ge=0,
            le=1,
            description="share of training windows whose flag column is all 0, as it always is in the stream",
        ),
    ] = 0.5
    reward_anomaly: Annotated[
        float,
        Field(
            gt=0, description="reward of an anomaly found, and with a minus of one missed; a normal window is worth 1"
        ),
    ] = 5.0
    lambda_start: Annotated[float, Field(ge=0, description="weight of the intrinsic reward at the start")] = 0.5
    lambda_least: Annotated[float, Field(ge=0, description="least weight of the intrinsic reward")] = 0.05
    lambda_most: Annotated[float, Field(ge=0, description="largest weight of the intrinsic reward")] = 0.5
    lambda_rate: Annotated[float, Field(ge=0, description="by how much that weight moves in an episode")] = 0.05
    reward_target: Annotated[
        float,
        Field(
            ge=0,
            le=1,
            description="share of the largest mean reward at which the intrinsic reward starts to lose weight",
        ),
    ] = 0.8
    spread: Annotated[
        int, Field(ge=0, description="windows that LabelSpreading may label in a round; 0 leaves it out")
    ] = 100
    spread_worth: Annotated[
        float, Field(ge=0, le=1, description="reward of such a label, as share of that of a bought one")
    ] = 0.25
    neighbours: Annotated[int, Field(ge=1, description="neighbours in LabelSpreading's graph")] = 10
    pool_limit: Annotated[int, Field(ge=20, description="windows that isolation forest and LabelSpreading look at")] = (
        5000
    )
    scale: Annotated[
        Literal["train", "given"],
        Field(description="`train` standardises by the train part, `given` takes values as they come"),
    ] = "train"

    def check(self) -> None:
        if self.epsilon_end > self.epsilon_start:
            self.refuse("epsilon_end", f"at most epsilon_start, which is {self.epsilon_start}: it falls")
        if not self.lambda_least <= self.lambda_start <= self.lambda_most:
            self.refuse("lambda_start", f"from lambda_least={self.lambda_least} to lambda_most={self.lambda_most}")
