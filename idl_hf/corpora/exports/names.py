"""Names that tell apart whom an export tells apart by their ids."""


def distinct(name: str, identity: str, taken: dict[str, str]) -> str:
    """Return a name, with the id behind it where it is already that of another id in `taken`."""
    return name if taken.setdefault(name, identity) == identity else f"{name} ({identity})"


class Names:
    """The names of the people of an export, one to an id in all of its chats."""

    def __init__(self) -> None:
        self.by_id: dict[str, str] = {}
        self._taken: dict[str, str] = {}

    def name_of(self, identity: str, written: str) -> str:
        """Return the name of an id, made of the first that is written for it; "" while there was none."""
        if written and identity not in self.by_id:
            self.by_id[identity] = distinct(written, identity, self._taken)
        return self.by_id.get(identity, "")
