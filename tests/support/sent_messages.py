"""A channel of reminders for tests, which keeps the messages it is given."""

from __future__ import annotations

from collections.abc import Callable

from reminders.channels import Message


class Sent(list[Message]):
    """The messages that came, in order; ``act`` is called with each after it was kept, and may raise."""

    act: Callable[[Message], object] | None = None

    def __call__(self, message: Message) -> None:
        self.append(message)
        if self.act is not None:
            self.act(message)
