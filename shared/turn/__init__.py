"""A message comes in: one turn, from load to reply."""
