"""A timer run: idle conversations expire, and their users are told."""
