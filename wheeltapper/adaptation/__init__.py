"""The adaptation worker on Kafka: what `wheeltapper.training.adaptation.service` decides is read, run and published here."""
