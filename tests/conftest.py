"""Settings that must stand before anything of Hugging Face is imported, and what several test files share.

No test reaches the network. Models and sentence vectors stay in their usual cache, since converting and encoding are
what takes long; datasets are built into a folder of this session, so that no test sees another session's rows.
"""

import atexit
import os
import shutil
import tempfile
from pathlib import Path

if "PYTEST_XDIST_WORKER" in os.environ:  # one of several processes: their folder is that of the one that began them
    _DATASETS_CACHE = os.environ["HF_DATASETS_CACHE"]
    cores = len(os.sched_getaffinity(0))
    os.environ["OMP_NUM_THREADS"] = str(max(1, cores // int(os.environ["PYTEST_XDIST_WORKER_COUNT"])))
else:
    _DATASETS_CACHE = tempfile.mkdtemp(prefix="idl_hf-tests-")
    atexit.register(shutil.rmtree, _DATASETS_CACHE, ignore_errors=True)
os.environ.update(
    HF_HUB_OFFLINE="1",
    HF_DATASETS_CACHE=_DATASETS_CACHE,
    HF_HUB_DISABLE_TELEMETRY="1",
    TOKENIZERS_PARALLELISM="false",
)

import pytest
from hypothesis import settings

# Examples differ in time by what is cached; derandomised, so that a failure seen once is seen by everyone
settings.register_profile("idl_hf", deadline=None, derandomize=True, database=None)
settings.load_profile("idl_hf")

ROOT = Path(__file__).parents[1]
SHARED = Path(__file__).parents[2] / "shared"


@pytest.fixture(scope="session")
def shared() -> Path:
    """The real corpora and worked numbers that lie beside a developer's checkout and are never copied into it."""
    if not SHARED.is_dir():
        pytest.skip(f"The shared folder with real corpora and worked numbers is not beside this checkout: {SHARED}")
    return SHARED


@pytest.fixture(scope="session")
def vectors(shared):
    """Reads the worked numbers of one subject: vectors("conved")."""
    import json

    folder = shared / "ground_truth" / "vectors"
    return lambda name: json.loads((folder / f"{name}.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="session")
def convai2(shared) -> Path:
    return shared / "data" / "convai2"


@pytest.fixture(scope="session")
def sample_data() -> Path:
    return ROOT / "idl_hf" / "sample_data"


@pytest.fixture(scope="session")
def encoder():
    from idl_hf.encoding import SentenceEncoder

    return SentenceEncoder("offline", show_progress=False)


@pytest.fixture(scope="session")
def whole_tokenizer():
    """SmolLM2's tokenizer."""
    from transformers import AutoTokenizer

    from idl_hf.models.offline import resolve_model

    return AutoTokenizer.from_pretrained(resolve_model("offline"))


@pytest.fixture(scope="session")
def tokenizer(whole_tokenizer, tmp_path_factory):
    """SmolLM2's tokenizer with its first tokens and merges alone: on logits of all 49,152 a tiny model would spend
    most of its time."""
    import json

    from transformers import AutoTokenizer

    folder = tmp_path_factory.mktemp("tokenizer")
    whole_tokenizer.save_pretrained(folder)
    file = folder / "tokenizer.json"
    content = json.loads(file.read_text(encoding="utf-8"))
    model = content["model"]
    model["vocab"] = {token: number for token, number in model["vocab"].items() if number < 4096}
    model["merges"] = [pair for pair in model["merges"] if "".join(pair) in model["vocab"]]
    file.write_text(json.dumps(content), encoding="utf-8")
    return AutoTokenizer.from_pretrained(folder)


@pytest.fixture(scope="session")
def tiny_llama(tokenizer):
    """Makes a Llama of two layers with random weights, the same for the same seed: tiny_llama(seed=0, **config)."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    def make(seed: int = 0, **config):
        sizes = {
            "vocab_size": len(tokenizer),
            "hidden_size": 32,
            "intermediate_size": 64,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
            "max_position_embeddings": 4096,
            "tie_word_embeddings": True,
            "bos_token_id": tokenizer.bos_token_id,
            "eos_token_id": tokenizer.eos_token_id,
            "pad_token_id": tokenizer.pad_token_id,
        }
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return LlamaForCausalLM(LlamaConfig(**(sizes | config))).to(torch.float32).eval()

    return make


@pytest.fixture(scope="session")
def browser():
    """A headless Chromium."""
    found = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if found is None:
        pytest.skip("No Chromium is installed to open the page in. Install it with `apt-get install -y chromium`.")
    reason = "Playwright drives the browser and is not installed. Install it with `pip install playwright`."
    sync_api = pytest.importorskip("playwright.sync_api", reason=reason)
    with sync_api.sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=found)  # without a sandbox, as root needs it
        yield chromium
        chromium.close()


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items):
    """Mark the tests that open a browser, which `make test-browser` runs."""
    for item in items:
        if "browser" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.browser)
