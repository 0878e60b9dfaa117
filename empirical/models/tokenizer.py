"""The byte-level BPE of the models made here, and its special tokens."""

from __future__ import annotations

from collections.abc import Sequence

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

BOS, PAD, EOS, IGNORED = 0, 1, 2, -100


def byte_level_bpe(lines: Sequence[str], size: int) -> PreTrainedTokenizerFast:
    """A byte-level BPE of at most `size` tokens, the special ones first."""
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    bpe.train_from_iterator(
        lines,
        trainers.BpeTrainer(
            vocab_size=size,
            special_tokens=["<s>", "<pad>", "</s>"],
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        ),
    )
    return PreTrainedTokenizerFast(  # type: ignore[no-untyped-call] # transformers leaves it so
        tokenizer_object=bpe, bos_token="<s>", pad_token="<pad>", eos_token="</s>"
    )
