"""The columns of the tables: what each number is."""

from idl_hf.report.results import Column

_RELEASE = "as the authors' released code counts it: two unrelated human replies get a BLEU-1 of 49"
_ALL = (
    Column("nll", "NLL", 1, True, "Negative log-likelihood of the person's own replies, nats per token. It compares models of one tokenizer."),
    Column("gain", "persona gain", 1, False, "NLL given another person's dialogues instead, minus NLL; 0 for a model that ignores the person."),
    *(Column(f"bleu_{n}", f"BLEU-{n}", note="Of words, punctuation apart (sacrebleu's 13a), sentence level, without smoothing.") for n in range(1, 5)),
    Column("rouge_l", "ROUGE-L", note="F1 of words, without stemming."),
    Column("distinct_1", "Dist-1", note="Share of different tokens (sacrebleu's 13a) within a reply."),
    Column("distinct_2", "Dist-2", note="Share of different pairs of tokens within a reply."),
    Column("corpus_distinct_1", "corpus Dist-1", note="Share of different tokens in all replies together."),
    Column("corpus_distinct_2", "corpus Dist-2", note="Share of different pairs of tokens in all replies together."),
    Column("p_f1", "P-F1", note="Overlap of the reply's content words with those of all the person has said elsewhere."),
    Column("p_co", "P-Co", note="Cosine of word counts, without punctuation, of the reply and all the person has said elsewhere."),
    Column("coh", "Coh.", note="Share of (profile sentence, reply) pairs that an NLI model does not call a contradiction."),
    Column("coh_con", "Coh-Con.", note="Share of these pairs that it calls an entailment."),
    *(Column(f"release_bleu_{n}", f"BLEU-{n}, release", note=f"Of letters, sides swapped, {_RELEASE}.") for n in range(1, 5)),
    Column("release_rouge_l", "ROUGE-L, release", note="F1 of stemmed words, as the released code counts it."),
    Column("mass", "attention on profile", note="Of the attention to content words of the person's past dialogues, the share on words of the profile."),
    Column("lift", "lift", 1, note="That share over these words' share of the tokens of all content words."),
    Column("keywords_in_top", "in top 100", 1, note="Words of the profile among the 100 tokens with the most attention (paper A.5)."),
)  # fmt: skip
COLUMNS = {column.key: column for column in _ALL}
