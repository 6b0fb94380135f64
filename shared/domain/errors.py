"""The errors of a store."""


class StoreError(Exception):
    """The base of all errors of a store."""


class ConflictError(StoreError):
    """Another writer was first: the row has changed since it was read."""


class StorageUnavailableError(StoreError):
    """The store did not answer, or refused. A write that raises this may still have happened."""


class StateTooLargeError(StoreError):
    """The row is too large for the store; nothing was written."""


class StateUnreadableError(StoreError):
    """A stored row cannot be read: it is damaged, or another program wrote it.

    `etag` is the row's, if it is known, so that the row can be replaced.
    """

    def __init__(self, message: str, etag: str = "") -> None:
        super().__init__(message)
        self.etag = etag


class NewerRowError(StorageUnavailableError):
    """A newer version of the app wrote this row: this version leaves it exactly as it is."""
