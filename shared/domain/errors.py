"""What goes wrong between the app and its store."""


class StoreError(Exception):
    """Something went wrong between the app and its store."""


class ConflictError(StoreError):
    """Another writer was first: the row is not what it was when it was read."""


class StorageUnavailableError(StoreError):
    """The store did not answer, or refused. A write that raises this may still have happened."""


class StateTooLargeError(StoreError):
    """A row would be larger than the store may hold; nothing was written."""


class StateUnreadableError(StoreError):
    """A stored row cannot be read back: it was damaged or written by something else.

    `etag` is the row's, where it is known, so that it can be replaced.
    """

    def __init__(self, message: str, etag: str = "") -> None:
        super().__init__(message)
        self.etag = etag
