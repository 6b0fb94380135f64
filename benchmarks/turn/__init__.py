"""What a turn costs."""
