"""The hashes that name users in keys."""

from hashlib import sha256
from itertools import combinations

import pytest

from shared.domain.identity import user_hash


def test_no_two_users_have_the_same_hash() -> None:
    users = [
        ("a", "b/users/c"),
        ("a/users/b", "c"),
        ("a", "b/users/c/users/d"),
        ("a/users/b", "c/users/d"),
        ("a/users/b/users/c", "d"),
        ("a/users", "b"),
        ("a", "users/b"),
        ("a/users", "users/b"),
        ("a/users/users", "b"),
    ]
    for one, other in combinations(users, 2):
        assert user_hash(*one) != user_hash(*other), (one, other)


@pytest.mark.parametrize("user", ["29:ann", "ann/users/x", "/users/", "a/b", "\N{SNOWMAN}"])
@pytest.mark.parametrize("channel", ["msteams", "a/b", ""])
def test_the_hashes_in_stored_rows_stay_as_they_are(channel: str, user: str) -> None:
    assert user_hash(channel, user) == sha256(f"{channel}/users/{user}".encode()).hexdigest()[:32]
