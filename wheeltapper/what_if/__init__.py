"""What the alarms would have been under other settings."""
