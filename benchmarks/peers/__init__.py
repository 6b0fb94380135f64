"""The same turn on other SDKs: Microsoft 365 Agents SDK, Teams SDK."""
