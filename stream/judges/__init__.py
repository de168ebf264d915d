"""What looks at scores."""
