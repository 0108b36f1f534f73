"""Token shards from plain text, by a byte-level BPE that is given or trained on it.

The text of a split is in files DIR/train*.txt and DIR/val*.txt, UTF-8; a line `<|endoftext|>` ends
a document. `tokenizer.json` (Hugging Face), or GPT-2's `vocab.json` and `merges.txt`, is used
where it is in DIR.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from itertools import chain, islice
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

import numpy as np

from harness.spec import DataError
from scoring.files import entries
from workloads.parts import Arrays, Part, read_part
from workloads.shards import shard

if TYPE_CHECKING:
    from tokenizers import Tokenizer

END_OF_TEXT = "<|endoftext|>"  # comes before every document, as in the speedrun's shards
SHARD = "shard.bin"
_TOKENIZER = "tokenizer"
_AT_ONCE = 1000  # documents


def parts(files: Path, folder: Path, vocabulary_size: int) -> list[Part]:
    """The tokenizer, then a shard for each text file; none where there is no text.

    Args:
        files: The folder of the texts.
        folder: The folder of the parts.
        vocabulary_size: The largest number of tokens.
    """
    texts = [*entries(files, "train*.txt"), *entries(files, "val*.txt")] if files.is_dir() else []
    given = _given(files)
    origin = given or [text for text in texts if text.name.startswith("train")]
    recipe = f"nanogpt 1, {vocabulary_size} tokens"
    make = partial(_make_tokenizer, given, origin, vocabulary_size)
    found = [Part(_TOKENIZER, recipe, make, origin)] if texts else []
    for text in texts:
        sources = sorted({text, *origin})
        found.append(Part(text.stem, recipe, partial(_make_shard, folder, text), sources))
    return found


def _given(files: Path) -> list[Path]:
    """The files of a tokenizer that is there already."""
    for names in (["tokenizer.json"], ["vocab.json", "merges.txt"]):
        if all((files / name).is_file() for name in names):
            return [files / name for name in names]
    return []


def _make_tokenizer(given: list[Path], texts: list[Path], vocabulary_size: int) -> Arrays:
    """The tokenizer as Hugging Face's JSON."""
    tokenizer = _load(given) if given else _train(texts, vocabulary_size)
    if tokenizer.token_to_id(END_OF_TEXT) is None:
        raise DataError(f"{given[0]}: has no token {END_OF_TEXT}")
    if tokenizer.get_vocab_size() > vocabulary_size:
        raise DataError(
            f"{given[0]}: has {tokenizer.get_vocab_size():,} tokens, {vocabulary_size:,} at most "
            "were expected; remove it, and one is made from the training text"
        )
    return {"json": np.frombuffer(tokenizer.to_str().encode(), np.uint8)}


def _load(given: list[Path]) -> Tokenizer:
    library = _library()
    try:
        if len(given) == 1:
            tokenizer: Tokenizer = library.Tokenizer.from_file(str(given[0]))
            return tokenizer
        return _byte_level(library.models.BPE.from_file(*map(str, given)))
    except Exception as error:  # noqa: BLE001 - the library raises nothing more special
        raise DataError(f"{given[0]}: is not a byte-level BPE ({error})") from None


def _train(texts: list[Path], vocabulary_size: int) -> Tokenizer:
    library = _library()
    tokenizer = _byte_level(library.models.BPE())
    trainer = library.trainers.BpeTrainer(
        vocab_size=vocabulary_size,
        special_tokens=[END_OF_TEXT],
        initial_alphabet=library.pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator((d for text in texts for d in documents(text)), trainer)
    return tokenizer


def _byte_level(model: object) -> Tokenizer:
    """A tokenizer whose symbols are bytes, words apart as GPT-2 has them."""
    library = _library()
    tokenizer: Tokenizer = library.Tokenizer(model)
    tokenizer.pre_tokenizer = library.pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = library.decoders.ByteLevel()
    return tokenizer


def _make_shard(folder: Path, text: Path) -> Arrays:
    content = read_part(folder, _TOKENIZER)["json"].tobytes().decode()
    tokenizer = _library().Tokenizer.from_str(content)
    end = tokenizer.token_to_id(END_OF_TEXT)
    tokens = []
    rest = documents(text)
    while some := list(islice(rest, _AT_ONCE)):
        for encoded in tokenizer.encode_batch_fast(some):
            tokens.append(np.array([end, *encoded.ids], np.uint16))
    return {SHARD: shard(np.concatenate(tokens))}


def documents(text: Path) -> Iterator[str]:
    """The documents of a file, empty ones left out; raises DataError."""
    lines: list[str] = []
    found = False
    with text.open("rb") as file:
        for number, line in enumerate(chain(file, [END_OF_TEXT.encode()]), start=1):
            try:
                lines.append(line.decode())
            except UnicodeDecodeError as error:
                raise DataError(f"{text}:{number}: is not UTF-8 ({error.reason})") from None
            if lines[-1].strip() == END_OF_TEXT:
                document = "".join(lines[:-1]).strip()
                lines.clear()
                if document:
                    found = True
                    yield document
    if not found:
        raise DataError(f"{text}: has no text")


def _library() -> ModuleType:
    try:
        import tokenizers
    except ImportError:
        raise DataError(
            "making shards from text needs the package tokenizers: pip install chronograd[nanogpt]"
        ) from None
    return tokenizers
