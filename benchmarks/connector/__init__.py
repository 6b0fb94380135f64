"""What sending and receiving cost."""
