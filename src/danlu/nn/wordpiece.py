"""A model folder's tokenizer as JSON, by the `tokenizers` library alone."""

from __future__ import annotations

from collections.abc import Sequence

from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

_SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]")


def plain(tokenizer: str) -> str:
    """The same tokenizer without its own padding and truncation; a bare Exception for JSON that is none."""
    made = Tokenizer.from_str(tokenizer)
    made.no_padding()
    made.no_truncation()
    return made.to_str()


def from_vocabulary(lines: Sequence[str], lower: bool, split_chinese: bool) -> str:
    """The WordPiece tokenizer of BERT from the lines of a `vocab.txt`, as older folders have it; ValueError without its special pieces."""
    vocabulary = {line: i for i, line in enumerate(lines)}
    missing = [name for name in _SPECIAL if name not in vocabulary]
    if missing:
        raise ValueError(", ".join(missing))
    made = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]", max_input_chars_per_word=100))
    made.normalizer = normalizers.BertNormalizer(lowercase=lower, handle_chinese_chars=split_chinese)
    made.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    made.decoder = decoders.WordPiece()
    made.add_special_tokens(list(_SPECIAL))
    ends = [(name, vocabulary[name]) for name in ("[CLS]", "[SEP]")]
    made.post_processor = processors.TemplateProcessing(single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=ends)
    return made.to_str()
