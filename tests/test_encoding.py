"""The sentence encoder: what goes through the model, what the disk keeps, and who may write at once."""

import hashlib
import json
import os
import sqlite3
import subprocess
import sys
import threading

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from idl_hf.encoding import DEFAULT_ENCODER, SentenceEncoder

TEXTS = ["i have two dogs .", "hi", "i am a farmer from texas , how about you ?"]


@pytest.fixture(autouse=True)
def fresh_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("IDL_HF_CACHE", str(tmp_path))
    return tmp_path


@pytest.fixture(scope="module")
def loaded():
    """With the model in memory; the folder of its cache is looked up at each call, so each test starts with none."""
    return SentenceEncoder("offline", show_progress=False)


def newly_encoded(encoder: SentenceEncoder, texts) -> int:
    before = encoder.encoded_count
    encoder.encode(texts)
    return encoder.encoded_count - before


def test_vectors_are_unit_vectors_in_the_order_of_the_texts(loaded):
    vectors = loaded.encode(TEXTS)
    assert vectors.dtype == np.float32
    assert vectors.shape == (3, 384)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    for text, vector in zip(TEXTS, vectors, strict=True):
        np.testing.assert_allclose(loaded.encode([text])[0], vector)


def test_the_vectors_are_those_of_the_model_itself(loaded):
    vectors = loaded.encode(TEXTS)
    itself = loaded._model.encode(TEXTS, normalize_embeddings=True)
    np.testing.assert_allclose(vectors, itself, atol=1e-5)


@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.sampled_from(TEXTS), max_size=6))
def test_repeated_texts_have_equal_rows(loaded, texts):
    vectors = loaded.encode(texts)
    assert len(vectors) == len(texts)
    distinct = dict(zip(TEXTS, loaded.encode(TEXTS), strict=True))
    for text, vector in zip(texts, vectors, strict=True):
        np.testing.assert_array_equal(vector, distinct[text])


def test_each_text_goes_through_the_model_once(loaded):
    assert newly_encoded(loaded, [TEXTS[0], TEXTS[1], TEXTS[0]]) == 2
    assert newly_encoded(loaded, TEXTS) == 1
    assert newly_encoded(loaded, TEXTS) == 0


def test_texts_encoded_ahead_are_known_later(loaded):
    loaded.encode_ahead(iter([*TEXTS, *TEXTS]))
    assert newly_encoded(loaded, TEXTS) == 0


def test_another_encoder_reads_from_disk_without_loading_the_model(loaded):
    vectors = loaded.encode(TEXTS)
    second = SentenceEncoder("offline")
    np.testing.assert_array_equal(second.encode(TEXTS), vectors)
    assert second.encoded_count == 0
    assert second._model is None


def test_more_texts_than_sqlite_takes_parameters_are_read_back(loaded, fresh_cache):
    texts = [f"i have {number} dogs ." for number in range(1200)]
    loaded.encode(TEXTS[:1])
    angles = np.linspace(0, 1, len(texts))
    known = np.zeros((len(texts), 384), np.float32)
    known[:, 0], known[:, 1] = np.cos(angles), np.sin(angles)
    keys = [hashlib.sha256(text.encode()).digest() for text in texts]
    loaded._cache.write({key: vector.tobytes() for key, vector in zip(keys, known, strict=True)})
    assert newly_encoded(loaded, texts) == 0
    np.testing.assert_array_equal(loaded.encode(texts[::-1]), known[::-1])


def test_no_text_makes_no_row(loaded):
    assert len(loaded.encode([])) == 0


def test_a_retrained_local_model_does_not_read_the_vectors_of_the_old_one(tmp_path):
    weights = tmp_path / "model" / "weights"
    weights.parent.mkdir()
    weights.write_bytes(b"old")
    before = SentenceEncoder(str(tmp_path / "model"))._cache.path
    weights.write_bytes(b"new ones")
    assert SentenceEncoder(str(tmp_path / "model"))._cache.path != before


def test_an_encoder_that_cannot_be_fetched_names_the_offline_one():
    with pytest.raises(OSError, match=rf"Could not load '{DEFAULT_ENCODER}'.*encoder='offline'"):
        SentenceEncoder(DEFAULT_ENCODER).encode(["hi"])


@pytest.mark.parametrize("poison", [np.full(384, np.nan), np.zeros(384), np.full(384, 7), np.full(3, np.inf)])
def test_what_is_no_unit_vector_is_encoded_anew(poison, loaded, caplog):
    before = loaded.encode(TEXTS)
    loaded._cache.path.unlink()
    loaded._cache.write({hashlib.sha256(TEXTS[1].encode()).digest(): poison.astype(np.float32).tobytes()})
    assert newly_encoded(loaded, TEXTS) == 3
    assert str(loaded._cache.path) in caplog.text
    np.testing.assert_allclose(loaded.encode(TEXTS), before, atol=1e-6)


# Several processes

WRITE = """
import json, os, sys
import numpy as np
from idl_hf.encoding import SentenceEncoder

texts = json.loads(sys.argv[2])
encoder = SentenceEncoder("offline", batch_size=4, show_progress=False)
encoder._encode_new(["so that both have loaded the model before either writes"])
print("ready", flush=True)
sys.stdin.readline()
os.environ["IDL_HF_CACHE"] = sys.argv[1]
for start in range(0, len(texts), 8):
    vectors = encoder.encode(texts[start : start + 8])
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
print("done", flush=True)
"""


def test_two_processes_may_write_to_a_fresh_cache_at_once(loaded, tmp_path, monkeypatch):
    texts = [f"i have {number} dogs ." for number in range(48)]
    orders = (texts[:32], texts[16:][::-1])  # overlapping, the second backwards
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", WRITE, str(tmp_path / "both"), json.dumps(order)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
            text=True,
        )
        for order in orders
    ]
    assert [process.stdout.readline() for process in processes] == ["ready\n"] * 2
    for process in processes:
        process.stdin.write("go\n")
        process.stdin.flush()
    assert [process.communicate()[0] for process in processes] == ["done\n"] * 2
    alone = loaded.encode(texts[::16])
    monkeypatch.setenv("IDL_HF_CACHE", str(tmp_path / "both"))
    assert newly_encoded(loaded, texts) == 0
    np.testing.assert_allclose(loaded.encode(texts[::16]), alone, atol=1e-5)
    with sqlite3.connect(loaded._cache.path) as cache:
        assert cache.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        assert cache.execute("SELECT count(*) FROM entries").fetchone() == (48,)


def test_a_fresh_cache_waits_for_another_process_that_is_setting_it_up(loaded):
    loaded._cache.path.parent.mkdir(parents=True)
    other = sqlite3.connect(loaded._cache.path, isolation_level=None, check_same_thread=False)
    other.execute("BEGIN IMMEDIATE")
    ready = threading.Timer(0.3, lambda: other.execute("COMMIT"))
    ready.start()
    try:
        assert loaded.encode(["hi"]).shape == (1, 384)
    finally:
        ready.join()
        other.close()
