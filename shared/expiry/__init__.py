"""The timer comes round: what is idle is expired and its user told."""
