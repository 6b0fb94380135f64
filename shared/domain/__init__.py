"""The domain: plain values and protocols. Imports nothing but the standard library."""
