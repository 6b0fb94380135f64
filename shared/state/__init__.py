"""The state: the three bags, as a turn, REST and an erasure see them."""
