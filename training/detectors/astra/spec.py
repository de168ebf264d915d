"""ASTRA as a detector of the registry; imports nothing heavy."""

from __future__ import annotations

from dataclasses import replace

from wheeltapper.models.astra.config import AstraConfig
from wheeltapper.training.fitting.options import TrainOptions
from wheeltapper.training.fitting.spec import DetectorSpec, Preset
from wheeltapper.training.fitting.trainer_options import TrainerOptions

# Trained without a held-out part, as published: the epoch of least loss over fixed views counts. Few of them: see the table in
# models/astra/README.md.
TRAINER = TrainerOptions(
    epochs=8,
    windows_per_epoch=256,
    batch_size=32,
    learning_rate=1e-3,
    learning_rate_decay=0.9,
    patience=1000,
    validation_windows=64,
)
DENSE = AstraConfig(image_rows=224, image_columns=224, trunk="resnet34", embedding=128)
PUBLISHED = replace(
    DENSE,
    level="published",
    colour="plasma",
    dense=False,
    patches=64,
    coordinates=False,
    attention="published",
    attributes="concatenated",
    attribute_dropout=0.0,
    loss="nt-xent",
    views="published",
    pca_variance=0.98,
    target="published",
    standardise="published",
)
RESNET_TRAINER = replace(TRAINER, epochs=100, windows_per_epoch=None, learning_rate=2e-4, learning_rate_decay=0.99)

SPEC = DetectorSpec(
    name="astra",
    title="ASTRA",
    summary="ASTRA: contrastive embedding of spectrogram patches, distance to centroids of normal sound",
    watches="how far a clip's embedding is from centroids of normal ones, source and target apart",
    trains_in="minutes",
    choose_it="to compare; with weights of ImageNet or clips of other machines",
    train="wheeltapper.training.detectors.astra.train:train_astra",
    presets={
        "small": Preset(AstraConfig(), TRAINER, "a narrow trunk of two layers, minutes on two cores"),
        "dense": Preset(DENSE, RESNET_TRAINER, "ResNet-34 over the whole picture once, its 7 x 7 map as patches"),
        "published": Preset(
            PUBLISHED, RESNET_TRAINER, "as the source has it: 169 patches, colours, its views, loss and back end"
        ),
    },
    battery=TrainOptions(
        epochs=2,
        settings={"width": "8", "embedding": "16", "mels": "32", "image_rows": "48", "image_columns": "64"},
    ),
    has_epochs=True,
    extra="training",
    published={
        "epochs": "100 (its code: about 370)",
        "batch_size": "32 (its code: 256)",
        "learning_rate": "2e-4",
        "learning_rate_decay": "0.5 after 10 epochs without less loss",
        "patience": "never stops early",
    },
    rank=220,
    kind="audio",
)
