"""What the functions share: the app behind the function folders."""

from shared import deferred_recognizers

deferred_recognizers.install()
