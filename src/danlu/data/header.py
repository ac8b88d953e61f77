"""Column names: the words by which people call them, and whether a table begins with a line of them.

A first line is names when one of its cells is a word for a column, when its cell in a column of numbers is none, or when its cell in
a column of few repeated values is not one of them. It is data when one of its cells is a number or occurs again below.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

LABEL = (
    "label", "labels", "class", "category", "target", "labelname", "classname", "categoryname", "topic", "sentiment", "intent", "y",
    "classindex", "labelid", "labelindex", "goldlabel", "polarity", "emotion", "genre", "tag", "species", "digit", "word", "rating",
    "stars",
    "score", "type", "kind", "answer", "result", "output",
    "标签", "类别", "分类", "类型", "情感", "情感倾向", "主题", "类", "标注", "极性", "意图", "情绪", "评分", "标签名", "种类",
)  # fmt: skip
BODY = (
    "text", "sentence", "content", "review", "comment", "body", "message", "description",
    "article", "document", "doc", "abstract", "summary",
    "utterance", "query", "question", "tweet", "post", "reviewtext", "txt", "input", "sms", "email", "data", "news", "phrase", "story",
    "文本", "内容", "正文", "评论", "句子", "描述", "文章", "摘要", "评价", "文档", "语句", "新闻", "问题", "留言", "微博", "消息", "短信",
)  # fmt: skip
TITLE = ("title", "headline", "subject", "heading", "标题", "题目", "主题词", "新闻标题")
MEDIA = (
    "file", "filename", "filepath", "path", "image", "imagepath", "imagefile", "img", "imgpath", "imagename", "picture", "photo", "audio",
    "audiopath", "audiofile", "wav", "sound", "clip", "recording", "imageid", "id",
    "文件", "文件名", "路径", "文件路径", "图片", "图像", "图片路径", "照片", "音频", "声音", "录音", "音频路径",
)  # fmt: skip
SPLIT = ("split", "subset", "partition", "side", "set", "fold", "usage", "划分", "数据集", "集合", "子集")
TIME = ("time", "date", "datetime", "timestamp", "created", "createdat", "时间", "日期")
OTHER = (
    "id", "index", "author", "speaker", "user", "userid", "url", "source", "name", "language", "lang", "attribution", "licence", "license",
    "序号", "编号", "作者", "来源", "用户", "姓名", "链接",
)  # fmt: skip
_NUMBER = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?%?")
_WORDS = frozenset((*LABEL, *BODY, *TITLE, *MEDIA, *SPLIT, *TIME, *OTHER))


def plain(name: str) -> str:
    """A column name without case, spaces, dashes and underscores."""
    return re.sub(r"[\W_]+", "", name.casefold())


def is_number(cell: str) -> bool:
    return bool(_NUMBER.fullmatch(cell.strip()))


def has_header(first: Sequence[str], below: Sequence[Sequence[str]]) -> bool:
    """Whether `first` is a line of column names, judged with some of the rows below it (all of the same width)."""
    cells = [cell.strip() for cell in first]
    if len(cells) > 1 and cells == [str(i) for i in range(len(cells))]:
        return True
    if any(is_number(cell) for cell in cells):
        return False
    votes = [_vote(cell, [row[i].strip() for row in below]) for i, cell in enumerate(cells)]
    if any(plain(cell) in _WORDS and vote >= 0 for cell, vote in zip(cells, votes, strict=True)):
        return True
    if -1 in votes:
        return False
    return 1 in votes or max(map(len, cells)) <= 24


def _vote(cell: str, column: list[str]) -> int:
    """1: the cell names the column below it; -1: it belongs to it; 0: cannot tell."""
    filled = [value for value in column if value]
    if cell in filled:
        return -1
    if len(filled) < 3:
        return 0
    if all(is_number(value) for value in filled):
        return 1
    distinct = len(set(filled))
    return 1 if len(filled) >= 5 * distinct else 0
