"""Settings of ASTRA; no torch here, so that a command line can read them for nothing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field

from wheeltapper.models.settings import DetectorSettings

# Pixels of a patch where the trunk sees each by itself; patches lie half of that apart.
PATCH = 32


@dataclass(frozen=True)
class AstraConfig(DetectorSettings):
    """The detector's own settings; how it is trained is `wheeltapper.training.fitting.trainer_options.TrainerOptions`."""

    DETECTOR: ClassVar[str] = "astra"

    # The picture
    mels: Annotated[int, Field(ge=8, le=512, description="bands of the mel spectrogram")] = 128
    low_hz: Annotated[float, Field(ge=0, description="lower edge of the lowest band, Hz")] = 20.0
    level: Annotated[
        Literal["fixed", "published"],
        Field(
            description="what the picture's black and white are: `fixed` the train part's level and `range_db` below it, so that loudness counts; `published` each clip's own least and largest level"
        ),
    ] = "fixed"
    range_db: Annotated[float, Field(gt=0, description="decibels from black to white with level=fixed")] = 80.0
    colour: Annotated[
        Literal["none", "plasma"],
        Field(description="`none` shows the trunk the level itself, `plasma` three colours of it, as published"),
    ] = "none"
    image_rows: Annotated[int, Field(ge=32, multiple_of=16, description="pixels over frequency")] = 96
    image_columns: Annotated[int, Field(ge=32, multiple_of=16, description="pixels over time")] = 160

    # The network
    trunk: Annotated[
        Literal["small", "resnet34"],
        Field(description="`small` has `layers` layers of one block (W, 2 W, .. filters), `resnet34` is torchvision's"),
    ] = "small"
    width: Annotated[int, Field(ge=4, description="W: filters of the small trunk's first layer")] = 32
    layers: Annotated[
        int,
        Field(
            ge=1,
            le=4,
            description="of the small trunk; each but the first halves the map, and sees twice as far around a place",
        ),
    ] = 2
    weights: Annotated[
        str,
        Field(
            description="file of torchvision's resnet34 weights to start from, e.g. resnet34-b627a593.pth; empty starts at random; nothing is downloaded"
        ),
    ] = ""
    dense: Annotated[
        bool,
        Field(
            description="true runs the trunk once over the picture and takes its map as patches; false runs it over each 32 x 32 patch by itself, as published, at several times the cost"
        ),
    ] = True
    patches: Annotated[
        int | None, Field(ge=1, description="patches that training looks at, chosen anew each time; none takes all")
    ] = None
    embedding: Annotated[int, Field(ge=4, description="D: width of a projected patch and of the embedding")] = 64
    coordinates: Annotated[
        bool,
        Field(description="true shows the trunk each pixel's frequency, so that the same pattern higher up is another"),
    ] = True

    # The operating point
    attention: Annotated[
        Literal["additive", "film", "published"],
        Field(
            description="how attributes act on the attention: `additive` inside its tanh, `film` as scale and shift, `published` as a number that the softmax takes out again, so that they change nothing"
        ),
    ] = "additive"
    attributes: Annotated[
        Literal["attention", "concatenated", "none"],
        Field(
            description="`attention` lets them choose patches only; `concatenated` also puts them into the contrastive embedding, as published, which can then be solved without listening; `none` leaves them out"
        ),
    ] = "attention"
    attribute_dropout: Annotated[
        float, Field(ge=0, lt=1, description="share of training clips whose attributes are made unknown")
    ] = 0.2

    # The loss
    loss: Annotated[
        Literal["auto", "nt-xent", "supcon"],
        Field(
            description="`nt-xent` needs no labels, `supcon` brings clips of one machine and operating point together; `auto` is supcon where there are two of them or more"
        ),
    ] = "auto"
    temperature: Annotated[float, Field(gt=0, description="of the contrastive loss")] = 0.1
    auxiliary_weight: Annotated[
        float, Field(ge=0, description="weight of telling machine and operating point from the embedding; 0 does not")
    ] = 0.0
    others: Annotated[
        str,
        Field(
            description="other entities of the data set, separated by spaces, whose normal clips training tells this one's from; empty: none"
        ),
    ] = ""

    # The views
    views: Annotated[
        Literal["sound", "published"],
        Field(
            description="`sound` shifts time, masks bands and stretches of time, mixes clips, adds noise and changes the gain; `published` crops, flips and recolours the picture, which changes pitch, direction of time and level"
        ),
    ] = "sound"
    gain_db: Annotated[float, Field(ge=0, description="largest change of gain of a view")] = 3.0
    mask_share: Annotated[
        float, Field(ge=0, lt=1, description="largest share of bands, and of time, that is masked")
    ] = 0.2
    mix_share: Annotated[
        float, Field(ge=0, lt=1, description="largest share of another clip's power in a view; 0 does not mix")
    ] = 0.2
    noise_db: Annotated[
        float, Field(description="loudest noise that a view is given, decibels above the clip's mean power")
    ] = -10.0

    # The back end
    pca_variance: Annotated[
        float | None,
        Field(
            gt=0, lt=1, description="variance that the PCA keeps, .98 as published; none takes the embedding as it is"
        ),
    ] = None
    clusters: Annotated[int, Field(ge=1, description="K-means centroids of a domain at most")] = 5
    covariance: Annotated[
        Literal["ledoit-wolf", "oas", "empirical", "diagonal"], Field(description="estimator of each cluster's")
    ] = "ledoit-wolf"
    mahalanobis_weight: Annotated[
        float, Field(ge=0, le=1, description="weight of the Mahalanobis distance; the cosine distance has the rest")
    ] = 0.7
    target: Annotated[
        Literal["fixed", "published"],
        Field(
            description="`fixed` takes a tenth as many centroids as clips at most, and the target's covariance is drawn to the source's; `published` fits each domain by itself however few clips it has"
        ),
    ] = "fixed"
    standardise: Annotated[
        Literal["held-out", "published"],
        Field(
            description="distances are standardised by those of windows that were held out in blocks of time, or, `published`, by those of the very windows that were fitted"
        ),
    ] = "held-out"
    folds: Annotated[int, Field(ge=2, description="blocks of time that are held out one after another")] = 6
    cross_fit: Annotated[
        Literal["back-end", "network"],
        Field(
            description="what the alarm level's held-out windows are unknown to: `back-end` alone, or the `network` too, which is trained once more for every fold"
        ),
    ] = "back-end"

    def check(self) -> None:
        """
        Raises:
            InputError: weights for a trunk that none are published for.
        """
        if self.weights and self.trunk != "resnet34":
            self.refuse("weights", "none, or the setting trunk=resnet34: they are of that trunk")

    def with_window(self, window: int) -> Self:
        """The same: the network sees pictures of one size, whatever the window."""
        return self
