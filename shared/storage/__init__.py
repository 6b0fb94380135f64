"""What speaks to Azure Storage: tables, row keys, state codec."""
