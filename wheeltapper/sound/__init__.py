"""Sound between files, devices and Kafka: what `replay wav`, `record` and `clip` are made of."""
