"""Each system learns eight dialogues by heart, does what it is known for, and is the same after it was saved."""

from dataclasses import replace
from functools import cache

import pytest
import torch
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace
from transformers import PreTrainedTokenizerFast

from idl_hf.baselines.clv import CLV
from idl_hf.baselines.inputs import Batch, Encoder, Exchange, Known, Sizes
from idl_hf.baselines.latent import LatentBaseline
from idl_hf.baselines.percvae import PerCVAE
from idl_hf.baselines.systems import SYSTEMS, load_baseline

SIZES = {"profile": 16, "exchanges": 3, "line": 10, "context": 16, "reply": 12}
PETS = ["dogs", "cats", "horses", "birds", "fish", "snakes", "mice", "goats"]
LEARNERS = [name for name in SYSTEMS if name != "frequency"]
NETWORK = {"hidden": 48, "heads": 2, "dropout": 0.0, "ramp_steps": 40}


def known(pet: str, asked: str) -> Known:
    """What tells of the pet is the profile, or the past; CLV, which sees neither, is asked for it."""
    past = [Exchange("what do you keep ?", f"i keep {pet} at home"), Exchange("really ?", "yes i do")]
    return Known(f"i keep {pet} .", past, ["hi", f"any pets {asked} ?"])


def reply(pet: str) -> str:
    return f"i have {pet} and i love {pet}"


@pytest.fixture(scope="module")
def tokenizer():
    """One of a few words: a toy would spend most of its time on logits of others."""
    words = " ".join([*PETS, "bees i have and love keep at home . yes do what you ? really hi any pets no"]).split()
    made = Tokenizer(WordLevel({word: i for i, word in enumerate(["<end>", "<unk>", *words])}, unk_token="<unk>"))
    made.pre_tokenizer = Whitespace()
    return PreTrainedTokenizerFast(tokenizer_object=made, eos_token="<end>", pad_token="<end>", unk_token="<unk>")


@pytest.fixture(scope="module")
def encoder(tokenizer):
    return Encoder(tokenizer, Sizes(**SIZES))


def batch_of(encoder: Encoder, name: str, pets: list[str] = PETS, replies: bool = True) -> Batch:
    examples = [
        encoder.encode(
            known(pet, pet if name == "clv" else ""),
            reply(pet) if replies else None,
            denial="i have no pets ." if i % 2 else "",
        )
        for i, pet in enumerate(pets)
    ]
    return Batch(**encoder.collate(examples))


@pytest.fixture(scope="module")
def trained(tokenizer):
    """Makes a system that was trained on a batch until it knows: until(model, batch) is below 0.03."""

    def make(name: str, batch: Batch, until=lambda model, batch: model(**vars(batch)).loss, **network):
        system = SYSTEMS[name]
        layers = {} if name == "dhap" else {"layers": 2}
        config = system.config(
            vocab_size=len(tokenizer),
            end_token_id=tokenizer.eos_token_id,
            sizes=SIZES,
            **NETWORK | layers | network,
        )
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            model = system.model(config)
            rate = 1e-3 if isinstance(model, LatentBaseline) else 3e-3  # at which a latent is never found
            optimizer = torch.optim.AdamW(model.parameters(), rate)
            for step in range(1000):  # how many it takes differs by processor
                if step % 25 == 0 and until(model.eval(), batch) < 0.03:
                    break
                loss = model.train()(**vars(batch)).loss
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
        return model.eval()

    return make


@pytest.fixture(scope="module")
def learnt(encoder, trained):
    """Makes a system, once, that has learnt the eight replies."""
    return cache(lambda name: trained(name, batch_of(encoder, name)))


def test_frequency_counts_the_tokens_of_replies(encoder, tokenizer):
    system, batch = SYSTEMS["frequency"], batch_of(encoder, "frequency")
    model = system.model(system.config(vocab_size=len(tokenizer), end_token_id=0, sizes=SIZES)).train()
    model(**vars(batch)).loss.backward()
    labels = batch.labels[batch.labels != -100]
    shares = (torch.bincount(labels, minlength=len(tokenizer)) + 1) / (len(labels) + len(tokenizer))
    assert model.eval()(**vars(batch)).loss == pytest.approx(-shares[labels].log().mean())


def written(model, batch: Batch, tokenizer) -> list[str]:
    return [tokenizer.decode(ids).strip() for ids in model.write(batch, 12)]


@pytest.mark.parametrize("name", LEARNERS)
def test_eight_replies_are_learnt_by_heart(learnt, encoder, tokenizer, name):
    model = learnt(name)
    assert written(model, batch_of(encoder, name, replies=False), tokenizer) == [reply(pet) for pet in PETS]
    assert model(**vars(batch_of(encoder, name))).loss < 0.15


@pytest.mark.parametrize("name", SYSTEMS)
def test_a_system_is_the_same_after_it_was_saved(learnt, encoder, tmp_path, name):
    model, batch = learnt(name), batch_of(encoder, name)
    model.save_pretrained(tmp_path)
    loaded = load_baseline(str(tmp_path))
    assert type(loaded) is type(model)
    with torch.inference_mode():
        torch.testing.assert_close(loaded(**vars(batch)).logits, model(**vars(batch)).logits)
    assert not list(tmp_path.glob("*.bin"))


@pytest.mark.parametrize("name", SYSTEMS)
def test_log_probs_are_of_a_distribution_and_padding_changes_nothing(learnt, encoder, name):
    model, whole = learnt(name), batch_of(encoder, name)
    with torch.inference_mode():
        found = model(**vars(whole)).logits
        torch.testing.assert_close(found.exp().sum(-1), torch.ones(found.shape[:2]), rtol=1e-4, atol=1e-4)
        other = {key: value.clone() for key, value in vars(whole).items()}
        for key in ("profile", "posts", "replies", "context"):
            other[key][~other[f"{key}_mask"]] = 7  # what stands where nothing is
        torch.testing.assert_close(model(**other).logits, found, rtol=1e-3, atol=1e-3)


def swapped(batch: Batch, *names: str) -> Batch:
    """The batch with these inputs of the next person."""
    turned = {key: getattr(batch, key).roll(1, 0) for name in names for key in (name, f"{name}_mask")}
    return replace(batch, **turned)


@pytest.mark.parametrize(
    ("name", "inputs"),
    [("percvae", ["profile"]), ("bob", ["profile"]), ("dhap", ["posts", "replies"]), ("msp", ["posts", "replies"])],
)
def test_what_is_known_of_the_person_decides_what_is_said(learnt, encoder, tokenizer, name, inputs):
    model, batch = learnt(name), batch_of(encoder, name)
    other = swapped(batch, *inputs)
    with torch.inference_mode():
        assert model(**vars(other)).loss > model(**vars(batch)).loss + 0.5
    of_others = written(model, other, tokenizer)
    assert sum(pet in text for pet, text in zip(PETS[-1:] + PETS[:-1], of_others, strict=True)) >= 4


def test_clv_is_not_shown_the_profile_when_it_replies(learnt, encoder):
    model, batch = learnt("clv"), batch_of(encoder, "clv")
    with torch.inference_mode():
        torch.testing.assert_close(model(**vars(swapped(batch, "profile"))).logits, model(**vars(batch)).logits)


def test_clvs_latents_say_what_the_question_does_not(encoder, trained, monkeypatch):
    """Where all are asked alike, which pet it is comes from what was recognised in profile and reply."""
    batch = Batch(**encoder.collate([encoder.encode(known(pet, ""), reply(pet)) for pet in PETS]))

    @torch.no_grad()
    def recognised(model, batch):
        return model.losses(batch)["nll"]

    model = trained("clv", batch, recognised, ramp_steps=100_000)  # a KL term that is still light
    assert recognised(model, batch) < 0.1
    assert model(**vars(batch)).loss > 0.2  # the prior knows the question alone: log(8) nats in eight tokens
    monkeypatch.setattr(CLV, "decoded", lambda self, token, *rest: LatentBaseline.decoded(self, token * 0, *rest))
    assert recognised(model, batch) > 0.2


def test_percvae_knows_nothing_of_the_person_without_its_latent(learnt, encoder, monkeypatch):
    model, batch = learnt("percvae"), batch_of(encoder, "percvae")
    monkeypatch.setattr(PerCVAE, "decoded", lambda self, token, *rest: LatentBaseline.decoded(self, token * 0, *rest))
    with torch.inference_mode():
        assert model(**vars(batch)).loss > 0.3  # and was below 0.1


def test_dhap_copies_a_word_that_no_reply_had(learnt, encoder, tokenizer, monkeypatch):
    model, batch = learnt("dhap"), batch_of(encoder, "dhap", ["bees"] * 2)
    bees = tokenizer.convert_tokens_to_ids("bees")
    place = (batch.labels[0] == bees).nonzero()[0, 0]
    with torch.inference_mode():
        with_copy = model(**vars(batch)).logits[0, place, bees]
        monkeypatch.setattr(type(model), "_copied", lambda self, states, *rest: states.new_full(
            (*states.shape[:2], self.config.vocab_size), -30.0))  # fmt: skip
        assert with_copy > model(**vars(batch)).logits[0, place, bees] + 1


def test_msp_keeps_tokens_that_are_there_in_their_order(learnt, encoder):
    model, batch = learnt("msp"), batch_of(encoder, "msp")
    ids, there = model.refined(batch)
    for i in range(len(PETS)):
        all_of_them = batch.replies[i][batch.replies_mask[i]].tolist()
        assert ids[i][there[i]].tolist() == all_of_them  # fewer than are kept
    model.config.kept = 2
    try:
        few, there = model.refined(batch)
        assert few.shape == (len(PETS), 2)
        assert there.all()
        scores = model.scores(batch).flatten(1).masked_fill(~batch.replies_mask.flatten(1), -1)
        best = scores.topk(2, 1).indices.sort(1).values
        assert torch.equal(few, batch.replies.flatten(1).gather(1, best))
    finally:
        model.config.kept = 100


def test_bob_makes_what_denies_the_profile_less_likely(learnt, encoder):
    from idl_hf.baselines.bob import unlikelihood

    log_probs = torch.log(torch.tensor([[[0.5, 0.25, 0.25]], [[0.1, 0.1, 0.8]]]))
    assert unlikelihood(log_probs, torch.tensor([[0], [-100]])) == pytest.approx(-torch.log(torch.tensor(0.5)))
    assert unlikelihood(log_probs, torch.tensor([[-100], [2]])) == pytest.approx(-torch.log(torch.tensor(0.2)))


def test_the_contrast_of_clv_is_of_groups_and_not_of_people():
    from idl_hf.baselines.clv import contrast

    alike = torch.eye(3).repeat(4, 1, 1)
    assert contrast(alike) < contrast(torch.ones(4, 3, 3)) == pytest.approx(torch.log(torch.tensor(3.0)))
    assert contrast(alike[:1]) == 0


def test_kl_is_that_of_gaussians():
    from torch.distributions import Normal, kl_divergence

    from idl_hf.baselines.latent import kl

    torch.manual_seed(0)
    of, against = torch.randn(2, 5, 3), torch.randn(2, 5, 3)
    distributions = [Normal(mean, (log_variance / 2).exp()) for mean, log_variance in (of, against)]
    torch.testing.assert_close(kl(tuple(of), tuple(against)), kl_divergence(*distributions).sum(-1))
