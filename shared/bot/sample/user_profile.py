"""What the sample conversation learns about a user."""

from dataclasses import dataclass


@dataclass(frozen=True)
class UserProfile:
    """The user's answers, kept in UserState once the user has confirmed them.

    Attributes:
        transport: "Car", "Bus" or "Bicycle".
        name: what the user wants to be called.
        age: in whole years, None where the user would rather not say.
        picture: the attachment's name or, where it has none, its address; None without a picture.
    """

    transport: str
    name: str
    age: int | None
    picture: str | None

    def describe(self) -> str:
        """Returns the profile as one sentence without its full stop."""
        parts = [f"{self.name} travels by {self.transport.lower()}"]
        if self.age is not None:
            parts.append(f"is {self.age} years old")
        if self.picture:
            parts.append(f"sent {self.picture}")
        return ", ".join(parts)
