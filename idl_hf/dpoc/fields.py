"""The settings of DPOC as plain fields, so that a command line can tell them without loading TRL."""

from dataclasses import dataclass

from idl_hf.arguments import option

PENALTY_FORMS = ("paper", "released")


@dataclass
class DPOCFields:
    """What DPOC adds to DPOConfig: the penalty, prefix sharing, a budget of prompts, and four other defaults.

    These are `learning_rate` 1e-5 and `per_device_train_batch_size` 1 (paper A.2; 1 in evaluations too), and
    `max_length` None (TRL's 1,024 silently drops rows with long prompts).
    """

    learning_rate: float = option(1e-5, "The initial learning rate for AdamW (paper A.2).")
    per_device_train_batch_size: int = option(
        1, "Rows, or with prefix_sharing dialogue dialogues, per device and step (paper A.2)."
    )
    per_device_eval_batch_size: int = option(1, "Rows, or dialogues, per device in an evaluation.")
    max_length: int | None = option(None, "Cuts prompt + completion to this many tokens. None: nothing is cut.")
    penalty: float = option(
        2.0,
        "λ of DPOC: loss = L_DPO(chosen, rejected) - λ min(0, r_cho - r_crt) - λ min(0, r_crt - r_rej), "
        "r being the log-ratio of policy and reference (paper Eq. 5, 6 and A.2). 0: plain DPO.",
    )
    penalty_form: str = option(
        "paper",
        "'paper': Eq. 5 and 6. 'released': the authors' code, which adds the two clamped terms inside the "
        "argument of -log σ(β·); pass penalty 0.5 with it, as they did.",
        list(PENALTY_FORMS),
    )
    prefix_sharing: str = option(
        "auto",
        "Run each prompt through the model once for its three completions. 'auto': where the model and "
        "the settings allow it, logging which; true: or raise; false: every completion in a row of its own; "
        "'dialogue': each distinct token of a dialogue once for all its replies, or raise. An example then is a "
        "dialogue, and so are per_device_train_batch_size and gradient_accumulation_steps counted.",
        ["auto", "true", "false", "dialogue"],
    )
    max_prompt_length: int | None = option(
        None, "Keeps the last this many tokens of a longer prompt; how many were cut is logged, but for streams."
    )
