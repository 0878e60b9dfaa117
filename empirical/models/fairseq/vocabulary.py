"""fairseq's `dict.txt` over a GPT-2 BPE -> one tokenizer, and the row of each of its tokens.

fairseq numbers <s> <pad> </s> <unk> 0 to 3 and then the symbols of dict.txt by frequency: decimal
ids of the BPE, and fillers `madeupword0000` ... up to a round number (data/dictionary.py).
"""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tokenizers import ByteLevelBPETokenizer
from tokenizers.models import BPE

from empirical.core.errors import UserError

SPECIAL = ("<s>", "<pad>", "</s>", "<unk>")  # fairseq's rows 0 to 3, which no dict.txt lists
END_OF_TEXT = "<|endoftext|>"  # GPT-2's last token, which fairseq never makes from text
BPE_FILES = (("vocab.json", "merges.txt"), ("encoder.json", "vocab.bpe"))


@dataclass(frozen=True, kw_only=True)
class Vocabulary:
    """A tokenizer, and for each of its V ids the row that fairseq keeps that token in."""

    tokenizer: Any
    rows: tuple[int, ...]
    bos: int
    eos: int


def read_dictionary(path: Path) -> tuple[str, ...]:
    """The symbols of a dict.txt in fairseq's order, its special ones first.

    Raises:
        UserError: for a file or a line that fairseq's dictionary of a GPT-2 BPE does not have.
    """
    path = Path(path)
    try:
        lines = path.read_text(encoding="utf-8").removesuffix("\n").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(
            f"expected fairseq's dict.txt at {path}, got {type(error).__name__}; correct the path"
        ) from error
    symbols = dict.fromkeys(SPECIAL)
    for number, line in enumerate(lines, 1):
        found = re.fullmatch(r"(0|[1-9][0-9]*|madeupword[0-9]+) [0-9]+", line.rstrip())
        if found is None or found[1] in symbols:
            what = "`GPT2ID COUNT`" if found is None else "another symbol than before"
            raise UserError(
                f"expected {what} in {path} line {number}, got {line[:60]!r}; "
                "pass the dict.txt that came with the model"
            )
        symbols[found[1]] = None
    return tuple(symbols)


def read_bpe(folder: Path) -> tuple[dict[str, int], list[tuple[str, str]]]:
    """Ids of the tokens, and the merges, under either pair of names (transformers' or OpenAI's).

    Raises:
        UserError: when the folder has neither pair, they cannot be read, or an id is missing.
    """
    for names in BPE_FILES:
        files = [Path(folder) / name for name in names]
        if not all(file.is_file() for file in files):
            continue
        try:
            vocab, merges = BPE.read_file(*map(str, files))
        except Exception as error:  # the library raises bare Exception for files it cannot parse
            raise UserError(
                f"expected files of a BPE that can be read in {folder}, got {error}; "
                "copy them again"
            ) from error
        if sorted(vocab.values()) != list(range(len(vocab))):
            raise UserError(
                f"expected ids 0 to {len(vocab) - 1}, each once, in {files[0]}, got others; "
                "copy the file again"
            )
        return vocab, merges
    pairs = ", or ".join(" with ".join(names) for names in BPE_FILES)
    raise UserError(f"expected {pairs}, in {folder}, got neither; pass the folder of the GPT-2 BPE")


def read_vocabulary(dictionary: Path, bpe: Path) -> Vocabulary:
    """The order of the copies on the hub: the n tokens of the BPE, then <s> <pad> </s> <unk>.

    The fillers come last; they are kept, since fairseq's softmax runs over them. Text never becomes
    a token after the n, not even the text `</s>`: so it is in fairseq.

    Raises:
        UserError: when dictionary and BPE do not belong together, or cannot be read.
    """
    symbols = read_dictionary(dictionary)
    vocab, merges = read_bpe(bpe)
    ids = {int(s) for s in symbols if s.isdecimal()}
    n = len(ids)
    if vocab.get(END_OF_TEXT) == n and len(vocab) == n + 1:
        del vocab[END_OF_TEXT]
    odd = ids ^ set(vocab.values())
    if odd:
        raise UserError(
            f"expected in {dictionary} the ids 0 to {len(vocab) - 1} of the BPE in {bpe}, got {n} "
            f"ids ({min(odd)} is in one alone); pass the dict.txt and the BPE of the same model"
        )
    fillers = [s for s in symbols if not s.isdecimal() and s not in SPECIAL]
    order = [*map(str, range(n)), *SPECIAL, *fillers]
    full = vocab | {token: n + i for i, token in enumerate(order[n:])}
    if len(full) < len(order):
        raise UserError(
            f"expected no token among {', '.join(order[n:])} in the BPE in {bpe}, got one; "
            "pass the folder of the GPT-2 BPE"
        )
    place = {symbol: row for row, symbol in enumerate(symbols)}
    return Vocabulary(
        tokenizer=ByteLevelBPETokenizer(full, merges, add_prefix_space=False),
        rows=tuple(place[symbol] for symbol in order),
        bos=full["<s>"],
        eos=full["</s>"],
    )
