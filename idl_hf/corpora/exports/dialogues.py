"""From the messages of a conversation to dialogues: bursts become turns, turns sessions, sessions dialogues."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

from idl_hf.corpora.exports.chats import Said
from idl_hf.schema import Dialogue, Turn


@dataclass(frozen=True)
class Cuts:
    """Where one turn ends, and one session: after so many seconds, and after so many turns."""

    burst: float
    pause: float
    max_turns: int


@dataclass
class Burst:
    """What one speaker says at once, a message a line."""

    speaker: str
    time: str
    texts: list[str] = field(default_factory=list)


@dataclass
class Session:
    """Turns without a pause between them; begin: in seconds, None where the export has no times."""

    begin: float | None
    bursts: list[Burst] = field(default_factory=list)

    @property
    def messages(self) -> int:
        """Return how many messages it is made of."""
        return sum(len(burst.texts) for burst in self.bursts)

    @property
    def speakers(self) -> list[str]:
        """Return who speaks, in order."""
        return list(dict.fromkeys(burst.speaker for burst in self.bursts))


def sessions(messages: Iterable[Said], cuts: Cuts) -> Iterator[Session]:
    """Yield the sessions of a conversation; each message is in exactly one of them."""
    session: Session | None = None
    last: float | None = None
    for message in messages:
        gap = abs(message.seconds - last) if message.seconds is not None and last is not None else 0
        last = last if message.seconds is None else message.seconds
        goes_on = session is not None and gap <= cuts.burst and session.bursts[-1].speaker == message.speaker
        if session is None or gap > cuts.pause or (len(session.bursts) >= cuts.max_turns and not goes_on):
            if session is not None:
                yield session
            session, goes_on = Session(message.seconds), False
        if not goes_on:
            session.bursts.append(Burst(message.speaker, message.time))
        session.bursts[-1].texts.append(message.text)
    if session is not None:
        yield session


def dialogue_of(session: Session, person: str, partner: str, number: int, named: Callable[[str], str]) -> Dialogue:
    """Return a session as the person has it.
    partner: the name of the other person, who needs no name in each turn, or of the group. named: how names are
    written."""
    turns = tuple(
        Turn(
            "self" if burst.speaker == person else "partner",
            "\n".join(burst.texts),
            time=burst.time,
            speaker="" if burst.speaker in (person, partner) else named(burst.speaker),
        )
        for burst in session.bursts
    )
    partner = named(partner)
    return Dialogue(named(person), f"{partner} {number}", turns, partner_id=partner)
