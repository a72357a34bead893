"""The settings of the contrast as plain fields, so that a command line can tell them without loading TRL."""

from dataclasses import dataclass

from idl_hf.arguments import option


@dataclass
class ContrastFields:
    """What the contrast adds to SFTConfig: its weight, its softmax, and which strangers.

    Its defaults are batches of one, and no `max_length`.
    """

    per_device_train_batch_size: int = option(1, "Dialogues per device and step, each with all its prompts.")
    per_device_eval_batch_size: int = option(1, "Dialogues per device in an evaluation.")
    max_length: int | None = option(None, "Nothing is cut; max_prompt_tokens fits prompts by whole references.")
    contrast_weight: float = option(
        1.0,
        "Of the contrast, in nats per token of the replies as the NLL is. At 1 the replies of a person who is not "
        "found at all are pulled up twice as hard as by the NLL alone. 0: plain SFT.",
    )
    contrast_temperature: float | None = option(
        0.1,
        "Of the softmax over people: over mean log-probs per token divided by it. None: over their sums, as in the "
        "metric identification, where a dialogue of many tokens is soon settled and nothing more is learnt from it.",
    )
    random_strangers: int = option(1, "How many of the four other people drawn at random a step compares with.")
    nearest_strangers: int = option(1, "How many of the three other people most alike a step compares with.")
