"""Names that tell apart whom an export tells apart by their ids."""


def distinct(name: str, identity: str, taken: dict[str, str]) -> str:
    """Return a name, with the id behind it where it is already that of another id in `taken`."""
    return name if taken.setdefault(name, identity) == identity else f"{name} ({identity})"
