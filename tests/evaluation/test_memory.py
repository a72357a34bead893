"""Memory between the parts of an experiment."""

import weakref

from idl_hf.evaluation.memory import give_back_memory


class Trainer:
    """Refers to its model, which refers to it."""

    def __init__(self):
        self.model = lambda: self


def test_what_refers_to_itself_alone_is_gone():
    trainer = Trainer()
    seen = weakref.ref(trainer)
    del trainer
    give_back_memory()
    assert seen() is None
