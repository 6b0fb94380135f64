"""What a turn, a send, a sweep and a start cost, each beside its obvious alternative."""
