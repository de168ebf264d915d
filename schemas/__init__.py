"""What crosses a process boundary: messages, codecs, the bundle. No torch, no Kafka."""
