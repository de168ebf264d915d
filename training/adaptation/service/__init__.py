"""What the adaptation worker decides, without Kafka and without a clock of its own: from a drift to a bundle in service, and back."""
