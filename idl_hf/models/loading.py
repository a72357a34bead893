"""Models and adapters, from the Hub or a folder. One adapter serves all people: the persona arrives in the prompt."""

from typing import Any, NamedTuple

import torch
from transformers import PretrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

from idl_hf.chat_template import PLAIN_TEMPLATE
from idl_hf.machine import default_device, fast_precision
from idl_hf.models.identity import has_tokenizer, is_adapter, refuse_pickled_adapter, refuse_pickles
from idl_hf.models.known_templates import known_template, read_template
from idl_hf.models.merging import merge_adapter
from idl_hf.models.offline import hub_errors_name_offline, resolve_model

_HINT = "'offline' as the model's name"


class LoadedModel(NamedTuple):
    """A causal LM, or a PEFT adapter on its base model, with its tokenizer."""

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase


def load_model(
    name: str,
    *,
    trainable: bool = False,
    dtype: torch.dtype | None = None,
    device: str | None = None,
    trust_remote_code: bool = False,
    chat_template: str | None = None,
    plain: bool = False,
    **model_options: Any,
) -> LoadedModel:
    """Return (model, tokenizer) of a causal LM, or of a PEFT adapter with its base model.

    name: a Hub id, a folder, or "offline". dtype None: float32 to train, else that of `fast_precision`. chat_template,
    plain: as `load_tokenizer` takes them; what is trained may learn plain lines. model_options: of the base model's
    from_pretrained. The model is on `device` (None: a GPU if there is one).
    Raises OSError where the model cannot be had, or has its weights in pickles alone, which may run code; ValueError
    as `load_tokenizer` does.
    """
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    path, base = _adapter_and_base(name)
    tokenizer = load_tokenizer(name, trust_remote_code, chat_template, plain=trainable or plain)
    device = device or default_device()
    dtype = dtype or (torch.float32 if trainable else fast_precision(device))
    refuse_pickles(base)
    options = {"dtype": dtype, "use_safetensors": True, **model_options}
    with hub_errors_name_offline(base, _HINT):
        model: Any = AutoModelForCausalLM.from_pretrained(base, trust_remote_code=trust_remote_code, **options)
    if path is not None:
        refuse_pickled_adapter(path)
        model = PeftModel.from_pretrained(model, path, is_trainable=trainable)
    if not trainable:
        model = model.eval().to(device)
    return LoadedModel(model, tokenizer)


def load_config(name: str) -> PretrainedConfig:
    """Return the config of the model, or of an adapter's base model, without loading it."""
    from transformers import AutoConfig

    _, base = _adapter_and_base(name)
    with hub_errors_name_offline(base, _HINT):
        return AutoConfig.from_pretrained(base, trust_remote_code=False)


def load_merged(
    name: str,
    dtype: str = "float32",
    device: str | None = None,
    chat_template: str | None = None,
    plain: bool = False,
) -> LoadedModel:
    """Return a model whose adapter, if it has one, is added into the weights of its base, so that it costs nothing at
    each token. Raises ValueError for an adapter that cannot be, and otherwise as `load_model`."""
    from peft import PeftModel

    model, tokenizer = load_model(
        name, dtype=getattr(torch, dtype), device=device, chat_template=chat_template, plain=plain
    )
    return LoadedModel(merge_adapter(model) if isinstance(model, PeftModel) else model, tokenizer)


def load_tokenizer(
    name: str, trust_remote_code: bool = False, chat_template: str | None = None, plain: bool = False
) -> PreTrainedTokenizerBase:
    """Return the tokenizer of `load_model`, with a padding token and a chat template in any case.

    chat_template: for a model that has none, a file in Jinja or "plain", which is lines of text, 'user: ...'. Without
    it a model that is known by its name has the template of its own code. plain: whether all others get such lines,
    which is for what is trained to read them or reads no messages. Raises ValueError for one of them otherwise: a form
    that it never learnt would make it look worse than it is.
    """
    from transformers import AutoTokenizer
    from transformers.utils.logging import get_logger

    given = None if chat_template is None else read_template(chat_template)
    path, base = _adapter_and_base(name)
    with hub_errors_name_offline(base, _HINT):
        source = path if path is not None and has_tokenizer(path) else base
        tokenizer = AutoTokenizer.from_pretrained(source, trust_remote_code=trust_remote_code)
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    if tokenizer.chat_template is None:
        tokenizer.chat_template = given or known_template(base) or (PLAIN_TEMPLATE if plain else None)
    elif given not in (None, tokenizer.chat_template):
        get_logger(__name__).warning(
            f"'{name}' has a chat template of its own, which is used; chat_template is for a model that has none."
        )
    if tokenizer.chat_template is None:
        raise ValueError(
            f"'{name}' has no chat template, so it is not known how it was taught to read messages. Name one with "
            "--chat_template (chat_template= in Python; in its folder, chat_template.jinja): a file in Jinja or, for "
            "a model that was taught no messages, 'plain', which writes lines, 'user: ...'."
        )
    return tokenizer


def _adapter_and_base(name: str) -> tuple[str | None, str]:
    """Where the adapter is, if it is one, and its base model."""
    from peft import PeftConfig

    path = resolve_model(name)
    with hub_errors_name_offline(name, _HINT):
        if not is_adapter(path):
            return None, path
        base = PeftConfig.from_pretrained(path).base_model_name_or_path
    with hub_errors_name_offline(base, _HINT):
        return path, resolve_model(base)
