"""What this project says of its own accord, in each user's language."""
