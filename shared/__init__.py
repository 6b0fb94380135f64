"""What the functions share: the app behind the function folders."""
