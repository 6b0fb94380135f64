"""What speaks to channels: adapter, authentication, connector client."""
